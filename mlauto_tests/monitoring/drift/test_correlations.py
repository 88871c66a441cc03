"""Correlations of normal scores from sums that add up."""

import numpy as np
import pytest

from mlauto.monitoring.drift.correlations import COLUMNS, Moments, pair_indices
from mlauto.monitoring.drift.fitting import fit_profile

DICE = np.random.default_rng(6)


def test_the_correlations_of_scores() -> None:
    """As numpy has them, whether summed at once or in parts."""
    scores = DICE.normal(size=(3, 4000)).astype(np.float32)
    scores[1] += scores[0]
    whole = Moments.of(scores, None)
    parts = Moments.of(scores[:, :1000], None) + Moments.of(scores[:, 1000:], None)

    wanted = np.corrcoef(scores)[pair_indices(3)]

    assert whole.correlations()[0] == pytest.approx(wanted, abs=1e-4)
    assert parts.correlations()[0] == pytest.approx(wanted, abs=1e-4)
    assert whole.correlations()[1].tolist() == [4000] * 3


def test_missing_values_are_left_out_by_pairs() -> None:
    """A third of one column missing changes the rows of its pairs, and no correlation."""
    scores = DICE.normal(size=(3, 60_000)).astype(np.float32)
    scores[1] += scores[0]
    present = np.ones(scores.shape, dtype=bool)
    present[1] = DICE.random(60_000) < 0.67

    found, rows = Moments.of(scores * present, present).correlations()

    there = present[1]
    assert found[0] == pytest.approx(np.corrcoef(scores[0, there], scores[1, there])[0, 1], abs=1e-3)
    assert rows.tolist() == [there.sum(), 60_000, there.sum()]


def test_a_column_that_does_not_vary() -> None:
    """It is correlated with nothing; neither are no rows at all."""
    scores = np.vstack([np.ones(100), DICE.normal(size=100)]).astype(np.float32)

    assert Moments.of(scores, None).correlations()[0].tolist() == [0.0]
    assert Moments.none(2).correlations()[0].tolist() == [0.0]


def test_the_references_own_pairs() -> None:
    """Values, and the variance that a correlation of normal variables has: (1 - r squared) squared."""
    x = DICE.normal(size=50_000)
    profile = fit_profile({"x": x, "y": x + DICE.normal(size=50_000), "id": np.arange(50_000), "c": ["a"] * 50_000})

    assert profile.pairs.columns == ["x", "y"]
    assert profile.pairs.values == [pytest.approx(0.707, abs=0.01)]
    assert profile.pairs.variances == [pytest.approx(0.25, abs=0.03)]
    assert profile.pairs.curves[0][-1] == 1.0


def test_pairs_are_bounded() -> None:
    """Of forty columns the first 32 are paired."""
    profile = fit_profile({f"x{n}": DICE.normal(size=300) for n in range(40)})

    assert len(profile.pairs.columns) == COLUMNS
    assert len(profile.pairs.values) == COLUMNS * (COLUMNS - 1) / 2 == len(profile.pairs.curves)
