"""Bodies with a limit, replies, and errors as sentences."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from mlauto.serving.errors import RequestError, UnavailableError
from mlauto.serving.web import http
from mlauto.serving.wire.framed import Framed


class Wire:
    """What an ASGI server would receive from a client, and what it was told to send."""

    def __init__(self, *chunks: bytes, headers: list[tuple[bytes, bytes]] | None = None, gone: bool = False) -> None:
        self.scope: dict[str, Any] = {"type": "http", "headers": headers or []}
        self.sent: list[MutableMapping[str, Any]] = []
        self._messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": chunk, "more_body": gone or index + 1 < len(chunks)}
            for index, chunk in enumerate(chunks)
        ]
        if gone:
            self._messages.append({"type": "http.disconnect"})

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._messages:
            await asyncio.sleep(60)
        return self._messages.pop(0)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    def body(self) -> bytes:
        return asyncio.run(http.body_of(self.scope, self.receive))

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


def test_a_body_is_put_together() -> None:
    """From as many pieces as came."""
    assert Wire(b"one ", b"two", b"").body() == b"one two"


def test_a_body_beyond_the_limit_is_refused_without_being_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """413 with the limit in it; reading goes on for a while so that the client hears it, but not for ever."""
    monkeypatch.setattr(http, "BODY_LIMIT", 10)
    monkeypatch.setattr(http, "DISCARD_LIMIT", 40)
    for wire in (Wire(b"x" * 11), Wire(b"x" * 6, b"x" * 6, b"x"), Wire(*[b"x" * 9] * 1000)):
        with pytest.raises(RequestError, match="the body is larger than") as caught:
            wire.body()
        assert caught.value.status == 413
    assert Wire(b"x" * 10).body() == b"x" * 10


def test_a_client_that_went_away_is_not_answered() -> None:
    """Its half request is neither parsed nor counted as a mistake."""
    with pytest.raises(http.ClientGoneError):
        Wire(b"{", gone=True).body()


def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """408 after the time limit."""
    monkeypatch.setattr(http, "BODY_SECONDS", 0.05)
    with pytest.raises(RequestError, match="did not arrive within") as caught:
        Wire().body()
    assert caught.value.status == 408


@pytest.mark.parametrize(
    "header",
    [
        (b"content-encoding", b"gzip"),
        (b"content-type", b"text/csv"),
        (b"content-type", b"multipart/form-data; boundary=x"),
    ],
)
def test_other_encodings_are_refused(header: tuple[bytes, bytes]) -> None:
    """415 that says what to send instead."""
    with pytest.raises(RequestError, match="JSON") as caught:
        Wire(b"x", headers=[header]).body()
    assert caught.value.status == 415


def test_a_framed_reply_says_what_it_is() -> None:
    """Its own headers instead of JSON's, and the length of the whole."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    framed = Framed(b"\1\2", [(b"content-type", b"application/octet-stream"), (b"x", b"1")])
    asyncio.run(http.reply(send, framed, headers=[(b"x-mlauto-version", b"1")]))

    assert sent[0]["headers"] == [
        (b"content-length", b"2"),
        (b"x-mlauto-version", b"1"),
        (b"content-type", b"application/octet-stream"),
        (b"x", b"1"),
    ]
    assert sent[1]["body"] == b"\1\2"


@pytest.mark.parametrize("kind", [b"application/json", b"application/x-www-form-urlencoded", b""])
def test_any_other_content_type_is_read_as_json(kind: bytes) -> None:
    """`curl -d` without a header works."""
    assert Wire(b"{}", headers=[(b"content-type", kind)]).body() == b"{}"


def test_replies_are_whole_and_json() -> None:
    """With their length; bytes go out as they are."""
    wire = Wire()
    asyncio.run(http.reply(wire.send, {"a": 1}, status=201, headers=[(b"x-one", b"1")]))

    assert wire.sent[0]["status"] == 201
    assert wire.headers == {b"content-type": b"application/json", b"content-length": b"7", b"x-one": b"1"}
    assert wire.sent[1]["body"] == b'{"a":1}'
    text = Wire()
    asyncio.run(http.reply(text.send, b"plain", headers=[(b"content-type", b"text/plain")]))
    assert [value for name, value in text.sent[0]["headers"] if name == b"content-type"] == [b"text/plain"]


def test_errors_are_sentences() -> None:
    """503 invites to come again; 413 closes the connection whose body was not read."""
    busy, large = Wire(), Wire()
    asyncio.run(http.reply_error(busy.send, UnavailableError("come again")))
    asyncio.run(http.reply_error(large.send, RequestError("too large", 413)))

    assert busy.sent[0]["status"] == 503
    assert busy.headers[b"retry-after"] == b"2"
    assert json.loads(busy.sent[1]["body"]) == {"error": "come again"}
    assert large.headers[b"connection"] == b"close"
