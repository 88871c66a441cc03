"""Segments by named columns: by value, or by ranges of numbers; never many."""

import math

import pytest

from mlauto.monitoring.quality.levels import MOST, Levels, levels_of, segments_of


def test_few_values_are_levels() -> None:
    """Whatever their type; a missing value is one as well."""
    assert levels_of(["b", "a", None, "b"]) == Levels(values=("a", "b", "missing"))
    assert levels_of([1, 2.0, 2, math.nan]) == Levels(values=("1", "2", "missing"))
    assert levels_of([True, False]) == Levels(values=("False", "True"))


def test_many_values_are_bounded() -> None:
    """Numbers are cut into quarters, of texts the most frequent are kept."""
    texts = [f"t{at}" for at in range(50)] + ["often"] * 3

    assert levels_of([float(at) / 2 for at in range(101)]).edges == (12.5, 25.0, 37.5)
    assert len(levels_of(texts).values) == MOST
    assert "often" in levels_of(texts).values


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"season": "winter", "temp": 5}, ["season = winter", "5 <= temp < 20"]),
        ({"season": "winter", "temp": -3.5}, ["season = winter", "temp < 5"]),
        ({"season": "monsoon", "temp": 20.0}, ["temp >= 20"]),  # not seen in training: in no segment
        ({"temp": None}, ["temp = missing"]),
        ({"temp": 10**400}, [f"temp = {10**400}"]),  # a number that no float holds is none
        ({"season": 3, "temp": "hot"}, ["temp = hot"]),
    ],
)
def test_a_row_is_in_one_segment_of_each_column(row: dict[str, object], names: list[str]) -> None:
    """By the names that people read."""
    columns = {"season": Levels(values=("summer", "winter")), "temp": Levels(edges=(5.0, 20.0))}

    assert segments_of(row, columns) == names
