"""Bare ASGI: bodies with a limit, JSON replies, and errors as sentences."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import msgspec

from mlauto.serving.errors import RequestError, ServingError
from mlauto.serving.wire.framed import Framed

if TYPE_CHECKING:
    import uvicorn

    from mlauto.serving.web.front import Front

__all__ = [
    "BODY_LIMIT",
    "App",
    "ClientGoneError",
    "Headers",
    "Receive",
    "Scope",
    "Send",
    "body_of",
    "reply",
    "reply_error",
    "server",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

BODY_LIMIT = 16 << 20
# A client that sends too much hears why, if it stops within this; more is cut off.
DISCARD_LIMIT = 8 * BODY_LIMIT
BODY_SECONDS = 60.0
JSON = (b"content-type", b"application/json")


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete: there is nobody to answer."""


async def body_of(scope: Scope, receive: Receive) -> bytes:
    """The request's body. Raises `RequestError` when it is larger than 16 MB, encoded, or does not come."""
    _check_headers(scope)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= BODY_LIMIT:
                    chunks.append(chunk)
                if not message.get("more_body") or size > DISCARD_LIMIT:
                    break
    except TimeoutError:
        raise RequestError(f"the body did not arrive within {BODY_SECONDS:.0f} s", 408) from None
    if size > BODY_LIMIT:
        raise RequestError(f"the body is larger than {BODY_LIMIT >> 20} MB: send fewer rows at a time", 413)
    return b"".join(chunks)


def _check_headers(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise RequestError(
                f"Content-Encoding {value.decode('latin-1')[:40]} is not supported: send plain JSON", 415
            )
        if name == b"content-type" and value.lower().startswith((b"text/csv", b"multipart/")):
            raise RequestError(f"Content-Type {value.decode('latin-1')[:40]} is not supported: send JSON", 415)


async def reply(send: Send, body: bytes | object, *, status: int = 200, headers: Headers = ()) -> None:
    """Send a whole reply; anything but bytes becomes JSON, and says so unless it is framed otherwise."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    length = (b"content-length", str(len(content)).encode())
    given = [*headers, *(body.headers if isinstance(body, Framed) else ())]
    kind = [] if any(name == b"content-type" for name, _ in given) else [JSON]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, length, *given]})
    await send({"type": "http.response.body", "body": content})


async def reply_error(send: Send, error: ServingError, *, headers: Headers = ()) -> None:
    """Send the error's sentence; 503 invites to come again, and an unread body's connection is closed."""
    extra = list(headers)
    if error.status == 503:
        extra.append((b"retry-after", b"2"))
    if error.status in (408, 413):
        extra.append((b"connection", b"close"))
    await reply(send, {"error": str(error)}, status=error.status, headers=extra)


def server(app: App, *, keep_alive: int = 75, protocol: "type[Front] | None" = None) -> "uvicorn.Server":
    """A uvicorn server of that application, to be awaited with `serve(sockets=[...])`; `keep_alive` in seconds.

    It installs no signal handlers and writes no log of requests.
    """
    import uvicorn

    class Server(uvicorn.Server):  # type: ignore[misc, unused-ignore]
        def capture_signals(self) -> AbstractContextManager[None]:
            return nullcontext()  # several servers share one process, whose main function handles signals

    config = uvicorn.Config(
        app,
        http=protocol or "httptools",
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=15,
    )
    return Server(config)
