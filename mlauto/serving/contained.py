"""A version whose server somebody else keeps running, in a container, and which is reached at a unix socket.

The gateway never touches the engine: it sees that a server is there, that it went away, and that it is ready again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from mlauto.serving.backend import READY_SECONDS, Backend
from mlauto.serving.web.sockets import short_path

__all__ = ["Contained", "Tether"]

POLL_SECONDS = 0.02
SOON_SECONDS = 5.0  # a container that restarts is back within so long, or its fallback had better answer


class Tether:
    """A connection without requests that lasts as long as the server: its end is the server's end.

    `tied` is set once there is a server at the socket, `ended` when that one is gone.
    """

    pid = None

    def __init__(self, socket: Path, on_end: Callable[["Tether"], None]) -> None:
        """Look for a server from now on, within a running event loop; `on_end` is called when it went away."""
        self.tied = asyncio.Event()
        self.ended = asyncio.Event()
        self._socket = socket
        self._on_end = on_end
        self._watching = asyncio.create_task(self._watch())

    def how(self) -> str:
        """How it ended, as far as that can be seen from here."""
        return "it closed its connections"

    def tail(self) -> str:
        """Where to look: the output is the container's."""
        return f"at {self._socket}: see the container's log"

    async def end(self, seconds: float) -> None:
        """Let go of the server, which goes on."""
        del seconds
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching

    async def _watch(self) -> None:
        reader, writer = await self._connected()
        self.tied.set()
        try:
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):  # it has nothing to say
                    pass
        finally:
            writer.close()
        self.ended.set()
        self._on_end(self)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            with contextlib.suppress(OSError), short_path(self._socket) as name:
                return await asyncio.open_unix_connection(name)
            await asyncio.sleep(POLL_SECONDS)


class Contained(Backend):
    """See `Backend`: the same states. It is `ready` only while tied to a server that has said what it serves."""

    longest_pause = 0.2  # looking again costs nothing
    _resumed = False

    def resume(self, slots: asyncio.Semaphore) -> None:
        """Look for the server in the background; that is no start, and takes no slot of those that are."""
        del slots
        self._resumed = True
        self._keeper = asyncio.create_task(self._keep(launched=False))

    def trim_log(self) -> None:
        """The engine bounds the log."""

    @property
    def patience(self) -> float:
        """Short at first where it was resumed: soon after a reboot it is known whether to wait for this version."""
        return SOON_SECONDS if self._resumed and self.failures <= 2 else READY_SECONDS

    def _spawn(self) -> Tether:
        self._tether = Tether(self.socket, self._on_end)
        return self._tether

    async def _until_ready(self) -> None:
        await self._tether.tied.wait()  # what is asked then is that server, or it has ended
        await super()._until_ready()

    async def _end_process(self, seconds: float) -> None:
        """The server goes on, but nobody waits for it any more: others may still answer what it was asked."""
        self._link.abort()
        await super()._end_process(seconds)

    def _forget_socket(self) -> None:
        """It is the server's."""
