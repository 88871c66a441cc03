"""Rows and predictions as Arrow IPC: one column for each of the model's, by name; record batches one after another.

pyarrow is imported with the first such request and not before: a server that gets none stays as small as it is. What a
stranger sent is judged before it is read: the type and compression of every message (compressed buffers may hold
anything, and are refused), the types of all columns, the number of rows, and then every batch in full.
"""

import struct
from collections.abc import Sequence
from typing import Any

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.framed import Framed
from mlauto.serving.wire.signature import Column, Signature, check_size, rows_from, unknown_column

__all__ = ["FILE", "STREAM", "arrow_reply", "parse_arrow", "require_arrow"]

STREAM = b"application/vnd.apache.arrow.stream"
FILE = b"application/vnd.apache.arrow.file"
FILE_START = b"ARROW1\0\0"  # what follows is a stream, and then a directory that it can do without
MOST_MESSAGES = 1024
MOST_TEXT = 16 << 20  # characters; a dictionary may name one long text any number of times
HEADERS = {"dictionary": 2, "record batch": 3}  # of messages: their numbers in the format
ROOT, OFFSET, BACK = struct.Struct("<I"), struct.Struct("<H"), struct.Struct("<i")


def require_arrow(status: int = 415) -> Any:
    """The library, imported when it is first needed. Raises `RequestError` where it is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError:
        raise RequestError("Arrow is not supported here, as pyarrow is not installed: send JSON", status) from None
    return pa


def parse_arrow(body: bytes, signature: Signature, *, file: bool = False) -> list[dict[str, Any]]:
    """The rows of an Arrow IPC stream, or of a file. Raises `RequestError`."""
    pa = require_arrow()
    if file and not body.startswith(FILE_START):
        raise RequestError("the body is no Arrow file: it does not begin with ARROW1")
    content = pa.py_buffer(body)[len(FILE_START) if file else 0 :]
    try:
        _check_messages(content, pa, file=file)
        columns, count = _read(content, signature, pa)
    except (pa.ArrowException, OSError, EOFError, struct.error, UnicodeDecodeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise RequestError(f"the body is no Arrow {'file' if file else 'stream'}: {reason[:200]}") from None
    return rows_from(columns, count, signature)


def _check_messages(content: Any, pa: Any, *, file: bool) -> None:
    """Raises `RequestError` for messages that are not a schema and then plain batches, or for what follows them."""
    source = pa.BufferReader(content)
    for number, message in enumerate(pa.ipc.MessageReader.open_stream(source)):
        if number >= MOST_MESSAGES:
            raise RequestError(f"the body has more than {MOST_MESSAGES} record batches: send fewer and longer ones")
        if (message.type == "schema") != (number == 0) or message.type not in ("schema", *HEADERS):
            raise RequestError(f"message {number} of the body is a {message.type}: send a schema, then record batches")
        if number and _compressed(message.metadata.to_pybytes(), HEADERS[message.type]):
            raise RequestError(f"message {number} of the body is compressed: send uncompressed record batches")
    if source.tell() == 0:
        raise RequestError("the body is empty: send an Arrow schema, then record batches")
    if not file and source.tell() != content.size:
        raise RequestError(f"the body has {content.size - source.tell()} bytes after the end of its stream")


def _compressed(metadata: bytes, kind: int) -> bool:
    """Whether a message says that its buffers are compressed, which pyarrow tells nobody. Raises `struct.error`.

    The message is a FlatBuffers table: version, type of the header, header, length of the body; the header of a record
    batch has its compression in the fourth place, that of a dictionary has a record batch in the second.
    """
    message = ROOT.unpack_from(metadata, 0)[0]
    named = _field(metadata, message, 1)
    if named is None or metadata[named : named + 1] != bytes([kind]):
        raise struct.error("a message's type is not the one that its header has")
    header = _table(metadata, message, 2)
    return _field(metadata, header if kind == 3 else _table(metadata, header, 1), 3) is not None


def _field(data: bytes, table: int, place: int) -> int | None:
    """Where a table's field is; None where it is left out."""
    directory = table - BACK.unpack_from(data, table)[0]
    entry = 4 + 2 * place
    if directory < 0 or entry >= OFFSET.unpack_from(data, directory)[0]:
        return None
    offset: int = OFFSET.unpack_from(data, directory + entry)[0]
    return table + offset if offset else None


def _table(data: bytes, table: int, place: int) -> int:
    found = _field(data, table, place)
    if found is None:
        raise struct.error("a message lacks its header")
    offset: int = ROOT.unpack_from(data, found)[0]
    return found + offset


def _read(content: Any, signature: Signature, pa: Any) -> tuple[dict[str, Column], int]:
    """The columns, and the number of their rows."""
    reader = pa.ipc.open_stream(content)
    names = reader.schema.names
    accepted = signature.accepted
    for place, name in enumerate(names):
        if name not in accepted:
            raise RequestError(unknown_column(name, signature))
        _check_type(name, reader.schema.types[place], pa.types)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"the column {twice[:100]!r} occurs twice")
    batches, count = [], 0
    for batch in reader:
        count += batch.num_rows
        check_size(max(count, 1), signature)
        batch.validate(full=True)
        batches.append(batch)
    values: dict[str, list[Any]] = {name: [] for name in names}
    room = MOST_TEXT
    for batch in batches:
        for name, array in zip(names, batch.columns, strict=True):
            found = _values(array, pa.types)
            values[name] += found
            if pa.types.is_dictionary(array.type) and array.type.value_type in (pa.string(), pa.large_string()):
                room -= sum([len(text) for text in found if text is not None])
                if room < 0:
                    raise RequestError(f"{name}: the texts of all rows are too long together: send fewer rows", 413)
    return {name: Column(column, name) for name, column in values.items()}, count


def _check_type(name: str, kind: Any, types: Any) -> None:
    plain = kind.value_type if types.is_dictionary(kind) else kind
    text = types.is_string(plain) or types.is_large_string(plain)
    number = types.is_integer(plain) or types.is_floating(plain)
    if not (text or number or types.is_boolean(plain) or types.is_null(plain)):
        raise RequestError(f"{name}: the type {str(kind)[:60]} is not taken: cast it to float64, int64, bool or string")


def _values(array: Any, types: Any) -> list[Any]:
    """An array's values as JSON has them, missing ones and NaN as None."""
    kind = array.type
    if types.is_dictionary(kind):
        known = _values(array.dictionary, types)
        return [None if index is None else known[index] for index in _values(array.indices, types)]
    if types.is_null(kind):
        return [None] * len(array)
    if types.is_floating(kind):
        numbers = array.to_numpy(zero_copy_only=False)
        gaps = numbers != numbers  # noqa: PLR0124 -- NaN alone is not itself
        if not gaps.any():
            return numbers.tolist()  # type: ignore[no-any-return]
        return [None if gap else value for gap, value in zip(gaps.tolist(), numbers.tolist(), strict=True)]
    if types.is_string(kind) or types.is_large_string(kind) or not array.null_count:
        texts: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return texts
    whole: list[Any] = array.to_pylist()
    return whole


def arrow_reply(
    predictions: Sequence[Any], probabilities: Sequence[Sequence[float]] | None, classes: Sequence[Any]
) -> Framed:
    """An Arrow IPC stream of one batch: `prediction`, and `probability_<class>` for each class there is."""
    pa = require_arrow(406)
    kinds = {type(value) for value in predictions}
    if len(kinds) > 1:
        numbers = kinds <= {int, float}
        predictions = [float(value) if numbers else str(value) for value in predictions]
    columns = {"prediction": pa.array(predictions)}
    for place, label in enumerate(classes if probabilities is not None else ()):
        columns[f"probability_{label}"] = pa.array([row[place] for row in probabilities or ()], pa.float64())
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return Framed(sink.getvalue().to_pybytes(), [(b"content-type", STREAM)])
