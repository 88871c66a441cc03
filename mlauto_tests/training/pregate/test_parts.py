"""Tables part by part: the values that a typed frame has, and doubts where there may be others."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlauto.training.batches.frames import kinds_of, read_file
from mlauto.training.pregate import parts
from mlauto.training.pregate.parts import FrameParts, ParquetParts, Parts, UnprovenError


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a part: every table here has several."""
    monkeypatch.setattr(parts, "PART_ROWS", 3)


def table() -> pa.Table:
    """One column of each type that has a kind."""
    times = pa.array([0, 1, None, 3, 4, 5, 6], pa.timestamp("us"))
    whole = pa.array([1, 2, 3, 4, 5, 6, 7], pa.int32())
    words = pa.array(["a", "b", None, "a", "", "b", "b"])
    return pa.table(
        {
            "whole": whole,
            "gappy": pa.array([1, None, 3, 4, 5, 6, 7], pa.int64()),
            "single": pa.array([0.5, float("nan"), float("inf"), None, -0.0, 1e30, 2], pa.float32()),
            "flag": pa.array([True, False] * 3 + [True]),
            "flag_gaps": pa.array([True, None] * 3 + [True]),
            "word": words,
            "large": words.cast(pa.large_string()),
            "coded": words.dictionary_encode(),
            "when": times,
            "zoned": times.cast(pa.timestamp("ns", "Europe/Berlin")),
        }
    )


def written(folder: Path, content: pa.Table, **options: Any) -> Path:
    pq.write_table(content, folder / "t.parquet", **options)
    return folder / "t.parquet"


def seen(parts: Parts, name: str) -> list[Any]:
    """The values of a column, of text as sorted; missing ones as None."""
    found: list[Any] = []
    for part in (chunk[name] for chunk in parts.parts([name])):
        if part.counts is not None:
            words = [word for word, count in zip(part.values, part.counts, strict=True) for _ in range(count)]
            found += sorted(words) + [None] * (part.rows - part.present)
        else:
            found += [None if pd.isna(value) else value for value in part.values.tolist()]
            assert part.present == part.rows - int(pd.isna(part.values).sum())
    return found


def test_a_file_and_its_typed_frame_have_the_same_parts(tmp_path: Path) -> None:
    """Kinds, values and gaps are those that training will see."""
    path = written(tmp_path, table(), row_group_size=4)
    frame = read_file(path)

    by_file, by_frame = ParquetParts(path), FrameParts(frame)

    assert by_file.kinds == by_frame.kinds == kinds_of(frame)
    assert (by_file.names, by_file.rows) == (by_frame.names, by_frame.rows) == (list(frame.columns), 7)
    for name in by_file.names:
        if by_file.kinds[name] == "string":
            assert (
                Counter(seen(by_file, name))
                == Counter(seen(by_frame, name))
                == Counter(frame[name].astype(object).where(frame[name].notna(), None))
            )
        else:
            assert seen(by_file, name) == seen(by_frame, name)


def test_only_what_is_named_is_read_a_few_rows_at_a_time(tmp_path: Path) -> None:
    """Memory follows the part, not the file."""
    parts = list(ParquetParts(written(tmp_path, table())).parts(["whole", "word"]))

    assert [{name: part.rows for name, part in chunk.items()} for chunk in parts] == [
        {"whole": rows, "word": rows} for rows in (3, 3, 1)
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**63, 1], pa.uint64()),
        pa.array([None, None]),
        pa.array([1, 2], pa.date32()),
        pa.array([1, 2], pa.decimal128(5, 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_typing_may_change_have_no_kind(tmp_path: Path, column: pa.Array) -> None:
    """They are left to the frame."""
    found = ParquetParts(written(tmp_path, pa.table({"odd": column, "even": [1, 2]})))

    assert (found.names, dict(found.kinds)) == (["odd", "even"], {"even": "integer"})


def test_gaps_that_are_not_known_leave_a_whole_number_without_a_kind(tmp_path: Path) -> None:
    """A file without statistics may have gaps, and would be typed as another kind then."""
    assert "whole" not in ParquetParts(written(tmp_path, table(), write_statistics=False)).kinds


def test_a_column_that_was_of_another_kind_before_has_none(tmp_path: Path) -> None:
    """`typed` may bring it there, or not: the frame will tell."""
    path = written(tmp_path, table())

    kinds = ParquetParts(path, kinds={"whole": "number", "word": "string"}, timestamp="single").kinds

    assert "whole" not in kinds
    assert "single" not in kinds
    assert kinds["word"] == "string"


def test_an_index_that_pandas_wrote_is_no_column(tmp_path: Path) -> None:
    """By pandas it is read back as the index."""
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], name="key")).to_parquet(path)

    assert ParquetParts(path).names == list(read_file(path).columns) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        pa.table({"a": [[1], [2]], "b": [1, 2]}),
        pa.table({"a": [{"x": 1, "y": 2}]}),
        pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]),
        pa.table({"a": [b"x"]}),
    ],
    ids=["lists", "structs", "twice", "bytes"],
)
def test_what_reading_refuses_is_not_judged(tmp_path: Path, content: pa.Table) -> None:
    """Nested columns, bytes and names that come twice are errors of reading, which has the words for it."""
    with pytest.raises(UnprovenError, match="two columns of a name, or one of no"):
        ParquetParts(written(tmp_path, content))


@pytest.mark.parametrize("claimed", [True, False])
def test_statistics_are_claims_that_reading_proves(tmp_path: Path, claimed: bool) -> None:
    """A file whose statistics are of another one (its schema and size alike) is found out."""
    honest = ParquetParts(written(tmp_path, pa.table({"a": pa.array([1, None if claimed else 2, 3, 4], pa.int64())})))
    written(tmp_path, pa.table({"a": pa.array([1, 2 if claimed else None, 3, 4], pa.int64())}))

    with pytest.raises(UnprovenError, match="the gaps of a are not what its statistics say"):
        list(honest.parts(["a"]))


def test_columns_that_no_typed_frame_has_are_of_no_kind() -> None:
    """Objects, narrow floats and nanoseconds are not judged, nor is a frame with a name twice."""
    frame = pd.DataFrame({"a": np.array([1.0], "float32"), "b": np.array([1], "M8[ns]"), "d": [1]})
    frame["c"] = pd.Series([{}], dtype=object)

    assert FrameParts(frame).kinds == {"d": "integer"}
    assert FrameParts(pd.DataFrame([[1, 2]], columns=["a", "a"])).kinds == {}


def test_an_answer_for_each_distinct_text_counts_its_rows(tmp_path: Path) -> None:
    """Two of the first three rows are there: one a, one b."""
    first = next(iter(FrameParts(read_file(written(tmp_path, table()))).parts(["word"])))["word"]

    assert (first.rows, first.present) == (3, 2)
    assert first.count(first.values == "a") == 1
    assert first.count(np.ones(len(first.values), bool)) == 2
