"""How a prediction's headers say that its body is written, and in what its reply is wanted.

| header                                               | means                                                      |
|------------------------------------------------------|------------------------------------------------------------|
| `Inference-Header-Content-Length: n` (`infer`)       | binary data of tensors after n bytes of JSON               |
| `Content-Type: application/vnd.apache.arrow.stream`  | `invocations` as Arrow, or `.file` at the end              |
| `Accept: application/vnd.apache.arrow.stream`        | the reply to `invocations` is to be Arrow                  |

Everything else is JSON.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from mlauto.serving.errors import RequestError
from mlauto.serving.wire import tensors
from mlauto.serving.wire.arrow import FILE, STREAM, parse_arrow, require_arrow
from mlauto.serving.wire.invocations import parse_invocations
from mlauto.serving.wire.protocol import Request, parse_infer
from mlauto.serving.wire.signature import Signature

__all__ = ["EXTENSIONS", "are_plain", "parser_for"]

EXTENSIONS = ("binary_tensor_data",)  # of the Open Inference Protocol
Parse = Callable[[bytes, Signature], Request]


def are_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request with these headers is JSON, and its reply is to be."""
    given = dict(headers)
    kind = given.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return kind not in (STREAM, FILE) and tensors.HEADER not in given and not _wants_arrow(given.get(b"accept", b""))


async def parser_for(verb: str, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Parse:
    """What makes rows of the body of a request to `infer` or `invocations`. Raises `RequestError`."""
    given = dict(headers)
    kind = given.get(b"content-type", b"").partition(b";")[0].strip().lower()
    head = given.get(tensors.HEADER)
    if verb == "infer":
        if kind in (STREAM, FILE):
            raise RequestError("infer takes tensors: send Arrow to invocations", 415)
        return parse_infer if head is None else partial(parse_infer, head=_head(head, len(body)))
    if head is not None:
        raise RequestError("Inference-Header-Content-Length: only infer takes binary tensors")
    wanted = _wants_arrow(given.get(b"accept", b""))
    if kind not in (STREAM, FILE) and not wanted:
        return parse_invocations
    if sys.modules.get("pyarrow") is None:  # takes longer than anybody should wait who asked for something else
        await asyncio.to_thread(require_arrow, 415 if kind in (STREAM, FILE) else 406)
    return partial(_parsed, kind, wanted)


def _parsed(kind: bytes, wanted: bool, body: bytes, signature: Signature) -> Request:
    if kind in (STREAM, FILE):
        return Request(parse_arrow(body, signature, file=kind == FILE), arrow=wanted)
    return msgspec.structs.replace(parse_invocations(body, signature), arrow=wanted)


def _head(value: bytes, size: int) -> int:
    """How long the JSON is."""
    if not value.isdigit() or len(value) > 12 or not 0 < int(value) <= size:
        raise RequestError(
            f"Inference-Header-Content-Length: {value.decode('latin-1')[:40]!r} is no length within {size} bytes"
        )
    return int(value)


def _wants_arrow(accept: bytes) -> bool:
    """Whether Arrow is named, and JSON not before it."""
    named = [part.partition(b";")[0].strip().lower() for part in accept.split(b",")]
    return STREAM in named and b"application/json" not in named[: named.index(STREAM)]
