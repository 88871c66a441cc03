"""A process that answers users beside the leader, by what the leader tells it. It runs no model servers of its own.

It begins to accept when it knows what the leader knows, and ends with it. See `flock` for what is said.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlauto.serving.errors import UnavailableError
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.mail import Mail, Message, content_of, enclosed
from mlauto.serving.processes.mirror import Mirror, View
from mlauto.serving.processes.others import Whole
from mlauto.serving.public import PublicApp
from mlauto.serving.route import Versions
from mlauto.serving.shortway import ShortWay
from mlauto.serving.traffic import Traffic
from mlauto.serving.web.front import Front
from mlauto.serving.web.http import server
from mlauto.serving.web.keys import Keys, keyed

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Tally", "answering", "follow"]

TOTAL_SECONDS = 3.0
START_POLL_SECONDS = 0.002


class Tally(msgspec.Struct, frozen=True):
    """What a follower has: a dump of its metrics, requests in flight by product and version, and open connections."""

    metrics: bytes
    in_flight: dict[tuple[str, str], int]
    connections: int


def answering(versions: Versions, metrics: Metrics, home: Path, whole: Whole) -> "uvicorn.Server":
    """The server of the public port, the same in each process."""
    traffic = Traffic(versions, metrics, home / "products")
    keys = Keys.of()
    app = keyed(PublicApp(versions, traffic, metrics, whole), keys, lambda: metrics.refused("", "", 401))
    return server(app, protocol=Front.with_short(ShortWay(versions, traffic, metrics), keys))


def follow(home: Path, listener: socket.socket, mail: Mail) -> int:
    """Answer those who connect to `listener`, until the leader or SIGTERM says to end."""
    import uvloop

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: the leader decides
    uvloop.run(_Follower(home, mail).run(listener))
    return 0


class _Follower:
    def __init__(self, home: Path, mail: Mail) -> None:
        self._mail = mail
        self._metrics = Metrics()
        self._mirror = Mirror()
        self._told = asyncio.Event()
        self._ending = False
        self._totals: dict[int, asyncio.Future[Metrics]] = {}
        self._asked = 0
        self._public = answering(self._mirror, self._metrics, home, self)
        self._handover = Handover(self._public)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> Sequence[int]:
        """All processes that answer users, the leader first."""
        return self._mirror.pids

    async def total(self) -> Metrics:
        """What all of them counted, as the leader says. Raises `UnavailableError` when it says nothing."""
        self._asked += 1
        number = self._asked
        waiting = self._totals[number] = asyncio.get_running_loop().create_future()
        self._tell(Message(kind="total", number=number))
        try:
            return await asyncio.wait_for(waiting, TOTAL_SECONDS)
        except TimeoutError:
            raise UnavailableError("the gateway's leading process does not answer: come again") from None
        finally:
            del self._totals[number]

    async def run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        gc.collect()
        gc.freeze()
        loop.add_signal_handler(signal.SIGTERM, self._end)
        loop.add_reader(self._mail.fileno(), self._hear)
        self._tell(Message(kind="here", pid=os.getpid()))
        await self._told.wait()
        if self._ending:
            return
        serving = asyncio.create_task(self._public.serve(sockets=[listener]))
        while not self._public.started and not serving.done():
            await asyncio.sleep(START_POLL_SECONDS)
        self._tell(Message(kind="serving"))
        await serving
        self._tally(0)

    def _end(self) -> None:
        self._ending = self._public.should_exit = True
        self._told.set()

    def _hear(self) -> None:
        try:
            while (found := self._mail.receive()) is not None:
                self._follow(*found)
        except EOFError:  # the leader is gone, and so is this process in a moment
            asyncio.get_running_loop().remove_reader(self._mail.fileno())
            self._end()

    def _follow(self, message: Message, descriptors: list[int]) -> None:
        kind, number = message.kind, message.number
        if kind == "connection":
            self._handover.adopt(descriptors.pop())
        elif kind == "view":
            self._mirror.follow(msgspec.msgpack.decode(content_of(descriptors[0]), type=View))
            self._told.set()
            self._tell(Message(kind="seen", number=number))
            self._later(self._finish(number))
        elif kind == "tally":
            self._tally(number)
        elif kind == "total":
            waiting = self._totals.get(number)
            if waiting is not None and not waiting.done():
                waiting.set_result(Metrics.loaded(content_of(descriptors[0])))
        elif kind == "share":
            self._handover.share(number, self._send)
        elif kind == "retire":
            self._retire(socket.socket(fileno=descriptors.pop()))
        elif kind == "end":
            self._end()
        for unused in descriptors:
            os.close(unused)

    async def _finish(self, number: int) -> None:
        for product, version in await self._mirror.finish():
            self._metrics.forget(product, version)
        self._tell(Message(kind="finished", number=number))

    def _tally(self, number: int) -> None:
        counted = Tally(self._metrics.dumped(), self._mirror.in_flight(), self._handover.number)
        descriptor = enclosed(msgspec.msgpack.encode(counted))
        self._tell(Message(kind="counts", number=number), [descriptor])
        os.close(descriptor)

    def _send(self, descriptor: int) -> bool:
        """Have the leader place a connection; False when that could not be said."""
        try:
            self._mail.send(Message(kind="connection"), [descriptor])
        except OSError:
            return False
        return True

    def _retire(self, to: socket.socket) -> None:
        if not self._public.started:
            self._end()
            return
        leaving = self._handover.leave(to)
        if leaving is not None:
            self._later(self._left(leaving))

    async def _left(self, leaving: asyncio.Task[None]) -> None:
        await self._handover.left.wait()
        self._tell(Message(kind="retired"))
        await leaving
        self._end()

    def _tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        with suppress(OSError):  # the leader is gone
            self._mail.send(message, descriptors)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
