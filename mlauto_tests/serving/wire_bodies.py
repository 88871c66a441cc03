"""A row as binary tensors and as Arrow, for the tests of whatever serves."""

import json
import struct
from typing import Any

import pyarrow as pa
import pyarrow.ipc

__all__ = ["ARROW", "arrow_of", "binary_of", "outputs_of", "table_of"]

ARROW = "application/vnd.apache.arrow.stream"
PACKED = {"FP64": "<d", "INT64": "<q", "BOOL": "<B"}
KINDS = {float: "FP64", int: "INT64", bool: "BOOL", str: "BYTES"}


def arrow_of(rows: list[dict[str, Any]]) -> bytes:
    """The rows as an IPC stream."""
    batch = pa.RecordBatch.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def table_of(body: bytes) -> dict[str, list[Any]]:
    """The columns of an IPC stream."""
    found: dict[str, list[Any]] = pa.ipc.open_stream(body).read_all().to_pydict()
    return found


def binary_of(row: dict[str, Any], **more: Any) -> tuple[bytes, dict[str, str]]:
    """An `infer` request of one row, all of it binary data, and its header."""
    inputs, parts = [], []
    for name, value in row.items():
        datatype = KINDS[type(value)]
        if datatype == "BYTES":
            part = struct.pack("<I", len(value.encode())) + value.encode()
        else:
            part = struct.pack(PACKED[datatype], value)
        parameters = {"binary_data_size": len(part)}
        inputs.append({"name": name, "datatype": datatype, "shape": [1], "parameters": parameters})
        parts.append(part)
    head = json.dumps({"inputs": inputs, **more}).encode()
    return head + b"".join(parts), {"inference-header-content-length": str(len(head))}


def outputs_of(body: bytes, head: int) -> dict[str, bytes]:
    """The binary data of each output of a reply whose JSON is so long."""
    found = {}
    for output in json.loads(body[:head])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found[output["name"]] = body[head : head + size]
        head += size
    assert head == len(body)
    return found
