"""Connections that go on at another server, here within one process."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from mlauto.serving.processes.handover import Handover
from mlauto.serving.web.front import Front
from mlauto.serving.web.http import Receive, Scope, Send, reply, server
from mlauto.serving.web.sockets import listen_tcp

if TYPE_CHECKING:
    import uvicorn

HEAD = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Nothing:
    """No short way."""

    def takes(self, url: bytes) -> None:
        """Nothing."""


@asynccontextmanager
async def serving(name: str, listener: socket.socket) -> AsyncIterator["uvicorn.Server"]:
    """A server that answers its name."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        await reply(send, name.encode())

    found = server(app, protocol=Front.with_short(Nothing()))
    task = asyncio.create_task(found.serve(sockets=[listener]))
    while not found.started:
        await asyncio.sleep(0.01)
    try:
        yield found
    finally:
        found.should_exit = True
        await task


async def asked(streams: Streams, message: bytes = HEAD) -> bytes:
    """Who answers."""
    reader, writer = streams
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


async def connected(listener: socket.socket, number: int) -> list[Streams]:
    """Connections that were answered once."""
    found = [await asyncio.open_connection(*listener.getsockname()) for _ in range(number)]
    for streams in found:
        await asked(streams)
    return found


@asynccontextmanager
async def two() -> AsyncIterator[tuple[Handover, Handover, list[Streams]]]:
    """An old and a new server, and three connections to the old one."""
    first, second = listen_tcp("127.0.0.1", 0), listen_tcp("127.0.0.1", 0)
    async with serving("old", first) as old, serving("new", second) as new:
        streams = await connected(first, 3)
        yield Handover(old), Handover(new), streams
        for _, writer in streams:
            writer.close()
            await writer.wait_closed()


def test_all_connections_leave_for_the_successor() -> None:
    """Those that rest at once, one in the midst of a request after its reply; then the old server has none."""

    async def scenario() -> None:
        async with two() as (old, new, streams):
            giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            streams[0][1].write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\na")
            await asyncio.sleep(0.05)
            new.take(taking, lambda _: False)
            leaving = old.leave(giving)
            assert leaving is not None
            assert old.leave(giving) is None
            await asyncio.wait_for(old.left.wait(), 5)
            assert [await asked(each) for each in streams[1:]] == [b"new", b"new"]
            assert not leaving.done()
            assert await asked(streams[0], b"b") == b"old"
            await asyncio.wait_for(leaving, 5)
            assert await asked(streams[0]) == b"new"
            giving.close()
            await asyncio.sleep(0.05)

    asyncio.run(scenario())


def test_connections_may_be_placed_elsewhere() -> None:
    """Then they are not this server's; their descriptors are closed here."""

    async def scenario() -> None:
        async with two() as (old, new, streams):
            giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            kept: list[int] = []

            def place(descriptor: int) -> bool:
                if len(kept) < 2:
                    kept.append(os.dup(descriptor))
                    return True
                return False

            new.take(taking, place)
            leaving = old.leave(giving)
            assert leaving is not None
            await asyncio.wait_for(leaving, 5)
            giving.close()
            await asyncio.sleep(0.05)
            assert len(kept) == 2
            for descriptor in kept:
                new.adopt(descriptor)
            assert [await asked(each) for each in streams] == [b"new"] * 3

    asyncio.run(scenario())


def test_a_part_of_them_can_be_shared() -> None:
    """Two of three here; who cannot be placed stays, and the server goes on accepting."""

    async def scenario() -> None:
        async with two() as (old, new, streams):

            def place(descriptor: int) -> bool:
                new.adopt(os.dup(descriptor))
                return True

            assert (old.number, new.number) == (3, 0)
            old.share(2, place)
            said = [await asked(each) for each in streams]
            assert sorted(said) == [b"new", b"new", b"old"]
            assert not old.leaving
            assert (old.number, new.number) == (1, 2)
            old.share(1, lambda _: False)
            assert sorted([await asked(each) for each in streams]) == [b"new", b"new", b"old"]

    asyncio.run(scenario())
