"""How long a connection lasts, how large a head may be, and that a connection can go on elsewhere."""

import asyncio
import contextlib
import os
import socket
from typing import Any

import pytest

from mlauto.serving.web import connection as module
from mlauto_tests.serving.web.test_front import Both, Streams, answer, request, run


def test_a_head_without_an_end_is_refused() -> None:
    """In its address, in one header, or in many: memory is bounded, and the client hears it."""

    async def scenario(streams: Streams, _: Any) -> None:
        address = streams[1].get_extra_info("peername")[:2]
        many = b"POST /short HTTP/1.1\r\n" + b"".join(b"h%d: %b\r\n" % (index, b"y" * 600) for index in range(120))
        for head in (b"POST /" + b"y" * 70_000, b"POST /short HTTP/1.1\r\nx: " + b"y" * 70_000, many):
            reader, writer = await asyncio.open_connection(*address)
            for start in range(0, len(head), 10_000):
                writer.write(head[start : start + 10_000])
                await writer.drain()
            assert b"head is larger than 64 kB" in await reader.read()
            writer.close()

    run(Both(), scenario)


def test_a_head_that_takes_too_long_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte now and then does not keep it open, and neither does silence; a long answer does."""
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.4)

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        writer.write(request(b"patience"))
        assert (await answer(reader))[1] == b"patience"
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(ConnectionError):
            for byte in request(b"x" * 100):
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
                if reader.at_eof() or reader.exception() is not None:  # a byte on its way makes it a reset
                    break
        assert 0.3 < asyncio.get_running_loop().time() - began < 1.5
        silent, mute = await asyncio.open_connection(*writer.get_extra_info("peername")[:2])
        assert await silent.read() == b""
        mute.close()

    run(Both(0.6), scenario, keep_alive=1)


def test_only_idle_connections_are_closed() -> None:
    """A request that takes longer than the keep-alive time is answered; what then is idle for so long is closed."""

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        writer.write(request(b"first"))
        assert (await answer(reader))[1] == b"first"
        await asyncio.sleep(0.5)
        writer.write(request(b"slow"))
        assert (await answer(reader))[1] == b"slow"
        began = asyncio.get_running_loop().time()
        assert await reader.read() == b""
        assert 0.9 < asyncio.get_running_loop().time() - began < 3

    run(Both(0.8), scenario, keep_alive=1)


def given(running: Any, *, refuse: int = 0) -> list[socket.socket]:
    """Have the only connection depart; what it is given to, after so many refusals."""
    found: list[socket.socket] = []
    left = [refuse]

    def give(descriptor: int) -> bool:
        left[0] -= 1
        if left[0] < 0:
            found.append(socket.socket(fileno=os.dup(descriptor)))
        return left[0] < 0

    (connection,) = running.server_state.connections
    connection.depart(give)
    return found


async def goes_on(streams: Streams, found: list[socket.socket], running: Any) -> None:
    """What the client sends from now on is read from what was given, and answered there."""
    loop = asyncio.get_running_loop()
    while not found or running.server_state.connections:
        await asyncio.sleep(0.002)
    found[0].setblocking(False)
    streams[1].write(b"hello?")
    assert await loop.sock_recv(found[0], 100) == b"hello?"
    await loop.sock_sendall(found[0], b"here")
    assert await streams[0].readexactly(4) == b"here"
    found[0].close()


@pytest.mark.parametrize("refuse", [0, 3])
def test_an_idle_connection_goes_on_elsewhere(refuse: int) -> None:
    """The client notices nothing; who cannot take it yet is asked again."""

    async def scenario(streams: Streams, running: Any) -> None:
        streams[1].write(request(b"first"))
        assert (await answer(streams[0]))[1] == b"first"
        await goes_on(streams, given(running, refuse=refuse), running)

    run(Both(), scenario)


@pytest.mark.parametrize("path", [b"/short", b"/long"])
def test_a_busy_connection_is_answered_first(path: bytes) -> None:
    """Whether its request waits for an answer, or has not come whole yet, or another waits behind it."""

    async def scenario(streams: Streams, running: Any) -> None:
        reader, writer = streams
        message = request(b"first", path=path)
        writer.write(message + message + message[:30])
        await asyncio.sleep(0.02)
        found = given(running)
        for _ in range(2):
            assert (await answer(reader))[1].lower().endswith(b"first")
        await asyncio.sleep(0.15)
        assert not found
        writer.write(message[30:-2])
        await asyncio.sleep(0.02)
        assert not found
        writer.write(message[-2:])
        assert (await answer(reader))[1].lower().endswith(b"first")
        await goes_on(streams, found, running)

    run(Both(0.05), scenario)


def test_what_is_not_sent_yet_is_sent_first() -> None:
    """A client that reads slowly gets its whole answer, and then goes on elsewhere."""

    async def scenario(streams: Streams, running: Any) -> None:
        reader, writer = streams
        text = b"x" * 200_000
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(40):
            writer.write(request(text))
        await asyncio.sleep(0.3)
        found = given(running)
        await asyncio.sleep(0.05)
        assert not found
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(40):
            assert (await answer(reader))[1].lower().endswith(text)
        await goes_on(streams, found, running)

    run(Both(), scenario)


def test_a_connection_that_ends_goes_nowhere() -> None:
    """Nothing is given, and nothing raised."""

    async def scenario(streams: Streams, running: Any) -> None:
        streams[1].write(request(b"bye"))
        await asyncio.sleep(0.02)
        found = given(running)
        streams[1].close()
        await asyncio.sleep(0.15)
        assert not found

    run(Both(0.05), scenario)
