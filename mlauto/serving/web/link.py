"""Persistent connections to one model server: just the HTTP/1.1 that our own server speaks.

A general client costs several times the whole exchange; this one also knows exactly how far a failed exchange got,
which decides whether it may be asked again.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import cast

from mlauto.serving.web.sockets import short_path

__all__ = ["Address", "Link", "LinkError", "LinkFailure", "LinkTimeoutError", "Reply"]

Address = Path | tuple[str, int]
Finish = Callable[["Reply | Exception"], None]
LARGEST_HEAD = 64 << 10
MOST_IDLE = 64
HEAD = b"%b %b HTTP/1.1\r\nhost: model\r\ncontent-length: %d\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
CLOSE = b"\r\nconnection: close\r\n"


class LinkError(Exception):
    """The server could not be reached, or the connection ended before the reply did.

    `asked` is False when the server certainly never saw the request.
    """

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.asked = asked
        self.fresh = False  # nothing of a reply had come, on a connection that was kept from before


class LinkTimeoutError(Exception):
    """The server did not answer in time; it may still be working on it."""


LinkFailure = LinkError | LinkTimeoutError


class Reply:
    """A whole reply; header names are lower case."""

    def __init__(self, status: int, head: bytes, body: bytes) -> None:
        self.status = status
        self.body = body
        self._head = head

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Parsed when first asked for: predictions need none of them."""
        lines = (line.partition(":") for line in self._head.decode("latin-1").split("\r\n")[1:])
        return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}


class Link:
    """Connections to one address, opened as needed and kept. To be used from one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()

    async def request(self, method: str, path: str, body: bytes = b"", *, seconds: float) -> Reply:
        """One exchange. Raises `LinkError` or `LinkTimeoutError`.

        A kept connection that turns out to be closed before any byte of a reply is replaced by a new one: asking for a
        prediction again changes nothing.
        """
        message = HEAD % (method.encode(), path.encode(), len(body)) + body
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            while self._idle:
                connection = self._idle.pop()
                try:
                    return await self._exchange(connection, message, deadline)
                except LinkError:
                    if connection.answering:
                        raise
            async with asyncio.timeout_at(deadline):
                connection = await self._connect(loop)
            return await self._exchange(connection, message, deadline)
        except TimeoutError:
            raise LinkTimeoutError(f"no answer within {seconds:g} s") from None

    def post(self, path: bytes, body: bytes, deadline: float, done: Callable[["Reply | LinkFailure"], None]) -> bool:
        """One exchange on a kept connection, without a task; False when there is none, and nothing was sent.

        `done` gets the reply as soon as it is complete, or what went wrong; a `LinkError` whose `fresh` is True only
        says that the connection was closed before any byte of a reply: `request` may do better. It is `sweep` that
        notices when the deadline (loop time) has passed.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                break
        else:
            return False

        def finish(result: Reply | Exception) -> None:
            self._busy.discard(connection)
            if isinstance(result, Reply):
                self._put_back(connection)
                done(result)
                return
            connection.close()
            if isinstance(result, LinkError):
                result.fresh = not connection.answering
                done(result)
            else:
                done(LinkTimeoutError("no answer in time"))

        self._busy.add(connection)
        connection.deadline = deadline
        connection.begin(HEAD % (b"POST", path, len(body)) + body, finish)
        return True

    def sweep(self, now: float) -> None:
        """End what takes longer than it may."""
        for connection in [connection for connection in self._busy if connection.deadline <= now]:
            connection.expire()

    def close(self) -> None:
        """Close the idle connections; those in use are closed by their exchange's end."""
        while self._idle:
            self._idle.pop().close()

    def abort(self) -> None:
        """Close all connections; what is being asked on them fails."""
        self.close()
        for connection in list(self._busy):
            connection.answering = True  # the server has it: no other connection would do better
            connection.close()

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> "_Connection":
        try:
            if isinstance(self.address, Path):
                with short_path(self.address) as name:
                    return (await loop.create_unix_connection(lambda: _Connection(self._idle), name))[1]
            return (await loop.create_connection(lambda: _Connection(self._idle), *self.address))[1]
        except OSError as error:
            raise LinkError(f"no connection: {error.strerror or error}", asked=False) from error

    async def _exchange(self, connection: "_Connection", message: bytes, deadline: float) -> Reply:
        complete = False
        connection.deadline = deadline
        self._busy.add(connection)
        try:
            found = await connection.ask(message, deadline)
            complete = True
        finally:
            self._busy.discard(connection)
            # also when this task is cancelled: a connection with half a reply in it must never be used again
            if complete:
                self._put_back(connection)
            else:
                connection.close()
        return found

    def _put_back(self, connection: "_Connection") -> None:
        if connection.keep and len(self._idle) < MOST_IDLE:
            self._idle.append(connection)
        else:
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, idle: list["_Connection"]) -> None:
        self.answering = False  # a byte of the reply has come
        self.keep = True
        self._idle = idle
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._finish: Finish | None = None  # what is waiting for the reply
        self.deadline = 0.0
        self._received = b""
        self._chunks: list[bytes] = []
        self._head = b""
        self._status = 0
        self._missing = -1  # bytes of the body that are still to come; -1 before the head is complete

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self.keep and not self._transport.is_closing()

    def begin(self, message: bytes, finish: Finish) -> None:
        """Send the request; `finish` gets the reply, or `LinkError`, or `TimeoutError`, once."""
        self._finish = finish
        self.answering = False
        if self.usable:
            self._transport.write(message)
        else:
            self._end(LinkError("the connection was closed", asked=False))

    def ask(self, message: bytes, deadline: float) -> "asyncio.Future[Reply]":
        """The same for whoever awaits it, with a timer of its own."""
        waiter: asyncio.Future[Reply] = self._loop.create_future()

        def finish(result: Reply | Exception) -> None:
            timer.cancel()
            if waiter.done():  # nobody waits any more
                return
            if isinstance(result, Exception):
                waiter.set_exception(result)
            else:
                waiter.set_result(result)

        timer = self._loop.call_at(deadline, self.expire)
        self.begin(message, finish)
        return waiter

    def expire(self) -> None:
        """The time is up."""
        self._end(TimeoutError())

    def _end(self, result: "Reply | Exception") -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(result)

    def close(self) -> None:
        """Whatever was being asked is not waited for."""
        self.keep = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(0)  # uvloop writes at once then, not in the end of its turn

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection ended: {error or 'closed by the server'}")
        if self in self._idle:
            self._idle.remove(self)

    def data_received(self, data: bytes) -> None:
        if self._finish is None:
            self._fail("bytes that nobody asked for")
            return
        self.answering = True
        if self._missing < 0:
            self._received = data = self._received + data if self._received else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > LARGEST_HEAD:
                    self._fail("a head without an end")
                return
            self._received = b""
            self._head = data[: end + 2]
            try:
                self._status, self._missing, self.keep = _said(self._head)
            except ValueError as error:
                self._fail(f"this is no reply: {error}")
                return
            data = data[end + 4 :]
        self._missing -= len(data)
        self._chunks.append(data)
        if self._missing < 0:
            self._fail("more bytes than announced")
        elif not self._missing:
            body = data if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks, self._missing = [], -1
            self._end(Reply(self._status, self._head, body))

    def _fail(self, reason: str) -> None:
        self.keep = False
        self._transport.abort()
        self._end(LinkError(reason))


@lru_cache(64)  # the heads of one server's replies differ in hardly more than the length
def _said(head: bytes) -> tuple[int, int, bool]:
    """Status, length of the body, and whether the connection stays. Raises `ValueError` for anything not ours."""
    lower = head.lower()
    start = lower.find(LENGTH)
    if not head.startswith(b"HTTP/1.1 ") or start < 0:
        raise ValueError(f"{head[:40]!r}")
    start += len(LENGTH)
    return int(head[9:12]), int(head[start : head.index(b"\r\n", start)]), CLOSE not in lower
