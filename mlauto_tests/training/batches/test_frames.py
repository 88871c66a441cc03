"""Typed frames from files."""

import datetime
import gzip
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import DataError
from mlauto.training.batches.frames import joined, kinds_of, read_file, typed


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_gets_the_five_kinds(tmp_path: Path) -> None:
    """Whole numbers, numbers, booleans, text and times are told apart by their values."""
    path = write(tmp_path / "a.csv", "t,i,f,b,s\n2025-01-01T00:00:00,1,1.5,True,x\n2025-01-01T01:00:00,2,2.5,False,y\n")

    frame = read_file(path, timestamp="t")

    assert kinds_of(frame) == {"t": "time", "i": "integer", "f": "number", "b": "boolean", "s": "string"}
    assert frame["t"].tolist() == [pd.Timestamp("2025-01-01 00:00"), pd.Timestamp("2025-01-01 01:00")]


def test_three_formats_give_the_same_frame(tmp_path: Path) -> None:
    """CSV, gzipped CSV and Parquet with the same content are the same frame."""
    text = "a,b\n1,x\n2,\n"
    plain = read_file(write(tmp_path / "a.csv", text))
    (tmp_path / "a.CSV.GZ").write_bytes(gzip.compress(text.encode()))
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(tmp_path / "a.parquet")

    assert read_file(tmp_path / "a.CSV.GZ").equals(plain)
    assert read_file(tmp_path / "a.parquet").equals(plain)


def test_known_text_keeps_its_zeros(tmp_path: Path) -> None:
    """A column that was text before is read as text, even where this file has digits only."""
    path = write(tmp_path / "a.csv", "code,n\n01234,1\n00007,2\n")

    frame = read_file(path, kinds={"code": "string", "elsewhere": "string"})

    assert frame["code"].tolist() == ["01234", "00007"]


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("integer", [1.0, 2.0], "integer"),
        ("integer", [1.0, 2.5], "number"),
        ("integer", [1.0, None], "number"),
        ("number", [1, 2], "number"),
        ("boolean", [0, 1], "boolean"),
        ("boolean", [0, 7], "integer"),
        ("string", [1, 2], "string"),
        ("number", ["12", "n/a?"], "string"),
    ],
)
def test_columns_go_towards_their_earlier_kind(kind: str, values: list[object], expected: str) -> None:
    """A column is brought to the kind it had, unless a value would change by that."""
    assert kinds_of(typed(pd.DataFrame({"c": values}), kinds={"c": kind})) == {"c": expected}


def test_unusual_parquet_types_become_plain_ones() -> None:
    """Categories, nullable types, decimals, dates, durations, zones and small numbers end in one of the five kinds."""
    frame = pd.DataFrame(
        {
            "category": pd.Categorical(["a", "b"]),
            "nullable": pd.array([1, None], dtype="Int64"),
            "nullable_full": pd.array([1, 2], dtype="Int8"),
            "flag": pd.array([True, None], dtype="boolean"),
            "gappy": np.array([True, None], dtype=object),
            "decimal": [Decimal("1.5"), Decimal(2)],
            "date": [datetime.date(2025, 1, 1), datetime.date(2025, 1, 2)],
            "zone": pd.to_datetime(["2025-01-01T01:00+01:00", "2025-01-01T02:00+01:00"]),
            "duration": pd.to_timedelta([1, 2], unit="s"),
            "small": np.array([1, 2], dtype="float32"),
            "mixed": [1, "x"],
            "huge": np.array([1, 2**63 + 1], dtype="uint64"),
        }
    )

    plain = typed(frame)

    assert kinds_of(plain) == {
        "category": "string",
        "nullable": "number",
        "nullable_full": "integer",
        "flag": "number",
        "gappy": "number",
        "decimal": "number",
        "date": "time",
        "zone": "time",
        "duration": "number",
        "small": "number",
        "mixed": "string",
        "huge": "number",
    }
    assert plain["zone"][0] == pd.Timestamp("2025-01-01 00:00")
    assert frame["small"].dtype == "float32"


def test_infinite_numbers_are_missing() -> None:
    """No model can use an infinite number, so the null rate shows it."""
    assert typed(pd.DataFrame({"a": [1.0, np.inf, -np.inf]}))["a"].isna().tolist() == [False, True, True]


def test_times_that_do_not_parse_stay_text() -> None:
    """A timestamp column with rubbish in it keeps its text, for the validation to name."""
    assert kinds_of(typed(pd.DataFrame({"t": ["2025-01-01", "soon"]}), timestamp="t")) == {"t": "string"}


def test_numeric_timestamps_stay_numbers() -> None:
    """A counter or an epoch orders rows as it is."""
    assert kinds_of(typed(pd.DataFrame({"t": [3, 1]}), timestamp="t")) == {"t": "integer"}


def test_a_column_that_is_always_missing_has_no_kind() -> None:
    """Nothing is known of a column without a value."""
    assert kinds_of(typed(pd.DataFrame({"a": [None, None], "b": [1, 2]}))) == {"b": "integer"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("binary.csv", b"\x00\xff\xfe\x80"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 1000, mtime=0)[:40]),
        ("plain.csv.gz", b"a,b\n1,2\n"),
        ("cut.parquet", b"PAR1 and then nothing"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    """Whatever is wrong with a file, the error names it and is ours."""
    (tmp_path / name).write_bytes(content)

    with pytest.raises(DataError, match=name):
        read_file(tmp_path / name)


def test_nested_values_are_refused(tmp_path: Path) -> None:
    """A column of lists is named."""
    pd.DataFrame({"a": [[1, 2], [3]]}).to_parquet(tmp_path / "n.parquet")

    with pytest.raises(DataError, match=r"n\.parquet: column 'a' holds lists"):
        read_file(tmp_path / "n.parquet")


def test_joined_takes_the_narrowest_common_kind() -> None:
    """Kinds that differ among frames meet in one that holds all values; a column that is lacking is missing."""
    first = typed(pd.DataFrame({"n": [1], "b": [True], "s": ["x"], "t": pd.to_datetime(["2025-01-01"]), "m": [1]}))
    second = typed(pd.DataFrame({"n": [1.5], "b": [None], "s": [None], "m": ["y"], "extra": [7]}))

    both = joined([first, second])

    assert kinds_of(both) == {
        "n": "number",
        "b": "number",
        "s": "string",
        "t": "time",
        "m": "string",
        "extra": "number",
    }
    assert both["m"].tolist() == ["1", "y"]
    assert both.index.tolist() == [0, 1]
    assert both["t"].isna().tolist() == [False, True]


def test_joining_one_frame_changes_nothing() -> None:
    """A single typed frame is itself."""
    frame = typed(pd.DataFrame({"i": [1, 2], "b": [True, False], "s": ["x", None]}))

    assert joined([frame]).equals(frame)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["01.02.2024", "13.02.2024"], ["2024-02-01", "2024-02-13"]),
        (["01.02.2024 10:30", "02.02.2024"], ["2024-02-01 10:30", "2024-02-02"]),
        (["01/02/2024", "13/02/2024"], ["2024-02-01", "2024-02-13"]),
        (["01/02/2024", "01/13/2024"], ["2024-01-02", "2024-01-13"]),
        (["2024-02-01", "2024-02-13T01:00Z"], ["2024-02-01", "2024-02-13 01:00"]),
        (["1 Feb 2024", "13 Feb 2024"], ["2024-02-01", "2024-02-13"]),
    ],
)
def test_day_and_month_are_told_apart_by_the_whole_column(written: list[str], read: list[str]) -> None:
    """One row's 13 settles it for all; rows would be out of order if each were read by itself."""
    times = typed(pd.DataFrame({"t": written}), timestamp="t")["t"]

    assert times.tolist() == [pd.Timestamp(text) for text in read]


def test_a_column_that_mixes_day_first_and_month_first_is_no_time() -> None:
    """It stays text, which ingestion and `mlauto new` refuse for a timestamp."""
    frame = typed(pd.DataFrame({"t": ["13.02.2024", "02.13.2024"]}), timestamp="t")

    assert kinds_of(frame) == {"t": "string"}


def test_a_typed_frame_is_changed_without_the_one_it_came_from() -> None:
    """Columns that are typed already are shared until somebody writes."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})

    made = typed(frame)
    made.loc[0, "a"] = 9.0
    made["b"] = "z"
    frame.loc[1, "a"] = 7.0

    assert frame.to_dict("list") == {"a": [1.0, 7.0], "b": ["x", "y"]}
    assert made.to_dict("list") == {"a": [9.0, 2.0], "b": ["z", "z"]}
