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

# Measured on 1M x 11: 0.13 CPU s and 99 MB; parts half as large 0.16 and 89, twice as large 0.31 and 137.
PART_ROWS = 1 << 17
# Without it a column of a row group is read in one piece: 48 MB more.
BUFFER_BYTES = 1 << 20
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
        if len(set(schema.names)) != len(schema.names) or any(map(_refused, schema.types)):
            raise UnprovenError(f"{path.name} has two columns of a name, or one of no single values")
        index = {name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)}
        wanted = {**(kinds or {}), **({timestamp: "time"} if timestamp else {})}
        self.rows = metadata.num_rows
        self.names = [name for name in schema.names if name not in index]
        self.kinds: dict[str, str] = {}
        self._claims: dict[str, bool] = {}
        for number, name in enumerate(schema.names):
            gaps = _gaps(metadata, number)
            kind = _kind(schema.field(number).type, gaps)
            if kind is not None and name not in index and wanted.get(name, kind) == kind:
                self.kinds[name] = kind
                if gaps is not None and _whole(schema.field(number).type):
                    self._claims[name] = gaps

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, Part]]:
        """See `Parts`."""
        import pyarrow.parquet as pq

        text = [name for name in names if self.kinds[name] == "string"]
        gaps = dict.fromkeys(self._claims.keys() & set(names), False)
        with pq.ParquetFile(self._path, pre_buffer=False, read_dictionary=text, buffer_size=BUFFER_BYTES) as file:
            for batch in file.iter_batches(PART_ROWS, columns=list(names), use_threads=False):
                for name in gaps:
                    gaps[name] = gaps[name] or batch.column(name).null_count > 0
                self._agree(gaps, so_far=True)
                yield {name: _part(batch.column(name), self.kinds[name]) for name in names}
        self._agree(gaps, so_far=False)

    def _agree(self, gaps: Mapping[str, bool], *, so_far: bool) -> None:
        """Whether a whole number stays one in a typed frame hangs on gaps, which statistics have only claimed."""
        for name, found in gaps.items():
            if found != self._claims[name] and (found or not so_far):
                raise UnprovenError(f"{self._path.name}: the gaps of {name} are not what its statistics say")


def _part(column: "pa.Array[Any]", kind: str) -> Part:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if kind == "string":
        return _text(column)
    if kind == "number":
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return _plain(np.where(np.isinf(values), np.nan, values) if np.isinf(values).any() else values)
    values = column.to_numpy(zero_copy_only=False)
    if kind == "time":
        return _plain(pd.Series(values).astype("datetime64[us]").to_numpy())
    return _plain(values.astype("int64" if kind == "integer" else "bool", copy=False))


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
    if gaps is None or not _whole(kind):
        return None
    return "number" if gaps else "boolean" if t.is_boolean(kind) else "integer"


def _refused(kind: "pa.DataType") -> bool:
    """Whether `frames.read_file` might refuse it."""
    import pyarrow.types as t

    return any(refused(kind) for refused in (t.is_nested, t.is_binary, t.is_large_binary, t.is_fixed_size_binary))


def _whole(kind: "pa.DataType") -> bool:
    import pyarrow.types as t

    return t.is_boolean(kind) or (t.is_integer(kind) and not t.is_uint64(kind))


def _gaps(metadata: Any, column: int) -> bool | None:
    """Whether a column has missing values by the file's own statistics; None where they do not say."""
    chunks = [metadata.row_group(group).column(column) for group in range(metadata.num_row_groups)]
    known = [chunk.statistics for chunk in chunks]
    if any(found is None or not found.has_null_count for found in known):
        return None
    return any(found.null_count > 0 for found in known)
