"""Rows of JSON values, counted."""

import numpy as np

from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto_tests.monitoring.drift.conftest import World, as_rows, columns


def test_rows(drift_world: World) -> None:
    """Every row is in one bin or level."""
    counts = Tally(drift_world.profile).rows(as_rows(columns(500, 3)))

    assert counts.rows == 500
    assert {name: int(one.bins.sum()) for name, one in counts.numbers.items()} == dict.fromkeys(
        ("x", "y", "skewed", "whole"), 500
    )
    assert counts.levels["level"].levels.sum() == 500
    assert counts.absent == {}


def test_odd_values() -> None:
    """Missing, absent, of another type, truth values, whole numbers, far away: each in its place."""
    profile = fit_profile({"x": np.random.default_rng(0).normal(size=500), "c": ["a", "b"] * 250})
    rows = [{"x": None, "c": None}, {"c": "a"}, {"x": "text"}, {"x": True, "c": 7}, {"x": 1, "c": "b"}, {"x": 1e9}]

    counts = Tally(profile).rows(rows)

    x, c = counts.numbers["x"], counts.levels["c"]
    assert (int(x.bins.sum()), x.nulls, x.alien, x.far) == (2, 2, 2, 1)
    assert (c.levels.tolist(), c.nulls, c.unseen, dict(c.names)) == ([1, 1], 3, 1, {"7": 1})
    assert counts.absent == {"x": 1, "c": 2}


def test_rare_levels_are_not_unseen() -> None:
    """They are counted as what they are."""
    profile = fit_profile({"c": ["a"] * 999 + ["seldom"]})

    counts = Tally(profile).rows([{"c": "seldom"}, {"c": "never"}, {"c": "a"}]).levels["c"]

    assert (counts.levels.tolist(), counts.rare, counts.unseen) == ([1], 1, 1)


def test_answers_are_a_column_of_their_own() -> None:
    """Also where a column has their name."""
    dice = np.random.default_rng(0)
    profile = fit_profile({"prediction": dice.normal(size=500), "x": dice.normal(size=500)}, answers=["no", "yes"] * 90)
    tally = Tally(profile)

    counts = tally.rows([{"prediction": 1.0, "x": 2.0}] * 3, ["yes", "no", "maybe"])

    assert counts.numbers["column prediction"].bins.sum() == 3
    assert counts.levels["prediction"].levels.tolist() == [1, 1]
    assert counts.levels["prediction"].unseen == 1
    assert counts.moments.count.tolist() == [[3, 3], [3, 3]]
    assert tally.rows([{"x": 1.0}]).levels["prediction"].nulls == 1


def test_missing_values_do_not_enter_correlations() -> None:
    """Pairs have the rows in which both are there; a column that nothing is given of has none."""
    dice = np.random.default_rng(0)
    tally = Tally(fit_profile({"x": dice.normal(size=500), "y": dice.normal(size=500)}))

    some = tally.rows([{"x": 1.0, "y": None}, {"x": 1.0, "y": 2.0}])
    none = tally.chunk(5, {"x": (np.zeros(5), 0)}, {}, {"y": 5})

    assert some.moments.count.tolist() == [[2, 1], [1, 1]]
    assert none.moments.count.tolist() == [[5, 0], [0, 0]]
    assert none.numbers["y"].nulls == 5
