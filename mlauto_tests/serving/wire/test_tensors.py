"""Binary tensor data: what is read, what is written, and every way in which the sizes can be wrong."""

import math
import struct
from typing import Any

import msgspec
import pytest

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.tensors import Tail, framed, packed


def read(data: bytes, datatype: str, count: int, size: object = None) -> list[Any]:
    tail = Tail(data)
    found = tail.values(len(data) if size is None else size, datatype, count, "inputs[0]")
    tail.finish("inputs[0]")
    return found


@pytest.mark.parametrize(
    ("datatype", "code", "values"),
    [
        ("INT8", "b", [-128, 127]),
        ("INT16", "h", [-(2**15), 5]),
        ("INT32", "i", [-(2**31), 7]),
        ("INT64", "q", [-(2**63), 2**63 - 1]),
        ("UINT8", "B", [0, 255]),
        ("UINT16", "H", [0, 2**16 - 1]),
        ("UINT32", "I", [0, 2**32 - 1]),
        ("UINT64", "Q", [0, 2**64 - 1]),
        ("FP16", "e", [0.5, -2.0]),
        ("FP32", "f", [0.25, 1e10]),
        ("FP64", "d", [0.1, -1e300]),
    ],
)
def test_numbers_of_every_datatype(datatype: str, code: str, values: list[Any]) -> None:
    """Little-endian, side by side, there and back."""
    data = struct.pack(f"<2{code}", *values)

    assert read(data, datatype, 2) == values
    assert packed(values, datatype) == data


def test_nan_is_a_missing_value() -> None:
    """As null is in JSON; infinity stays what it is, for the signature to refuse."""
    data = struct.pack("<3d", math.nan, 1.0, math.inf)

    assert read(data, "FP64", 3) == [None, 1.0, math.inf]


def test_texts_and_truth_values() -> None:
    """Texts with their length before them, one byte for true and false."""
    data = struct.pack("<I", 5) + "räin".encode() + struct.pack("<I", 0)

    assert read(data, "BYTES", 2) == ["räin", ""]
    assert packed(["räin", ""], "BYTES") == data
    assert packed([1, True], "BYTES") == struct.pack("<I", 1) + b"1" + struct.pack("<I", 4) + b"true"
    assert read(b"\1\0", "BOOL", 2) == [True, False]
    assert packed([True, False], "BOOL") == b"\1\0"


@pytest.mark.parametrize(
    ("data", "datatype", "count", "size", "words"),
    [
        (b"12345678", "FP64", 1, 16, "16 bytes, but the body has only 8 left"),
        (b"12345678", "FP64", 2, 8, "8 bytes, but 2 FP64 are 16 bytes"),
        (b"12345678", "FP64", 1, 7, "7 bytes, but 1 FP64 are 8 bytes"),
        (b"12345678", "FP64", -1, 8, "8 bytes, but -1 FP64"),
        (b"12345678", "FP32", 1, 4, "4 bytes after the data of its last input, inputs[0]"),
        (b"12345678", "FP64", 1, -8, "must be a whole number of bytes"),
        (b"12345678", "FP64", 1, True, "must be a whole number of bytes"),
        (b"12345678", "FP64", 1, 8.0, "must be a whole number of bytes"),
        (b"12345678", "FP64", 1, "8", "must be a whole number of bytes"),
        (b"12345678", "FP8", 8, 8, "inputs[0].datatype: 'FP8' cannot be sent as binary data"),
        (b"\1\2", "BOOL", 2, 2, "inputs[0][1]: the byte 2 is no BOOL"),
        (b"\1\0\0", "BYTES", 1, 3, "inputs[0][0]: the text is longer"),
        (b"\2\0\0\0a", "BYTES", 1, 5, "inputs[0][0]: the text is longer"),
        (b"\xff\xff\xff\xffa", "BYTES", 1, 5, "inputs[0][0]: the text is longer"),
        (b"\1\0\0\0\xff", "BYTES", 1, 5, "inputs[0][0]: the bytes are no UTF-8 text"),
        (b"\1\0\0\0a", "BYTES", 2, 5, "1 texts, but its shape promises 2"),
        (b"\1\0\0\0abc", "BYTES", 1, 7, "1 texts and 2 bytes more, but its shape promises 1"),
        (b"\1\0\0\0a", "BYTES", -1, 5, "0 texts and 5 bytes more"),
    ],
)
def test_sizes_that_do_not_fit(data: bytes, datatype: str, count: int, size: object, words: str) -> None:
    """400, with the input and what is wrong about it."""
    with pytest.raises(RequestError) as caught:
        read(data, datatype, count, size)

    assert words in str(caught.value)
    assert "inputs[0]" in str(caught.value)
    assert caught.value.status == 400


def test_tensors_follow_one_another() -> None:
    """Each takes its own bytes, also none."""
    tail = Tail(b"\1\2\0\0\0")

    assert tail.values(1, "INT8", 1, "a") == [1]
    assert tail.values(0, "FP64", 0, "b") == []
    assert tail.values(4, "INT32", 1, "c") == [2]
    tail.finish("c")


def test_a_reply_names_sizes_and_its_heads_length() -> None:
    """Outputs that are not asked for as binary data stay in the JSON; others follow it in order."""
    outputs = [
        {"name": "predict", "datatype": "INT64", "shape": [1], "data": [7]},
        {"name": "probabilities", "datatype": "FP64", "shape": [1, 1], "parameters": {"classes": [7]}, "data": [0.5]},
    ]
    reply = framed({"outputs": [dict(one) for one in outputs]}, ["probabilities"])
    headers = dict(reply.headers)
    head = int(headers[b"inference-header-content-length"])
    said = msgspec.json.decode(reply[:head])["outputs"]

    assert headers[b"content-type"] == b"application/octet-stream"
    assert said[0] == outputs[0]
    assert said[1]["parameters"] == {"classes": [7], "binary_data_size": 8}
    assert "data" not in said[1]
    assert reply[head:] == struct.pack("<d", 0.5)


def test_a_reply_without_binary_data_is_json() -> None:
    """An output that there is not cannot be sent as binary data either."""
    reply = framed({"outputs": [{"name": "predict", "data": [1]}]}, ["probabilities"])

    assert reply.headers == ((b"content-type", b"application/json"),)
    assert msgspec.json.decode(reply)["outputs"][0]["data"] == [1]


def test_a_prediction_that_fits_no_datatype_is_the_models_fault() -> None:
    """Never a wrapped number."""
    with pytest.raises(ModelError, match="no INT64"):
        packed([2**70], "INT64")
    with pytest.raises(ModelError, match="no FP64"):
        packed([10**400], "FP64")
