"""Count a Parquet file against a profile: streamed, only the columns that are needed, in memory that has a bound."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlauto.errors import MeasurementError
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import Counts
from mlauto.monitoring.drift.profile import PREDICTION, Profile

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["count_file"]

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
    # pyarrow's own threads cost a quarter more processor time, and the counting does not wait for them
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


def _floats(values: "pa.Array") -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    """The values as floats with NaN for missing, and how many are of another type."""
    from pyarrow import types

    if not (types.is_floating(values.type) or types.is_integer(values.type)):
        return np.full(len(values), np.nan), len(values) - values.null_count
    found = values.to_numpy(zero_copy_only=False)
    return found if found.dtype == np.float64 else found.astype(np.float64), 0


def _counted(values: "pa.Array") -> Mapping[str | None, int]:
    """Rows by level; truth values and numbers are named as Python names them."""
    from pyarrow import types

    if types.is_dictionary(values.type):
        codes = values.indices.to_numpy(zero_copy_only=False) if not values.null_count else None
        if codes is not None:
            counts = np.bincount(codes, minlength=len(values.dictionary)).tolist()
            return {
                str(level): count for level, count in zip(values.dictionary.to_pylist(), counts, strict=True) if count
            }
        values = values.dictionary_decode()
    counted = values.value_counts()
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return {None if level is None else str(level): count for level, count in pairs}
