"""Columns part by part, in the values that a typed frame has: from such a frame, or straight from a Parquet file.

Nothing is held but the part that is being looked at. Text comes as its distinct values with how often each occurs: a
question is put to each of them once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["FrameParts", "ParquetParts", "Part", "Parts", "UnprovenError"]

# Measured on 1M x 11: 2^16 rows cost a tenth more CPU, 2^20 six times the memory.
PART_ROWS = 1 << 18
KINDS = {"int64": "integer", "float64": "number", "bool": "boolean", "datetime64[us]": "time"}


class UnprovenError(Exception):
    """A file is not what its own statistics say, or holds what a typed frame might show otherwise: judge the frame."""


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of one column. Missing: NaN, NaT; text: `values` are the distinct ones, `counts` of each."""

    rows: int
    present: int
    values: "NDArray[Any]"
    counts: "NDArray[np.int64] | None" = None

    def count(self, holds: "NDArray[np.bool_]") -> int:
        """The number of rows in which it holds, from an answer for each of `values`."""
        import numpy as np

        return int(np.count_nonzero(holds) if self.counts is None else self.counts[holds].sum())


class Parts(Protocol):
    """A table that can be read part by part."""

    @property
    def kinds(self) -> Mapping[str, str]:
        """The kind (see `frames`) of each column that can be judged."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """All columns, in order."""
        ...

    @property
    def rows(self) -> int:
        """How many rows there are."""
        ...

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, Part]]:
        """The named columns, a part of the rows at a time. Raises `UnprovenError`."""
        ...


class FrameParts:
    """The parts of a frame, without a copy of it. Columns that no typed frame has are of no kind."""

    def __init__(self, frame: "pd.DataFrame") -> None:
        import pandas as pd

        self._frame = frame
        self.rows = len(frame)
        self.names: list[str] = list(frame.columns)
        self.kinds = {
            name: "string" if isinstance(dtype, pd.StringDtype) else KINDS[str(dtype)]
            for name, dtype in zip(frame.columns, frame.dtypes, strict=True)
            if isinstance(dtype, pd.StringDtype) or str(dtype) in KINDS
        }
        if len(set(self.names)) != len(self.names):
            self.kinds = {}

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, Part]]:
        """See `Parts`."""
        import pyarrow as pa

        for start in range(0, self.rows, PART_ROWS):
            found = {}
            for name in names:
                column = self._frame[name].iloc[start : start + PART_ROWS]
                text = self.kinds[name] == "string"
                found[name] = _text(pa.array(column)) if text else _plain(column.to_numpy())
            yield found


class ParquetParts:
    """The parts of a Parquet file. Columns that `frames.typed` would not simply take over are of no kind.

    `kinds` and `timestamp` are what `frames.read_file` would be given. Raises what pyarrow raises of a file that it
    cannot read.
    """

    def __init__(self, path: Path, *, kinds: Mapping[str, str] | None = None, timestamp: str | None = None) -> None:
        import pyarrow.parquet as pq

        self._path = path
        with pq.ParquetFile(path, pre_buffer=False) as file:
            schema, metadata = file.schema_arrow, file.metadata
        described = schema.pandas_metadata or {}
        index = {name for name in described.get("index_columns", ()) if isinstance(name, str)}
        wanted = {**(kinds or {}), **({timestamp: "time"} if timestamp else {})}
        self.rows = metadata.num_rows
        self.names = [name for name in schema.names if name not in index]
        self.kinds: dict[str, str] = {}
        flat = len(set(schema.names)) == len(schema.names) == metadata.num_columns
        for number, name in enumerate(schema.names if flat else ()):
            kind = _kind(schema.field(number).type, _gaps(metadata, number))
            if name not in index and kind is not None and wanted.get(name, kind) == kind:
                self.kinds[name] = kind

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, Part]]:
        """See `Parts`."""
        import pyarrow.parquet as pq

        text = [name for name in names if self.kinds[name] == "string"]
        with pq.ParquetFile(self._path, pre_buffer=False, read_dictionary=text) as file:
            for batch in file.iter_batches(PART_ROWS, columns=list(names), use_threads=False):
                yield {name: self._part(name, batch.column(name)) for name in names}

    def _part(self, name: str, column: "pa.Array[Any]") -> Part:
        import numpy as np
        import pyarrow as pa

        kind = self.kinds[name]
        if kind == "string":
            return _text(column)
        if kind in {"integer", "boolean"} and column.null_count:
            raise UnprovenError(f"{self._path.name}: {name} has gaps, which its statistics do not know")
        if kind == "number":
            values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            return _plain(np.where(np.isfinite(values), values, np.nan) if np.isinf(values).any() else values)
        if kind == "time":
            return _plain(column.to_numpy(zero_copy_only=False).astype("datetime64[us]"))
        return _plain(column.to_numpy(zero_copy_only=False).astype("int64" if kind == "integer" else "bool"))


def _plain(values: "NDArray[Any]") -> Part:
    import numpy as np

    missing = np.count_nonzero(np.isnat(values) if values.dtype.kind == "M" else np.isnan(values))
    return Part(rows=len(values), present=len(values) - int(missing), values=values)


def _text(column: "pa.Array[Any] | pa.ChunkedArray[Any]") -> Part:
    import numpy as np
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False).astype(object)
    codes = encoded.indices.drop_null().to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(distinct))
    seen = counts > 0
    return Part(rows=len(column), present=len(codes), values=distinct[seen], counts=counts[seen])


def _kind(kind: "pa.DataType", gaps: bool | None) -> str | None:
    """The kind that a typed frame gives it; None where values might change, or gaps are not known and matter."""
    import pyarrow.types as t

    if t.is_dictionary(kind):
        return "string" if t.is_string(kind.value_type) or t.is_large_string(kind.value_type) else None
    if t.is_string(kind) or t.is_large_string(kind):
        return "string"
    if t.is_float32(kind) or t.is_float64(kind):
        return "number"
    if t.is_timestamp(kind):
        return "time"
    if gaps is False and t.is_integer(kind) and not t.is_uint64(kind):
        return "integer"
    return "boolean" if gaps is False and t.is_boolean(kind) else None


def _gaps(metadata: Any, column: int) -> bool | None:
    """Whether a column has missing values by the file's own statistics; None where they do not say."""
    chunks = [metadata.row_group(group).column(column) for group in range(metadata.num_row_groups)]
    known = [chunk.statistics for chunk in chunks]
    if any(found is None or not found.has_null_count for found in known):
        return None
    return any(found.null_count > 0 for found in known)
