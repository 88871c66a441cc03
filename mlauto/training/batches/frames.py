"""Data files as typed frames: every column becomes one of five kinds, whichever format and file it came in.

| kind      | dtype            | what becomes it                                                        |
|-----------|------------------|------------------------------------------------------------------------|
| `integer` | `int64`          | whole numbers without gaps                                             |
| `number`  | `float64`        | other numbers, whole numbers or booleans with gaps; infinite = missing |
| `boolean` | `bool`           | true and false without gaps                                            |
| `string`  | `str`            | text, and columns that mix text with anything                          |
| `time`    | `datetime64[us]` | times, in UTC without a zone                                           |
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlauto.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "joined", "kinds_of", "read_file", "typed"]

DTYPES = {"integer": "int64", "number": "float64", "boolean": "bool", "time": "datetime64[us]"}
SUFFIXES = (".csv", ".csv.gz", ".parquet")


def read_file(path: Path, *, kinds: Mapping[str, str] | None = None, timestamp: str | None = None) -> "pd.DataFrame":
    """A CSV, gzipped CSV or Parquet file as a typed frame, rows in the file's order.

    `kinds` are the kinds that columns had earlier (see `typed`). Raises `DataError` naming the file when it cannot be
    read, holds no column, or has a column that is no column of single values.
    """
    import pandas as pd
    import pyarrow as pa

    kinds = kinds or {}
    try:
        if path.name.lower().endswith(".parquet"):
            frame = pd.read_parquet(path, engine="pyarrow")
        else:
            # Known text is read as text: a postal code 01234 must not lose its zero in the batch that has digits only.
            text: dict[str, str] = {column: "str" for column, kind in kinds.items() if kind == "string"}
            frame = pd.read_csv(path, dtype=text, low_memory=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        raise DataError(
            f"{path.name} cannot be read: {_first_line(error)}; write it again as CSV or Parquet"
        ) from error
    if frame.columns.duplicated().any():
        raise DataError(f"{path.name} names the column {frame.columns[frame.columns.duplicated()][0]!r} twice")
    try:
        return typed(frame, kinds=kinds, timestamp=timestamp)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error


def typed(
    frame: "pd.DataFrame", *, kinds: Mapping[str, str] | None = None, timestamp: str | None = None
) -> "pd.DataFrame":
    """The same rows with every column of one of the five kinds; `frame` itself is not changed.

    A column whose kind is known from before (`kinds`) is brought to that kind where no value changes by it; one that
    cannot be (text where numbers were) keeps its own kind, for the validation to name. Raises `DataError` naming a
    column that holds lists, bytes or other things that are no single values.
    """
    import pandas as pd

    columns = {}
    for name in frame.columns:
        wanted = "time" if str(name) == timestamp else (kinds or {}).get(str(name))
        columns[str(name)] = _towards(_plain(str(name), frame[name]), wanted)
    return pd.DataFrame(columns, index=frame.index, copy=False)


def kinds_of(frame: "pd.DataFrame") -> dict[str, str]:
    """Column -> kind of a typed frame; a column that is missing in every row has no kind and is left out."""
    names = {"i": "integer", "f": "number", "b": "boolean", "M": "time"}
    return {
        str(name): names.get(frame[name].dtype.kind, "string") for name in frame.columns if frame[name].notna().any()
    }


def joined(frames: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Typed frames, one below the other, as one typed frame numbered from 0; columns in order of first appearance.

    A column takes the narrowest kind that holds what it has in all of them; where a frame lacks it, it is missing.
    """
    import pandas as pd

    kinds = [kinds_of(frame) for frame in frames]
    columns = {}
    for name in dict.fromkeys(name for frame in frames for name in frame.columns):
        seen = {kind[name] for kind in kinds if name in kind}
        gaps = any(name not in frame or bool(frame[name].isna().any()) for frame in frames)
        parts = [_as_kind(frame.get(name), len(frame), _common(seen, gaps)) for frame in frames]
        columns[name] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)


def _common(kinds: set[str], gaps: bool) -> str:
    """The kind that holds values of all of `kinds`."""
    if not kinds or (kinds <= {"integer", "number", "boolean"} and (gaps or len(kinds) > 1)):
        return "number"
    return next(iter(kinds)) if len(kinds) == 1 else "string"


def _as_kind(column: "pd.Series | None", rows: int, kind: str) -> "pd.Series":
    import pandas as pd

    values = pd.Series([None] * rows, dtype="float64") if column is None else column
    if kind == "string":
        return values.map(str, na_action="ignore").astype("str")
    return values.astype(pd.api.types.pandas_dtype(DTYPES[kind]))


def _plain(name: str, column: "pd.Series") -> "pd.Series":
    """The column in the kind that its own values give it."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if column.dtype.kind == "O" and not isinstance(column.dtype, pd.StringDtype):
        column = _plain_object(name, column)
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype("str")
    if column.dtype.kind == "M":
        return column.astype("datetime64[us]")
    if column.dtype.kind == "m":
        seconds: pd.Series = column.dt.total_seconds()
        return seconds
    if column.dtype.kind not in "iufb":
        raise DataError(f"column {name!r} holds {column.dtype} values: write numbers, text or times")
    return _plain_number(column)


def _plain_object(name: str, column: "pd.Series") -> "pd.Series":
    """A column of Python objects as text, times or numbers."""
    import pandas as pd

    inferred: str = pd.api.types.infer_dtype(column, skipna=True)
    if inferred in {"date", "datetime", "datetime64"}:
        return pd.to_datetime(column, utc=True, errors="coerce").dt.tz_localize(None)
    if inferred in {"boolean", "decimal", "empty", "floating", "integer", "mixed-integer-float"}:
        return column.astype("float64")
    if inferred in {"bytes", "mixed", "complex"} and not column.dropna().map(_is_single).all():
        raise DataError(f"column {name!r} holds lists, bytes or other nested values: write one value per row")
    return column.map(str, na_action="ignore").astype("str")


def _plain_number(column: "pd.Series") -> "pd.Series":
    import numpy as np

    if column.dtype.kind == "b" and not column.isna().any():
        return column.astype("bool")
    if column.dtype.kind in "iu" and not column.isna().any() and column.max() <= np.iinfo("int64").max:
        return column.astype("int64")
    numbers = column.astype("float64")
    return numbers.where(np.isfinite(numbers))


def _towards(column: "pd.Series", kind: str | None) -> "pd.Series":
    """The column in the kind that it had earlier, if no value changes by that."""
    import pandas as pd

    if kind == "time" and column.dtype.kind != "M":
        return _parsed_times(column)
    if kind == "string" and column.dtype.kind != "O" and not isinstance(column.dtype, pd.StringDtype):
        return column.map(str, na_action="ignore").astype("str")
    if kind == "number" and column.dtype.kind in "ib":
        return column.astype("float64")
    if kind in {"integer", "boolean"} and column.dtype.kind in "fib" and not column.isna().any():
        whole = column.astype("int64")
        if (whole == column).all() and (kind == "integer" or whole.isin((0, 1)).all()):
            return whole if kind == "integer" else whole.astype("bool")
    return column


def _parsed_times(column: "pd.Series") -> "pd.Series":
    """Text as times where all of it parses; numbers (counters, epochs) stay numbers, which order rows just as well."""
    import pandas as pd

    if not isinstance(column.dtype, pd.StringDtype):
        return column
    for form in ("ISO8601", "mixed"):
        try:
            times = pd.to_datetime(column, format=form, utc=True, dayfirst=form == "mixed" and _day_first(column))
        except ValueError:
            continue
        return times.dt.tz_localize(None).astype("datetime64[us]")
    return column


def _day_first(column: "pd.Series") -> bool:
    """Whether 01.02.2024 is in February: by all rows together, and where none tells, with dots it is.

    Raises `ValueError` when some rows have the day first and others the month. pandas would decide for each row.
    """
    parts = column.str.extract(r"^\s*(?P<first>\d{1,2})(?P<mark>[./-])(?P<second>\d{1,2})(?P=mark)\d{2,4}\b").dropna()
    day_first = bool((parts["first"].astype("int64") > 12).any())
    month_first = bool((parts["second"].astype("int64") > 12).any())
    if day_first and month_first:
        raise ValueError("some rows have the day first, others the month")
    return day_first or (not month_first and bool((parts["mark"] == ".").any()))


def _is_single(value: object) -> bool:
    return not isinstance(value, (bytes, bytearray, list, tuple, dict, set, complex)) and not hasattr(
        value, "__array__"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
