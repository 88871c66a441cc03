"""A Parquet file is counted as its rows are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.files import CHUNK, count_file
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto_tests.monitoring.drift.conftest import World, as_rows, columns
from mlauto_tests.monitoring.drift.test_counts import same


def test_a_file_is_counted_like_its_rows(drift_world: World, tmp_path: Path) -> None:
    """In several chunks and row groups, beside columns that nobody asked for."""
    given = columns(CHUNK + 5000, 4)
    path = tmp_path / "window.parquet"
    pq.write_table(pa.table({**given, "other": given["x"]}), path, row_group_size=20_000)

    assert same(count_file(drift_world.profile, path), Tally(drift_world.profile).rows(as_rows(given)))


def test_types_and_gaps(tmp_path: Path) -> None:
    """Missing values, whole numbers, truth values, texts where numbers were, and a column that is gone."""
    profile = fit_profile(
        {"x": [1.5, 2.5] * 50, "n": [1, 2] * 50, "c": ["a", "b"] * 50, "f": [True, False] * 50, "y": [1.0, 2.0] * 50}
    )
    path = tmp_path / "window.parquet"
    table = {"x": [None, 1.5, 2.5], "n": ["1", None, "2"], "c": ["a", None, "new"], "f": [True, True, None]}
    pq.write_table(pa.table(table), path)

    counts = count_file(profile, path)

    assert (counts.numbers["x"].bins.tolist(), counts.numbers["x"].nulls) == ([1, 1], 1)
    assert (counts.numbers["n"].alien, counts.numbers["n"].nulls) == (2, 1)
    assert (counts.levels["c"].levels.tolist(), counts.levels["c"].nulls) == ([1, 0], 1)
    assert dict(counts.levels["c"].names) == {"new": 1}
    assert counts.levels["f"].levels.tolist() == [2, 0]
    assert (counts.numbers["y"].nulls, counts.absent) == (3, {"y": 3})


def test_whole_numbers_and_answers(tmp_path: Path) -> None:
    """A column of answers is named by the caller."""
    profile = fit_profile({"n": [1, 2] * 50}, answers=["a", "b"] * 50)
    path = tmp_path / "window.parquet"
    pq.write_table(pa.table({"n": pa.array([1, 2, 2], pa.int32()), "said": ["b", "b", "a"]}), path)

    counts = count_file(profile, path, answers="said")

    assert counts.numbers["n"].bins.tolist() == [1, 2]
    assert counts.levels["prediction"].levels.tolist() == [1, 2]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The error names it."""
    broken = tmp_path / "broken.parquet"
    broken.write_text("no table")

    for path in (broken, tmp_path / "missing.parquet"):
        with pytest.raises(MeasurementError, match=path.name):
            count_file(fit_profile({"x": [1.0, 2.0]}), path)
