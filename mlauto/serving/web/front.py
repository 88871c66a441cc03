"""The short way of a prediction through HTTP: no task, no ASGI messages; everything else goes the long way.

uvicorn's protocol stays in charge of the connection. A request takes the short way only when it is whole in one piece
of what the socket gave, is of moderate size, and has no header that means more than its body does; any other, and any
that waits behind another, becomes an ordinary ASGI request. Both ways give the same replies.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol

from mlauto.serving.web.connection import Connection
from mlauto.serving.web.heads import Heads
from mlauto.serving.web.keys import Keys
from mlauto.serving.wire.framed import Framed

__all__ = ["LARGEST_BODY", "Front", "Quick", "Short"]

LARGEST_BODY = 256 << 10
# What these ask for (or that something is wrong with them) is known to the long way alone.
TELLING = frozenset(
    (
        b"accept",
        b"connection",
        b"content-encoding",
        b"expect",
        b"inference-header-content-length",
        b"transfer-encoding",
        b"upgrade",
        b"x-mlauto-timeout-ms",
    )
)
JSON_TYPES = (b"application/json", b"application/json; charset=utf-8")
STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
FIRST_LINE = b"%bcontent-type: application/json\r\ncontent-length: %d\r\n"
FRAMED_LINE = b"%bcontent-length: %d\r\n"


def _tells(name: bytes, value: bytes) -> bool:
    """Whether one of these headers asks for more than the short way has."""
    if name == b"accept":
        return b"arrow" in value
    return name != b"connection" or value != b"keep-alive"


class Quick:
    """A request on the short way. uvicorn sees it as the cycle that its connection is busy with."""

    __slots__ = ("_front", "body", "disconnected", "keep_alive", "message_event", "response_complete", "whole")

    def __init__(self, front: "Front") -> None:
        self._front = front
        self.body = b""
        self.whole = False
        self.disconnected = False
        self.response_complete = False
        self.keep_alive = True
        self.message_event = self  # uvicorn sets it when the connection is lost: nobody waits here

    def set(self) -> None:
        """Nobody waits for this."""

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Send the reply, once. `headers` are whole lines, each with its end."""
        if self.response_complete:
            return
        self.response_complete = True
        if self.disconnected:
            return
        transport = self._front.transport
        first = FIRST_LINE
        if isinstance(body, Framed):
            first, headers = FRAMED_LINE, headers + body.lines()
        if self.keep_alive:
            transport.write(b"%b%b\r\n%b" % (first % (STATUS_LINES[status], len(body)), headers, body))
        else:
            close = b"connection: close\r\n\r\n"
            transport.write(b"%b%b%b%b" % (first % (STATUS_LINES[status], len(body)), headers, close, body))
            transport.close()
        self._front.on_response_complete()


class Short(Protocol):
    """Who answers requests on the short way."""

    def takes(self, url: bytes) -> Callable[[Quick], None] | None:
        """What answers a POST to that address and calls `respond` in the end; None where the long way must be taken."""
        ...


class Front(Connection):
    """uvicorn's protocol with the short way built in; `short` is set by a subclass made by `with_short`."""

    short: Short
    keys: Keys | None = None
    heads = Heads()
    headers: list[tuple[bytes, bytes]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._quick: Quick | None = None  # its head is complete, its body may not be
        self._answer: Callable[[Quick], None]
        self._length = b""
        self._telling = False
        self._prompt = False

    @classmethod
    def with_short(cls, short: Short, keys: Keys | None = None) -> type["Front"]:
        """A protocol class for `uvicorn.Config(http=...)`; whoever shows none of the keys goes the long way."""
        return type("Front", (cls,), {"short": short, "keys": keys, "heads": Heads()})

    def data_received(self, data: bytes) -> None:
        """Feed the parser; then answer what is whole, and give to the long way what is not."""
        fresh = not self._begun
        if fresh and self._again(data):
            return
        super().data_received(data)
        quick = self._quick
        if quick is not None:
            self._quick = None
            if quick.whole:
                if fresh:
                    self.heads.learn(data, self.url, len(quick.body))
                self._answer(quick)
            elif not self.transport.is_closing():
                self._take_long_way(quick)

    def _again(self, data: bytes) -> bool:
        """Answer a request whose head is known, so that the parser would find nothing new in it."""
        found = self.heads.find(data)
        idle = self.cycle is None or self.cycle.response_complete
        if found is None or not idle or self.flow.write_paused or self.transport.is_closing():
            return False
        answer = self.short.takes(found[0])
        if answer is None:
            return False
        self._hasten(prompt=True)
        quick = self.cycle = Quick(self)
        quick.body = found[1]
        answer(quick)
        return True

    def on_message_begin(self) -> None:
        """What the long way needs is made when it is taken."""
        if self._quick is not None:  # another request in the same piece: this one need not wait for it
            quick, self._quick = self._quick, None
            self._later(quick)
        self.begin_head()
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._telling = False
        self._length = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note what decides about the way."""
        name = name.lower()
        self.headers.append((name, value))
        if name in TELLING:
            if name == b"expect":
                self.expect_100_continue = value.lower() == b"100-continue"
            self._telling = self._telling or _tells(name, value.lower())
        elif name == b"content-length":
            self._length = value
        elif name == b"content-type" and value.lower() not in JSON_TYPES:
            self._telling = True

    def on_headers_complete(self) -> None:
        """Decide about the way."""
        self.end_head()
        answer = None
        if not self._telling and self._length.isdigit() and int(self._length) <= LARGEST_BODY:
            idle = self.cycle is None or self.cycle.response_complete
            ours = idle and not self.flow.write_paused and self.parser.get_method() == b"POST"
            if ours and (self.keys is None or self.keys.admit(self.headers)):
                answer = self.short.takes(self.url)
        if answer is None or self.parser.get_http_version() != "1.1":
            self._begin_long_way()
        else:
            self._answer = answer
            self._hasten(prompt=True)
            self._quick = self.cycle = Quick(self)

    def on_body(self, body: bytes) -> None:
        """Keep it."""
        quick = self._quick
        if quick is None:
            super().on_body(body)
        else:
            quick.body = quick.body + body if quick.body else body

    def on_message_complete(self) -> None:
        """It can be answered once the parser has returned: an error in there would look like the client's."""
        self.end_message()
        if self._quick is None:
            super().on_message_complete()
        else:
            self._quick.whole = True

    def _later(self, quick: Quick) -> None:
        self.loop.call_soon(self._answer, quick)

    def _hasten(self, *, prompt: bool) -> None:
        """Whether a reply is written at once, or in the end of the loop's turn: the long way writes one in parts."""
        if prompt is not self._prompt:
            self._prompt = prompt
            self.transport.set_write_buffer_limits(0 if prompt else None)

    def _begin_long_way(self) -> None:
        self._hasten(prompt=False)
        headers, url, expects = self.headers, self.url, self.expect_100_continue
        super().on_message_begin()
        self.headers.extend(headers)
        self.url, self.expect_100_continue = url, expects
        super().on_headers_complete()

    def _take_long_way(self, quick: Quick) -> None:
        quick.response_complete = True
        self._begin_long_way()
        if quick.body:
            super().on_body(quick.body)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for the reply any more."""
        super().connection_lost(exc)
        self._quick = None
