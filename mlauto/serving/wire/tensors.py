"""Tensors as raw bytes, as the binary tensor data extension of the Open Inference Protocol has them.

The body of a request or a reply is a JSON object, then the data of those tensors that have `binary_data_size` among
their parameters, in the order of the JSON. The header `Inference-Header-Content-Length` says where the JSON ends.
Numbers are little-endian and lie side by side; BOOL is one byte, 0 or 1; an element of BYTES is its length in four
bytes and then its text (UTF-8). NaN stands for a missing value.
"""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.framed import Framed

__all__ = ["HEADER", "Tail", "framed", "packed"]

HEADER = b"inference-header-content-length"
OCTETS = b"application/octet-stream"
CODES = {
    "BOOL": "B",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
LENGTH = struct.Struct("<I")


class Tail:
    """What follows a request's JSON, taken piece by piece. Errors name the input, as `place` writes it."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._left = memoryview(data)

    def values(self, size: object, datatype: str, count: int, place: str) -> list[Any]:
        """The next `size` bytes as `count` values, missing ones as None. Raises `RequestError`."""
        if type(size) is not int or size < 0:
            raise RequestError(f"{place}.parameters.binary_data_size: must be a whole number of bytes")
        if size > len(self._left):
            raise RequestError(
                f"{place}.parameters.binary_data_size: {size} bytes, but the body has only {len(self._left)} left"
            )
        data, self._left = self._left[:size], self._left[size:]
        if datatype == "BYTES":
            return _texts(data, count, place)
        code = CODES.get(datatype)
        if code is None:
            raise RequestError(f"{place}.datatype: {datatype[:20]!r} cannot be sent as binary data")
        width = struct.calcsize(f"<{code}")
        if count < 0 or size != count * width:
            raise RequestError(
                f"{place}.parameters.binary_data_size: {size} bytes, but {count} {datatype} are {count * width} bytes"
            )
        return _cleaned(struct.unpack(f"<{count}{code}", data), datatype, place)

    def finish(self, last: str) -> None:
        """Raises `RequestError` when there are bytes that belong to no input."""
        if self._left:
            raise RequestError(f"the body has {len(self._left)} bytes after the data of its last input, {last}")


def _cleaned(values: Sequence[Any], datatype: str, place: str) -> list[Any]:
    if datatype == "BOOL":
        wrong = next((index for index, value in enumerate(values) if value > 1), None)
        if wrong is not None:
            raise RequestError(f"{place}[{wrong}]: the byte {values[wrong]} is no BOOL: send 0 or 1")
        return [value == 1 for value in values]
    if datatype.startswith("FP"):
        return [value if value == value else None for value in values]  # noqa: PLR0124 -- NaN alone is not itself
    return list(values)


def _texts(tensor: memoryview, count: int, place: str) -> list[Any]:
    data, values, start, cut = bytes(tensor), list[Any](), 0, False
    last = len(data) - LENGTH.size  # where a length can begin at most
    try:
        while start < len(data) and len(values) < count and not cut:
            text = start + LENGTH.size
            end = text + LENGTH.unpack_from(data, start)[0] if start <= last else len(data) + 1
            cut = end > len(data)
            values.append(data[text:end].decode() if not cut else None)
            start = end
    except UnicodeDecodeError:
        raise RequestError(f"{place}[{len(values)}]: the bytes are no UTF-8 text") from None
    if cut:
        raise RequestError(f"{place}[{len(values) - 1}]: the text is longer than binary_data_size leaves room for")
    if len(values) != count or start != len(data):
        found = f"{len(values)} texts" + (f" and {len(data) - start} bytes more" if start < len(data) else "")
        raise RequestError(f"{place}.parameters.binary_data_size: {found}, but its shape promises {count} texts")
    return values


def packed(values: Sequence[Any], datatype: str) -> bytes:
    """Values as binary data of that datatype. Raises `ModelError` for one that does not fit."""
    if datatype == "BYTES":
        texts = [value.encode() if isinstance(value, str) else msgspec.json.encode(value) for value in values]
        return b"".join([part for text in texts for part in (LENGTH.pack(len(text)), text)])
    try:
        return struct.pack(f"<{len(values)}{CODES[datatype]}", *values)
    except (struct.error, OverflowError) as error:
        raise ModelError(f"the model answered a value that is no {datatype}: {error}") from None


def framed(reply: dict[str, Any], names: Sequence[str]) -> Framed:
    """A reply whose outputs of those names are sent as binary data; `reply` is changed. Raises `ModelError`."""
    parts = []
    for tensor in reply["outputs"]:
        if tensor["name"] in names:
            part = packed(tensor.pop("data"), tensor["datatype"])
            tensor["parameters"] = {**tensor.get("parameters", {}), "binary_data_size": len(part)}
            parts.append(part)
    head = msgspec.json.encode(reply)
    if not parts:
        return Framed(head, [(b"content-type", b"application/json")])
    length = str(len(head)).encode()
    return Framed(b"".join([head, *parts]), [(b"content-type", OCTETS), (HEADER, length)])
