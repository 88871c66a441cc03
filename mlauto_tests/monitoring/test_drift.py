"""Distances between the inputs of training and those of live traffic."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.monitoring.drift import Profile, distances, profile

DICE = np.random.default_rng(2)


def rows(**columns: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def test_the_same_distribution_is_near() -> None:
    """Samples of one distribution differ by noise only, for numbers and for text."""
    found = distances(
        profile({"x": DICE.normal(5, 2, 5000).tolist(), "c": DICE.choice(list("abc"), 5000).tolist()}),
        rows(x=DICE.normal(5, 2, 500).tolist(), c=DICE.choice(list("abc"), 500).tolist()),
    )

    assert max(found.values()) < 0.15


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_shift_is_measured_in_spreads(shift: float) -> None:
    """A mean that moves by one interquartile range is a distance of one."""
    reference = DICE.normal(0, 1, 20_000)
    spread = float(np.quantile(reference, 0.75) - np.quantile(reference, 0.25))

    found = distances(profile({"x": reference.tolist()}), rows(x=(reference[:2000] + shift * spread).tolist()))

    assert found["x"] == pytest.approx(shift, rel=0.1)


def test_text_counts_the_rows_that_would_have_to_change() -> None:
    """Half the rows in a category that did not exist is a distance of a half."""
    found = distances(profile({"c": ["a", "b"] * 500}), rows(c=["a", "b", "new", "new"] * 50))

    assert found["c"] == pytest.approx(0.5)


def test_rare_categories_count_as_one() -> None:
    """Ten thousand identifiers fit into a small profile, and the same mixture of them is near."""
    names = [f"id{n}" for n in range(10_000)]
    made = profile({"c": ["common"] * 10_000 + names})

    found = distances(made, rows(c=["common"] * 200 + [f"other{n}" for n in range(200)]))

    assert len(made["c"].shares) == 50
    assert found["c"] < 0.02


def test_missing_values_are_a_distance() -> None:
    """A column that ceases to be filled has moved, and one that was always empty has no profile."""
    made = profile({"x": [1.0, 2.0, 3.0] * 100, "empty": [None, float("nan")]})

    assert list(made) == ["x"]
    assert distances(made, rows(x=[None] * 150)) == {"x": 1.0}
    assert distances(made, rows(y=[1] * 150)) == {"x": 1.0}
    assert distances(made, rows(x=[1.0, 2.0, 3.0, None, None, None] * 30))["x"] == pytest.approx(0.5)


def test_numbers_that_become_text_have_moved() -> None:
    """A change of kind is the largest drift there is, not an error."""
    assert distances(profile({"x": [1, 2, 3]}), rows(x=["one"] * 200)) == {"x": 1.0}


def test_a_constant_column() -> None:
    """It has no spread to measure by, and still does not divide by zero."""
    made = profile({"x": [7.0] * 300})

    assert distances(made, rows(x=[7.0] * 200)) == {"x": 0.0}
    assert distances(made, rows(x=[9.0] * 200)) == {"x": pytest.approx(2.0)}


def test_few_rows_say_nothing() -> None:
    """Below a hundred rows there is no distance at all."""
    assert distances(profile({"x": [1, 2, 3]}), rows(x=[1] * 99)) == {}
    assert distances({}, rows(x=[1] * 200)) == {}


def test_profiles_survive_json() -> None:
    """They are stored with the model and read back unchanged."""
    made = profile({"x": [1.5, 2.5, None], "c": ["a", "b", "a"], "flag": [True, False, True]})

    assert msgspec.json.decode(msgspec.json.encode(made), type=dict[str, Profile]) == made
