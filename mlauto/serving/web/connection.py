"""A client's connection: one timer for its life, a limit for heads, and a way to go on in another process."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_SECONDS", "Connection"]

LARGEST_HEAD = 64 << 10
HEAD_SECONDS = 20.0  # so long a client may take for a request's head
GIVE_SECONDS = 0.005


class Connection(HttpToolsProtocol):  # type: ignore[misc, unused-ignore]
    """uvicorn's protocol, with one timer for a connection's life instead of two timer calls for each request.

    Whoever overrides its callbacks calls `begin_head`, `end_head` and `end_message` where a request comes to that.
    """

    cycle: Any
    timeout_keep_alive_task: asyncio.TimerHandle | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun = False  # a request whose last byte has not come
        self._give: Callable[[int], bool] | None = None
        self._idle_since = self._head_since = self.loop.time()
        self._head_size = -1  # bytes of a head that is not complete; -1 while there is none

    def data_received(self, data: bytes) -> None:
        """Feed the parser, unless a head has become too large."""
        super().data_received(data)
        if self._head_size >= 0:
            self._head_size += len(data)
            if self._head_size > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response(f"The request's head is larger than {LARGEST_HEAD >> 10} kB.")

    def begin_head(self) -> None:
        """A request begins."""
        self._begun = True
        self._head_size = 0
        self._head_since = self.loop.time()

    def end_head(self) -> None:
        """Its head is complete."""
        self._head_size = -1

    def end_message(self) -> None:
        """Its last byte has come."""
        self._begun = False
        if self._give is not None:
            self.loop.call_soon(self._depart)  # for one that was answered before its end came

    def connection_made(self, transport: Any) -> None:
        """A connection is idle from the start."""
        super().connection_made(transport)
        self._arm(min(self.timeout_keep_alive, HEAD_SECONDS))

    def _unset_keepalive_if_required(self) -> None:
        """The timer looks by itself whether anything is to be done."""

    def _arm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Begin the next request that waits, or note since when nothing is to be done."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self._give is not None:
            self._depart()

    def depart(self, give: Callable[[int], bool]) -> None:
        """Give the connection away as soon as no request is begun on it.

        `give` takes the socket's descriptor, whose duplicate it may keep, or returns False to be asked again soon. Once
        it took one, nothing is read or written here any more, and what the client sends waits in the kernel.
        """
        self._give = give
        self._depart()

    def _depart(self) -> None:
        if (
            self._begun
            or self.pipeline
            or self.transport.is_closing()
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return
        self.transport.pause_reading()
        if self.transport.get_write_buffer_size() or self._give is None:
            self.loop.call_later(GIVE_SECONDS, self._depart)
        elif self._give(self.transport.get_extra_info("socket").fileno()):
            self.transport.abort()
        else:
            self.loop.call_later(GIVE_SECONDS, self._depart)

    def timeout_keep_alive_handler(self) -> None:
        """Close what was idle for so long, or does not come to the end of a head; look again later where it was not."""
        if self.transport.is_closing():
            return
        now = self.loop.time()
        left = min(self.timeout_keep_alive, HEAD_SECONDS)
        if self._head_size >= 0:
            left = self._head_since + HEAD_SECONDS - now
        elif self.cycle is None or self.cycle.response_complete:
            left = min(self._idle_since + self.timeout_keep_alive - now, left)
        if left > 0:
            self._arm(left)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for the reply any more."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
