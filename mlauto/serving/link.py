"""Persistent connections to one model server: just the HTTP/1.1 that our own server speaks.

A general client costs several times the whole exchange; this one also knows exactly how far a failed exchange got,
which decides whether it may be asked again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlauto.serving.sockets import short_path

__all__ = ["Address", "Link", "LinkError", "LinkTimeoutError", "Reply"]

Address = Path | tuple[str, int]
LARGEST_HEAD = 64 << 10
MOST_IDLE = 64


class LinkError(Exception):
    """The server could not be reached, or the connection ended before the reply did."""


class LinkTimeoutError(Exception):
    """The server did not answer in time; it may still be working on it."""


@dataclass(frozen=True)
class Reply:
    """A whole reply; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Link:
    """Connections to one address, opened as needed and kept. To be used from one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[_Connection] = []

    async def request(self, method: str, path: str, body: bytes = b"", *, seconds: float) -> Reply:
        """One exchange. Raises `LinkError` or `LinkTimeoutError`.

        A kept connection that turns out to be closed before any byte of a reply is replaced by a new one: asking for a
        prediction again changes nothing.
        """
        head = f"{method} {path} HTTP/1.1\r\nhost: model\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        try:
            async with asyncio.timeout(seconds):
                while self._idle:
                    try:
                        return await self._exchange(self._idle.pop(), head + body)
                    except LinkError:
                        continue  # the server may have closed it while it was idle
                return await self._exchange(await self._connect(), head + body)
        except TimeoutError:
            raise LinkTimeoutError(f"no answer within {seconds:g} s") from None

    def close(self) -> None:
        """Close the idle connections; those in use are closed by their exchange's end."""
        while self._idle:
            self._idle.pop().writer.close()

    async def _connect(self) -> _Connection:
        try:
            if isinstance(self.address, Path):
                with short_path(self.address) as name:
                    opened = await asyncio.open_unix_connection(name, limit=LARGEST_HEAD)
            else:
                opened = await asyncio.open_connection(*self.address, limit=LARGEST_HEAD)
        except OSError as error:
            raise LinkError(f"no connection: {error.strerror or error}") from error
        return _Connection(*opened)

    async def _exchange(self, connection: _Connection, message: bytes) -> Reply:
        complete = False
        try:
            connection.writer.write(message)
            await connection.writer.drain()
            found, keep = await _read(connection.reader)
            complete = keep and len(self._idle) < MOST_IDLE
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
            raise LinkError(f"the connection ended: {error}") from error
        finally:
            # also when this task is cancelled: a connection with half a reply in it must never be used again
            if complete:
                self._idle.append(connection)
            else:
                connection.writer.close()
        return found


async def _read(reader: asyncio.StreamReader) -> tuple[Reply, bool]:
    """A reply, and whether its connection stays open. Raises `ValueError` for what is no reply of ours."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].partition(" ")[2][:3])
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "")))
    return Reply(status, headers, body), headers.get("connection", "").lower() != "close"
