"""Persistent connections to a model server, and every way in which they end."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving.web.link import Link, LinkError, LinkTimeoutError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Version: 7\r\n\r\nhi"


class Peer:
    """A server at the other end that does what a test wants, and counts connections."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self.connections = 0
        self._handler = handler
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Peer":
        self._server = await asyncio.start_unix_server(self._handle, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop()
        self._server.close()
        await self._server.wait_closed()

    def drop(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        await self._handler(reader, writer)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def always(reply: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await read_request(reader)
                writer.write(reply)
        except asyncio.IncompleteReadError:
            writer.close()

    return handler


def test_connections_are_kept(tmp_path: Path) -> None:
    """Requests one after the other share a connection; simultaneous ones do not wait for one another."""

    async def scenario() -> None:
        async with Peer(tmp_path / "s", always(OK)) as peer:
            link = Link(peer.path)
            for _ in range(3):
                reply = await link.request("POST", "/rows", b"[]", seconds=5)
                assert (reply.status, reply.body, reply.headers["x-version"]) == (200, b"hi", "7")
            assert peer.connections == 1
            await asyncio.gather(*(link.request("GET", "/", seconds=5) for _ in range(4)))
            assert peer.connections <= 4
            link.close()

    asyncio.run(scenario())


def test_a_kept_connection_that_was_closed_is_replaced(tmp_path: Path) -> None:
    """The server may close what is idle: the request goes out again on a new connection."""

    async def scenario() -> None:
        async with Peer(tmp_path / "s", always(OK)) as peer:
            link = Link(peer.path)
            await link.request("GET", "/", seconds=5)
            peer.drop()
            await asyncio.sleep(0.05)
            assert (await link.request("GET", "/", seconds=5)).status == 200
            assert peer.connections == 2
            link.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "half-head", "half-body", "no-length", "garbage", "endless-head"],
)
def test_half_a_reply_is_an_error(tmp_path: Path, reply: bytes) -> None:
    """A server that dies in mid-reply, or speaks something else, is a `LinkError`, never half an answer."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(reply)
        writer.close()

    async def scenario() -> None:
        async with Peer(tmp_path / "s", handler) as peer:
            with pytest.raises(LinkError):
                await Link(peer.path).request("GET", "/", seconds=5)

    asyncio.run(scenario())


def test_a_missing_or_silent_server(tmp_path: Path) -> None:
    """No socket file, no folder, nobody listening: `LinkError`. No answer in time: `LinkTimeoutError`."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        del writer

    async def scenario() -> None:
        for path in (tmp_path / "none", tmp_path / "no" / "folder"):
            with pytest.raises(LinkError):
                await Link(path).request("GET", "/", seconds=5)
        with pytest.raises(LinkError):
            await Link(("127.0.0.1", 1)).request("GET", "/", seconds=5)
        async with Peer(tmp_path / "s", silent) as peer:
            link = Link(peer.path)
            with pytest.raises(LinkTimeoutError, match=r"0\.05 s"):
                await link.request("GET", "/", seconds=0.05)

    asyncio.run(scenario())


def test_a_cancelled_request_leaves_no_connection_behind(tmp_path: Path) -> None:
    """A connection with an answer still to come is not given to the next request."""
    release = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if b"/slow" in request:
            await release.wait()
            writer.write(OK.replace(b"hi", b"no"))
        else:
            writer.write(OK)

    async def scenario() -> None:
        async with Peer(tmp_path / "s", slow) as peer:
            link = Link(peer.path)
            task = asyncio.create_task(link.request("GET", "/slow", seconds=5))
            while peer.connections == 0:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()
            assert (await link.request("GET", "/fast", seconds=5)).body == b"hi"
            assert peer.connections == 2
            link.close()

    asyncio.run(scenario())


def test_a_reply_that_closes_is_not_kept(tmp_path: Path) -> None:
    """`connection: close` is honoured, also over TCP."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            link = Link(("127.0.0.1", server.sockets[0].getsockname()[1]))
            for _ in range(2):
                assert (await link.request("GET", "/", seconds=5)).body == b"hi"

    asyncio.run(scenario())


def test_all_connections_are_given_up_at_once(tmp_path: Path) -> None:
    """Whatever is being asked of a server that is silent fails now, not when its time is up."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"first" in await read_request(reader):
            writer.write(OK)
        await reader.read()

    async def scenario() -> None:
        async with Peer(tmp_path / "s", silent) as peer:
            link = Link(peer.path)
            await link.request("GET", "/first", seconds=5)
            posted: list[Any] = []
            assert link.post(b"/second", b"", asyncio.get_running_loop().time() + 30, posted.append)
            asking = asyncio.create_task(link.request("GET", "/third", seconds=30))
            while peer.connections < 2:
                await asyncio.sleep(0.005)
            link.abort()
            with pytest.raises(LinkError):
                await asking
            await asyncio.sleep(0.05)
            assert [(type(result), result.fresh) for result in posted] == [(LinkError, False)]

    asyncio.run(asyncio.wait_for(scenario(), 10))
