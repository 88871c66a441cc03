"""Bins found without searching are those that searching finds."""

from typing import Any

import numpy as np
import pytest

from mlauto.monitoring.drift.fitting import fit_column
from mlauto.monitoring.drift.lookup import CELLS, Lookup
from mlauto.monitoring.drift.profile import Numbers

DICE = np.random.default_rng(3)


def fitted(values: Any) -> Numbers:
    made = fit_column(values)
    assert isinstance(made, Numbers)
    return made


@pytest.mark.parametrize(
    "values",
    [
        DICE.normal(size=5000),
        DICE.poisson(2, 5000).astype(float),
        DICE.exponential(size=5000),
        np.repeat([0.0, 1.0], 99),
    ],
    ids=["normal", "whole", "skewed", "two values"],
)
def test_the_same_bins_as_by_searching(values: Any) -> None:
    """But for values within a rounding error of a border, of which there are none here."""
    made = fitted(values)
    lookup = Lookup(made)

    _, bins = lookup.counted(lookup.positions(values))

    searched = np.bincount(np.searchsorted(made.edges, values, "right"), minlength=len(made.edges) + 1)
    assert bins.tolist() == searched.tolist() == made.counts


def test_a_column_too_skewed_for_a_grid_is_searched() -> None:
    """Its bins are still of about equal counts."""
    values = DICE.standard_cauchy(20_000) ** 3
    made = fitted(values)
    lookup = Lookup(made)

    assert made.grid is None
    assert max(made.counts) < 3 * 20_000 / 256
    assert lookup.counted(lookup.positions(values))[1].tolist() == made.counts


def test_missing_and_endless_values() -> None:
    """NaN is missing; infinity lies in the last bin, and far outside."""
    for values in (DICE.normal(size=5000), DICE.standard_cauchy(20_000) ** 3):
        lookup = Lookup(fitted(values))
        odd = np.array([np.nan, np.inf, -np.inf, 1e300, 0.0])

        missing, bins = lookup.counted(lookup.positions(odd))

        assert (missing, bins.sum(), bins[0], bins[-1]) == (1, 4, 1, 2)
        assert lookup.outside(odd) == 3


def test_outside() -> None:
    """Beyond half the range; nothing at all is outside of nothing."""
    lookup = Lookup(fitted(np.linspace(0, 10, 50)[DICE.permutation(50)]))

    assert lookup.far == (-5.0, 15.0)
    assert lookup.outside(np.array([-5.0, 15.0, 3.0, np.nan])) == 0
    assert lookup.outside(np.array([-5.1, 15.1, 3.0])) == 2
    assert lookup.outside(np.array([])) == 0
    assert lookup.outside(np.array([np.nan])) == 0


def test_scores_by_position() -> None:
    """The score of what is missing is 0, and those of values rise with them."""
    made = fitted(DICE.normal(size=5000))
    lookup = Lookup(made)

    scores = lookup.scores[lookup.positions(np.array([np.nan, -9.0, 0.0, 9.0]))]

    assert len(lookup.scores) == CELLS + 3
    assert scores.tolist() == pytest.approx([0.0, made.scores[0], 0.0, made.scores[-1]], abs=0.05)


def test_chunks_of_any_length() -> None:
    """The scratch space grows, and a shorter chunk sees nothing of a longer one."""
    lookup = Lookup(fitted(DICE.normal(size=500)))

    assert [len(lookup.positions(np.zeros(rows))) for rows in (3, 90, 2, 0)] == [3, 90, 2, 0]
    assert lookup.counted(lookup.positions(np.zeros(2)))[1].sum() == 2
