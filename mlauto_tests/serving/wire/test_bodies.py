"""Headers that say how a body is written, and in what its reply is wanted."""

import asyncio
import json
import struct
import sys

import pyarrow as pa
import pyarrow.ipc
import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.bodies import are_plain, parser_for
from mlauto.serving.wire.protocol import Request
from mlauto.serving.wire.signature import Signature

SIGNATURE = Signature(columns={"temp": "number"}, task="regression")
ARROW = "application/vnd.apache.arrow.stream"
INVOCATION = b'{"instances": [{"temp": 1.5}]}'


def parsed(verb: str, body: bytes, **headers: str) -> Request:
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

    async def run() -> Request:
        return (await parser_for(verb, given, body))(body, SIGNATURE)

    return asyncio.run(run())


def stream() -> bytes:
    batch = pa.record_batch({"temp": [1.5]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def binary() -> tuple[bytes, int]:
    tensor = {"name": "temp", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [tensor]}).encode()
    return head + struct.pack("<d", 1.5), len(head)


def test_every_form_gives_the_same_rows() -> None:
    """JSON, binary tensors, Arrow stream and file."""
    body, head = binary()
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"temp": [1.5]})
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found = [
        parsed("invocations", INVOCATION),
        parsed("infer", body, inference_header_content_length=str(head)),
        parsed("invocations", stream(), content_type=f"{ARROW}; charset=x"),
        parsed("invocations", bytes(sink.getvalue()), content_type=ARROW.replace("stream", "file").upper()),
    ]

    assert [request.rows for request in found] == [[{"temp": 1.5}]] * 4
    assert not any(request.arrow for request in found)


@pytest.mark.parametrize(
    ("accept", "arrow"),
    [
        (ARROW, True),
        (f"text/html, {ARROW};q=0.9", True),
        (f"application/json, {ARROW}", False),
        (f"{ARROW}, application/json", True),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_reply_is_arrow_where_that_is_preferred(accept: str, arrow: bool) -> None:
    """Whatever the body is; the first that is named counts."""
    assert parsed("invocations", INVOCATION, accept=accept).arrow is arrow
    assert parsed("invocations", stream(), content_type=ARROW, accept=accept).arrow is arrow


@pytest.mark.parametrize("value", ["", "0", "-1", "1e1", "61", "9" * 30, "x", "+5", "²"])
def test_a_length_that_is_none(value: str) -> None:
    """It must be within the body."""
    with pytest.raises(RequestError, match=r"Inference-Header-Content-Length: .* within 60 bytes") as caught:
        parsed("infer", b" " * 60, inference_header_content_length=value)
    assert caught.value.status == 400


def test_each_form_belongs_to_one_protocol() -> None:
    """The sentence says where to send it."""
    with pytest.raises(RequestError, match="only infer takes binary tensors"):
        parsed("invocations", INVOCATION, inference_header_content_length="5")
    with pytest.raises(RequestError, match="send Arrow to invocations") as caught:
        parsed("infer", stream(), content_type=ARROW)
    assert caught.value.status == 415


def test_without_pyarrow_arrow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """415 for such a body, 406 for such a reply; JSON goes on."""
    cases = ((stream(), {"content_type": ARROW}, 415), (INVOCATION, {"accept": ARROW}, 406))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for body, headers, status in cases:
        with pytest.raises(RequestError, match="pyarrow is not installed: send JSON") as caught:
            parsed("invocations", body, **headers)
        assert caught.value.status == status
    assert parsed("invocations", INVOCATION).rows == [{"temp": 1.5}]


@pytest.mark.parametrize(
    ("headers", "plain"),
    [
        ([], True),
        ([(b"content-type", b"application/json"), (b"accept", b"*/*")], True),
        ([(b"content-type", ARROW.encode())], False),
        ([(b"accept", ARROW.encode())], False),
        ([(b"inference-header-content-length", b"10")], False),
    ],
)
def test_json_both_ways_is_plain(headers: list[tuple[bytes, bytes]], plain: bool) -> None:
    """Only such a request may be answered from its body alone."""
    assert are_plain(headers) == plain
