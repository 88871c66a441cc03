"""Count a Parquet file against a profile: streamed, only the columns that are needed, in memory that has a bound."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import MeasurementError
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import Counts
from mlauto.monitoring.drift.profile import PREDICTION, Profile

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["count_file"]

Floats = NDArray[np.float64]
FLOATS = {"double": "float64", "float": "float32", "halffloat": "float16"}  # Arrow's names that NumPy takes otherwise
CHUNK = 1 << 15  # rows at a time: a column of them fits the second cache


def count_file(profile: Profile, path: Path, answers: str | None = None) -> Counts:
    """Counts of a file's rows; `answers` names the column that holds the model's predictions.

    Raises `MeasurementError` naming the file when it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tally = Tally(profile)
    try:
        there = pq.read_schema(path).names
        of = {name: answers if name == PREDICTION else _column(name) for name in (*tally.lookups, *tally.levels)}
        columns = {name: column for name, column in of.items() if column is not None and column in there}
        dictionaries = [column for name, column in columns.items() if name in tally.levels]
        with pq.ParquetFile(path, pre_buffer=False, read_dictionary=dictionaries) as file:
            return _streamed(tally, file, columns)
    except (OSError, pa.ArrowException) as error:
        raise MeasurementError(f"{path} cannot be counted: {error}") from error


def _streamed(tally: Tally, file: Any, columns: Mapping[str, str]) -> Counts:
    """Counts of the columns of an open file, by subject."""
    gone = [name for name in (*tally.lookups, *tally.levels) if name not in columns and name != PREDICTION]
    total = tally.none()
    # one thread: a tick shares its machine with those who answer users
    batches = file.iter_batches(batch_size=CHUNK, columns=list(dict.fromkeys(columns.values())), use_threads=False)
    for batch in batches:
        numbers, levels = {}, {}
        for name, column in columns.items():
            values = batch.column(batch.schema.get_field_index(column))
            if name in tally.lookups:
                numbers[name] = _floats(values)
            else:
                levels[name] = _counted(values)
        total += tally.chunk(len(batch), numbers, levels, dict.fromkeys(gone, len(batch)))
    return total


def _column(name: str) -> str:
    return PREDICTION if name == f"column {PREDICTION}" else name


def _floats(values: "pa.Array") -> tuple[Floats, int]:
    """The values as floats with NaN for missing, and how many are of another type."""
    from pyarrow import types

    if not (types.is_floating(values.type) or types.is_integer(values.type)):
        return np.full(len(values), np.nan), len(values) - values.null_count
    found = _plain(values)
    gaps = _gaps(values)
    if gaps is None:
        return found.astype(np.float64, copy=False), 0
    floats = found.astype(np.float64)
    floats[gaps] = np.nan
    return floats, 0


def _plain(values: "pa.Array") -> NDArray[Any]:
    """The buffer of a column of fixed width; pyarrow's own way would import pandas, a fifth of a second."""
    name = str(values.type)
    width = np.dtype(FLOATS.get(name, name))
    return np.frombuffer(values.buffers()[1], dtype=width, count=len(values), offset=values.offset * width.itemsize)


def _gaps(values: "pa.Array") -> NDArray[np.bool_] | None:
    """Where a value is missing; None when none is."""
    bitmap = values.buffers()[0]
    if not values.null_count or bitmap is None:
        return None
    bits = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), bitorder="little", count=values.offset + len(values))
    gaps: NDArray[np.bool_] = bits[values.offset :] == 0
    return gaps


def _counted(values: "pa.Array") -> Mapping[str | None, int]:
    """Rows by level; truth values and numbers are named as Python names them."""
    from pyarrow import types

    if not types.is_dictionary(values.type):
        counted = values.value_counts()
        pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
        return {None if level is None else str(level): count for level, count in pairs}
    codes, gaps = _plain(values.indices), _gaps(values.indices)
    counts = np.bincount(codes if gaps is None else codes[~gaps], minlength=len(values.dictionary)).tolist()
    levels = map(str, values.dictionary.to_pylist())
    found: dict[str | None, int] = {level: count for level, count in zip(levels, counts, strict=True) if count}
    return found if gaps is None else {**found, None: int(gaps.sum())}
