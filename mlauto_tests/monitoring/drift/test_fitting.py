"""Profiles of columns of every kind."""

import msgspec
import numpy as np
import pytest

from mlauto.monitoring.drift.fitting import answers_in, fit_column, fit_profile, numbers_in, text_of
from mlauto.monitoring.drift.profile import Levels, Numbers, Profile
from mlauto.records import Score

DICE = np.random.default_rng(4)


def test_a_continuous_column() -> None:
    """256 bins of about equal counts; mean, deviation and gaps as they are."""
    values = DICE.normal(5, 2, 20_000)
    values[:200] = np.nan
    made = fit_column(values)

    assert isinstance(made, Numbers)
    assert len(made.counts) == 256
    assert max(made.counts) < 2 * made.filled / 256
    assert (made.mean, made.sd) == (pytest.approx(5, abs=0.1), pytest.approx(2, abs=0.1))
    assert (made.nulls, made.filled, made.still) == (200, 19_800, True)
    assert len(made.curves) == 5


@pytest.mark.parametrize(("values", "bins"), [([7.0] * 500, 1), ([0, 1] * 200, 2), ([1.5, 1.5, 2.0, 1e9] * 30, 3)])
def test_few_distinct_values_have_a_bin_each(values: list[float], bins: int) -> None:
    """A constant has one."""
    made = fit_column(values)

    assert isinstance(made, Numbers)
    assert len(made.counts) == bins
    assert sum(made.counts) == len(values)


def test_a_column_that_is_mostly_one_value() -> None:
    """Its bin holds all of it, and none is empty."""
    made = fit_column(np.where(DICE.random(20_000) < 0.9, 0.0, DICE.normal(size=20_000)))

    assert isinstance(made, Numbers)
    assert min(made.counts) > 0
    assert max(made.counts) >= 17_500


@pytest.mark.parametrize(
    ("values", "still"),
    [
        (np.arange(1000), False),
        (1_700_000_000 + 60 * np.arange(1000) + DICE.integers(0, 60, 1000), False),
        (DICE.permutation(1000), False),
        (-np.sqrt(np.arange(1000)), False),
        (DICE.integers(0, 2**60, 1000), True),
        (np.full(1000, 3), True),
        (np.where(np.arange(1000) < 990, 0, 1), True),
        (np.repeat([2011, 2012], 500), True),
        (np.arange(50), True),
    ],
    ids=["counter", "time", "shuffled ids", "falling", "random ids", "constant", "rare", "year", "few rows"],
)
def test_columns_that_run_with_time_or_count_rows(values: np.ndarray, still: bool) -> None:
    """They would alarm for ever after training."""
    made = fit_column(values)

    assert isinstance(made, Numbers)
    assert made.still is still


def test_levels() -> None:
    """Common ones with counts, rare ones by name; truth values are levels; what came once foretells what is new."""
    made = fit_column(["a"] * 600 + ["b"] * 398 + ["once"] + ["twice"] + [None] * 20)

    assert isinstance(made, Levels)
    assert made.counts == {"a": 600, "b": 398}
    assert (made.rare, made.known, made.nulls, made.filled) == (2, ["once", "twice"], 20, 1000)
    assert made.fresh == pytest.approx(0.002)
    flags = fit_column(np.array([True, False, True]))
    assert isinstance(flags, Levels)
    assert flags.counts == {"True": 2, "False": 1}


def test_identifiers_as_text() -> None:
    """None is common, a bounded number is named, and new ones are what is expected."""
    made = fit_column([f"id{n}" for n in range(5000)])

    assert isinstance(made, Levels)
    assert (made.counts, len(made.known), made.fresh) == ({}, 1000, 1.0)


def test_a_column_without_any_value() -> None:
    """It is expected to stay so."""
    made = fit_column([None, float("nan")])

    assert made == Levels(counts={}, rare=0, known=[], fresh=1.0, nulls=2, curves=[[1.0], [1.0]])


def test_numbers_and_texts() -> None:
    """Truth values and texts are no numbers; missing is NaN, or None as a text."""
    assert numbers_in([1, 2.5, None]) is not None
    assert numbers_in([1, True]) is None
    assert numbers_in(np.array([True])) is None
    assert numbers_in(["1"]) is None
    assert (text_of(None), text_of(float("nan")), text_of(3), text_of("x")) == (None, None, "3", "x")


def test_what_is_followed_of_answers() -> None:
    """The probability of the second of two classes, else the predictions."""
    assert answers_in(["no", "yes"], [[0.9, 0.1], [0.2, 0.8]]) == [0.1, 0.8]
    assert answers_in([1.5, 2.5], None) == [1.5, 2.5]
    assert answers_in(["a"], [[0.2, 0.3, 0.5]]) == ["a"]


def test_a_profile_survives_json() -> None:
    """It is stored with the model and read back unchanged; an earlier kind of record is a profile of no rows."""
    expected = Score(metric="mae", value=1.0, low=0.9, high=1.1, rows=100)
    made = fit_profile(
        {"x": DICE.normal(size=500), "c": ["a", "b"] * 250}, answers=[1.0, 2.0] * 50, expected=expected, span=60.0
    )

    assert msgspec.json.decode(msgspec.json.encode(made), type=Profile) == made
    assert set(made.subjects()) == {"x", "c", "prediction"}
    earlier = b'{"x": {"missing": 0.0, "quantiles": [1.0], "spread": 1.0, "shares": {}}}'
    assert msgspec.json.decode(earlier, type=Profile).rows == 0
