"""Which requests take the short way, and that a connection serves both ways in order."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mlauto.serving.web.front import LARGEST_BODY, Front, Quick
from mlauto.serving.web.http import Receive, Scope, Send, body_of, reply, server
from mlauto.serving.web.keys import Keys
from mlauto.serving.web.sockets import listen_tcp
from mlauto.serving.wire.framed import Framed


class Both:
    """The long way echoes in capitals; the short way echoes, after `pause` seconds."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause
        self.quick: list[Quick] = []
        self.gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await body_of(scope, receive)
        await asyncio.sleep(self.pause)
        await reply(send, b"LONG " + scope["path"].encode() + b" " + body.upper())

    def takes(self, url: bytes) -> Callable[[Quick], None] | None:
        return self._answer if url == b"/short" and not self.gone else None

    def _answer(self, quick: Quick) -> None:
        self.quick.append(quick)
        asyncio.get_running_loop().call_later(self.pause, quick.respond, 200, b"x-way: short\r\n", quick.body)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(
    both: Both,
    scenario: Callable[[Streams, Any], Coroutine[Any, Any, None]],
    keep_alive: int = 75,
    keys: Keys | None = None,
) -> None:
    async def whole() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        running = server(both, keep_alive=keep_alive, protocol=Front.with_short(both, keys))
        serving = asyncio.create_task(running.serve(sockets=[listener]))
        while not running.started:
            await asyncio.sleep(0.005)
        streams = await asyncio.open_connection(*listener.getsockname())
        try:
            await asyncio.wait_for(scenario(streams, running), 20)
        finally:
            streams[1].close()
            running.should_exit = True
            await serving
            listener.close()

    asyncio.run(whole())


def request(
    body: bytes = b"hello", *lines: bytes, path: bytes = b"/short", start: bytes = b"POST %b HTTP/1.1"
) -> bytes:
    head = [start % path, b"host: here", b"content-length: %d" % len(body), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next reply."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


def test_a_whole_request_takes_the_short_way() -> None:
    """Its reply is one piece with status, type, length and the answer's own headers; the connection goes on."""

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for text in (b"one", b"", b"x" * 10_000):
            writer.write(request(text, b"Content-Type: application/json", b"Connection: Keep-Alive"))
            head, body = await answer(reader)
            assert body == text
            assert head == (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-way: short\r\n\r\n"
                % len(text)
            )

    run(Both(), scenario)


def test_a_head_that_came_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies are each request's own. Another head is parsed, and several at once, and what comes while one waits."""
    parsed: list[bytes] = []
    on_headers = Front.on_headers_complete

    def counting(front: Front) -> None:
        parsed.append(front.url)
        on_headers(front)

    monkeypatch.setattr(Front, "on_headers_complete", counting)

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for text, count in ((b"one", 1), (b"two", 1), (b"four", 2), (b"one", 2), (b"five", 2)):
            writer.write(request(text))
            head, body = await answer(reader)
            assert (body, b"x-way: short" in head, len(parsed)) == (text, True, count)
        writer.write(request(b"one") + request(b"two"))
        assert [(await answer(reader))[1] for _ in range(2)] == [b"one", b"LONG /short TWO"]
        writer.write(request(b"one"))
        await asyncio.sleep(0.005)
        writer.write(request(b"two"))  # must not overtake
        assert [(await answer(reader))[1] for _ in range(2)] == [b"one", b"LONG /short TWO"]
        assert len(parsed) == 5

    run(Both(0.02), scenario)


def test_a_known_head_is_asked_for_its_address_each_time() -> None:
    """A product may have gone since."""
    both = Both()

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for gone, wanted in ((False, b"hello"), (True, b"LONG /short HELLO"), (False, b"hello")):
            both.gone = gone
            writer.write(request())
            assert (await answer(reader))[1] == wanted

    run(both, scenario)


@pytest.mark.parametrize("length", [5, 300_000])
def test_a_known_head_shows_its_key(length: int) -> None:
    """Who has learned all but the key is refused; large bodies come in pieces and are parsed each time."""
    body = b"b" * min(length, LARGEST_BODY)

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for key, way in ((b"first-key", b"short"), (b"wrong-key", b"LONG"), (b"first-key", b"short")):
            writer.write(request(body, b"x-api-key: " + key))
            head, text = await answer(reader)
            found = b"LONG" if text.startswith(b"LONG") else b"short"
            assert found == (way if length == 5 else found)
            assert text.lower().endswith(body)
            assert (found == b"short") == (b"x-way: short" in head)

    run(Both(), scenario, keys=Keys("first-key"))


@pytest.mark.parametrize(
    "message",
    [
        request(path=b"/long"),
        request(start=b"PUT %b HTTP/1.1"),
        request(start=b"POST %b HTTP/1.0"),
        request(b"hello", b"X-Mlauto-Timeout-Ms: 5"),
        request(b"hello", b"Content-Encoding: identity"),
        request(b"hello", b"Content-Type: text/plain"),
        request(b"hello", b"Accept: application/vnd.apache.arrow.stream"),
        request(b"hello", b"Inference-Header-Content-Length: 5"),
        request(b"hello", b"Connection: close"),
        b"POST /short HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        request(b"h" * (LARGEST_BODY + 1)),
    ],
    ids=[
        "path",
        "method",
        "version",
        "deadline",
        "encoding",
        "type",
        "arrow",
        "tensors",
        "close",
        "chunked",
        "large",
    ],
)
def test_anything_that_means_more_takes_the_long_way(message: bytes) -> None:
    """The application sees it whole, with path, headers and body."""

    async def scenario(streams: Streams, _: Any) -> None:
        streams[1].write(message)
        head, body = await answer(streams[0])
        assert head.startswith(b"HTTP/1.1 200")
        assert b"x-way" not in head
        path = b"/long" if b"/long" in message else b"/short"
        assert body.startswith(b"LONG " + path + b" H")

    run(Both(), scenario)


def test_a_framed_answer_says_what_it_is() -> None:
    """Its own type and headers; the next one is JSON again. What a client accepts beside Arrow changes nothing."""

    class Framing(Both):
        def _answer(self, quick: Quick) -> None:
            body = Framed(quick.body, [(b"content-type", b"a/b"), (b"y", b"2")]) if quick.body else quick.body
            quick.respond(200, b"x-way: short\r\n", body)

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for text, lines in (
            (b"one", b"content-length: 3\r\nx-way: short\r\ncontent-type: a/b\r\ny: 2\r\n\r\n"),
            (b"", b"content-type: application/json\r\ncontent-length: 0\r\nx-way: short\r\n\r\n"),
        ):
            writer.write(request(text, b"Accept: */*"))
            assert await answer(reader) == (b"HTTP/1.1 200 OK\r\n" + lines, text)

    run(Framing(), scenario)


def test_an_expected_continue_is_sent() -> None:
    """Before the body, as ever."""

    async def scenario(streams: Streams, _: Any) -> None:
        head, _, body = request(b"hello", b"Expect: 100-continue").partition(b"\r\n\r\n")
        streams[1].write(head + b"\r\n\r\n")
        assert (await streams[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        streams[1].write(body)
        assert (await answer(streams[0]))[1] == b"LONG /short HELLO"

    run(Both(), scenario)


@pytest.mark.parametrize("cut", [5, 30, 52, 57, 60])
def test_what_comes_in_pieces_is_answered_all_the_same(cut: int) -> None:
    """Cut in its first line, in its headers, between head and body, and in its body."""

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        message = request(b"hello")
        for _ in range(2):
            writer.write(message[:cut])
            await asyncio.sleep(0.02)
            writer.write(message[cut:])
            body = (await answer(reader))[1]
            assert body.lower().endswith(b"hello")
            assert body.startswith(b"LONG") == (len(message) - 5 <= cut < len(message))

    run(Both(), scenario)


def test_pipelined_requests_are_answered_in_order() -> None:
    """Short and long ones in one piece, and more while the first are being answered."""

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        for _ in range(3):
            writer.write(request(b"a1") + request(b"b2") + request(b"c3", path=b"/long") + request(b"d4"))
            await asyncio.sleep(0.005)
            writer.write(request(b"e5") + request(b"f6")[:-1])
            await asyncio.sleep(0.005)
            writer.write(b"6" + request(b"g7"))
            bodies = [(await answer(reader))[1].lower()[-2:] for _ in range(7)]
            assert bodies == [b"a1", b"b2", b"c3", b"d4", b"e5", b"f6", b"g7"]

    run(Both(0.01), scenario)


def test_garbage_is_refused_and_its_connection_closed() -> None:
    """Also behind a good request, and where a body is shorter than was said."""

    async def scenario(streams: Streams, _: Any) -> None:
        reader, writer = streams
        writer.write(request(b"good"))
        assert (await answer(reader))[1] == b"good"
        writer.write(b"\x00\x01 garbage\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")

    run(Both(), scenario)


def test_a_client_that_left_is_answered_into_nothing() -> None:
    """No error, and a second answer to the same request changes nothing either."""
    both = Both(0.05)

    async def scenario(streams: Streams, _: Any) -> None:
        streams[1].write(request(b"bye"))
        while not both.quick:
            await asyncio.sleep(0.005)
        streams[1].close()
        await asyncio.sleep(0.1)
        assert both.quick[0].disconnected
        assert both.quick[0].response_complete
        both.quick[0].respond(500, b"", b"again")

    run(both, scenario)


def test_a_shutdown_waits_for_the_answer() -> None:
    """It says that the connection ends with it."""

    async def scenario(streams: Streams, running: Any) -> None:
        reader, writer = streams
        writer.write(request(b"last"))
        await asyncio.sleep(0.05)
        running.should_exit = True
        head, body = await answer(reader)
        assert body == b"last"
        assert b"connection: close\r\n" in head
        assert await reader.read() == b""

    run(Both(0.3), scenario)
