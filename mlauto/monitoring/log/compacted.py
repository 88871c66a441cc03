"""Old segments of the prediction log as Parquet: what the files are called, what is in them, and how lines come out.

`predictions-XXXXXXXX-YYYYYYYY.parquet` holds the lines of the segments from X to Y, a row group for each segment, so
that finding a line costs about as much as in the segment itself. Columns are the lines' fields (`rows`, `y` and `p` as
JSON text); `text` is a line as it was, where it has other fields or does not parse, so that no line is ever lost.
"""

import contextlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from mlauto.errors import MeasurementError

if TYPE_CHECKING:
    import pyarrow

__all__ = [
    "COLUMNS",
    "JSON",
    "Writer",
    "compacted_files",
    "compacted_lines",
    "holds_lines",
    "lines_of",
    "opened",
    "segment_lines",
    "segments_of",
    "table_of",
]

NAME = re.compile(r"([a-z]+)-([0-9a-f]{8})-([0-9a-f]{8})\.parquet")
SEGMENTS_KEY = b"mlauto.segments"  # their numbers in the order of the row groups
COLUMNS = {
    "id": "string",
    "t": "float64",
    "v": "string",
    "ms": "float64",
    "rows": "string",
    "y": "string",
    "p": "string",
    "error": "string",
    "code": "int32",
    "client_id": "string",
    "retried_from": "string",
    "text": "binary",
    "k": "string",  # files of older versions do not have it
}
JSON = ("rows", "y", "p", "k")


class _Stored(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Any kind's line, field for field; the JSON ones are left as they stand."""

    id: str
    t: float
    v: str | None = None
    ms: float | None = None
    rows: msgspec.Raw = msgspec.Raw()
    y: msgspec.Raw = msgspec.Raw()
    p: msgspec.Raw = msgspec.Raw()
    error: str | None = None
    code: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | None = None
    client_id: str | None = None
    retried_from: str | None = None
    k: msgspec.Raw = msgspec.Raw()


class _Named(msgspec.Struct):
    id: str


STORED = msgspec.json.Decoder(_Stored)
NAMED = msgspec.json.Decoder(_Named)


def compacted_files(folder: Path, kind: str) -> list[tuple[int, int, Path]]:
    """First and last segment, and path, of a kind's Parquet files, oldest first. Raises `MeasurementError`."""
    try:
        found = [(NAME.fullmatch(name), name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MeasurementError(f"prediction log {folder} cannot be listed: {error}") from error
    return sorted(
        (int(match[2], 16), int(match[3], 16), folder / name) for match, name in found if match and match[1] == kind
    )


def table_of(content: bytes) -> "pyarrow.Table":
    """A segment's lines as a table, one row for each that is not empty."""
    import pyarrow

    rows = [_row(line) for line in content.split(b"\n") if line]
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [
        pyarrow.array(values, type=pyarrow.type_for_alias(kind))
        for values, kind in zip(columns, COLUMNS.values(), strict=True)
    ]
    return pyarrow.table(arrays, names=list(COLUMNS))


def _row(line: bytes) -> tuple[Any, ...]:
    try:
        found = STORED.decode(line)
        texts = (bytes(raw).decode() or None for raw in (found.rows, found.y, found.p, found.k))
        rows, y, p, k = texts
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return (_name(line), *[None] * (len(COLUMNS) - 3), line, None)
    start = (found.id, found.t, found.v, found.ms, rows, y, p)
    return (*start, found.error, found.code, found.client_id, found.retried_from, None, k)


def _name(line: bytes) -> str | None:
    """The id of a line that has other fields; None for one that does not parse at all."""
    try:
        return NAMED.decode(line).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def lines_of(table: "pyarrow.Table") -> list[bytes]:
    """The lines of which `table_of` made the rows: equal JSON values, absent where they were null."""
    lines = []
    for row in table.to_pylist():
        text = row.pop("text", None)
        if text is None:
            values = {
                name: msgspec.Raw(value.encode()) if name in JSON and value else value for name, value in row.items()
            }
            text = msgspec.json.encode({name: value for name, value in values.items() if value is not None})
        lines.append(text)
    return lines


class Writer:
    """Writes one Parquet file, a segment at a time; it is on disk when the block ends. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._segments: list[int] = []
        self._writer: Any = None

    def add(self, segment: int, content: bytes) -> int:
        """Write a segment's lines, and return how many there are."""
        return self.add_table(segment, table_of(content))

    def add_table(self, segment: int, table: "pyarrow.Table") -> int:
        """Write a segment's lines as `table_of` makes them, and return how many there are."""
        import pyarrow.parquet

        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(
                self._path,
                table.schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=["v", "error", "client_id", "retried_from"],  # the others never repeat
                write_statistics=["t", "v", "text"],  # what queries choose row groups by; the others bloat the footer
            )
        if table.num_rows:  # a row group cannot be empty
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._segments.append(segment)
        return int(table.num_rows)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._writer is None:
            return
        self._writer.add_key_value_metadata({SEGMENTS_KEY: msgspec.json.encode(self._segments)})
        self._writer.close()
        with self._path.open("rb") as stream:
            os.fsync(stream.fileno())


def segments_of(path: Path) -> list[int]:
    """The segments whose lines a file has; empty ones are not among them. Raises `MeasurementError`."""
    with opened(path) as (_, segments):
        return segments


def holds_lines(path: Path, segment: int, content: bytes) -> bool:
    """Whether the file, read back, has all of a segment's lines in their order. Raises `MeasurementError`."""
    expected = table_of(content)
    with opened(path) as (file, segments):
        if segment not in segments:
            return int(expected.num_rows) == 0
        found = file.read_row_group(segments.index(segment), use_threads=False)
        added = [name for name in expected.column_names if name not in found.column_names]
        same = found.equals(expected.select(found.column_names))
        return bool(same and all(expected[name].null_count == len(expected) for name in added))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, list[int]]]:
    """The open file and the segments of its row groups. Raises `MeasurementError`, also for what fails in the block."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file, msgspec.json.decode(file.metadata.metadata[SEGMENTS_KEY], type=list[int])
    except FileNotFoundError:
        raise
    except (OSError, KeyError, TypeError, msgspec.MsgspecError, pyarrow.ArrowException) as error:
        raise MeasurementError(f"{path} cannot be read: {error}: move it away") from error


def segment_lines(path: Path, segment: int, columns: Collection[str]) -> list[bytes]:
    """All lines of a segment with some of their fields, and whole where they have others; [] if the file has it not.

    Raises `MeasurementError` when the file cannot be read, `FileNotFoundError` when it was dropped.
    """
    with opened(path) as (file, segments):
        if segment not in segments:
            return []
        names = [name for name in (*columns, "text") if name in file.schema_arrow.names]
        return lines_of(file.read_row_group(segments.index(segment), columns=names, use_threads=False))


def compacted_lines(path: Path, segment: int, ids: Collection[str]) -> list[bytes]:
    """The lines of one segment with one of those ids; empty when the file does not have it, or was dropped.

    Only the ids are read unless there are hits. Raises `MeasurementError` when the file cannot be read.
    """
    import pyarrow
    import pyarrow.compute

    try:
        with opened(path) as (file, segments):
            if segment not in segments:
                return []
            group = segments.index(segment)
            names = file.read_row_group(group, columns=["id"], use_threads=False).column(0)
            found = pyarrow.compute.is_in(names, value_set=pyarrow.array(list(ids), type=pyarrow.string()))
            places = pyarrow.compute.indices_nonzero(found)
            return lines_of(file.read_row_group(group, use_threads=False).take(places)) if len(places) else []
    except FileNotFoundError:
        return []
