"""Bounds that are exceeded as rarely as they say."""

import math

import numpy as np
import pytest

from mlauto.monitoring.drift.bounds import Budget, Sample, rate_bounds


def test_the_budget_is_spread_over_tests_and_looks() -> None:
    """A hundred tests at a hundred looks leave a ten-thousandth of it to each, half of that to each side."""
    budget = Budget(tests=100, looks=100, alpha=0.01)

    assert math.exp(-budget.exponent) == pytest.approx(0.01 / 100 / 100 / 2)
    assert math.exp(-budget.reference_exponent) == pytest.approx(0.01 / 100 / 2)


def test_the_bound_of_a_mean_holds() -> None:
    """Of skewed values too: at 2 % in both directions at most 2 % of the differences are beyond."""
    dice, sample = np.random.default_rng(1), Sample(rows=60, known=300)
    exponent = Budget(tests=1, looks=1, alpha=0.02).exponent
    window = (dice.random((20_000, 60)) < 0.05).mean(axis=1)
    reference = (dice.random((20_000, 300)) < 0.05).mean(axis=1)

    beyond = (np.abs(window - reference) > sample.mean(0.05 * 0.95, 0.95, exponent)).mean()

    assert beyond <= 0.02


def test_the_bound_of_a_length_holds() -> None:
    """Of six shares at once, measured as chi-square does."""
    dice, sample = np.random.default_rng(2), Sample(rows=500, known=2000)
    shares = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    exponent = Budget(tests=1, looks=1, alpha=0.02).exponent
    apart = dice.multinomial(500, shares, 20_000) / 500 - dice.multinomial(2000, shares, 20_000) / 2000
    lengths = np.sqrt((apart**2 / shares).sum(axis=1))

    limit = sample.norm(float((1 - shares).sum()), 1.0, float(1 / np.sqrt(shares.min())), exponent)

    assert (lengths > limit).mean() <= 0.01
    assert limit < 3 * np.median(lengths)  # a bound that nothing reaches would hold as well


@pytest.mark.parametrize("rate", [0.001, 0.05, 0.6])
def test_the_bounds_of_a_rate_hold(rate: float) -> None:
    """On either side at most as often as they say."""
    counts = np.random.default_rng(3).binomial(1000, rate, 2000)
    limits = [rate_bounds(float(count), 1000, math.log(1 / 0.01)) for count in counts]

    assert np.mean([low > rate for low, _ in limits]) <= 0.01
    assert np.mean([high < rate for _, high in limits]) <= 0.01


def test_rates_at_the_ends() -> None:
    """Nothing seen is not nothing there; no rows say nothing."""
    assert rate_bounds(0, 1000, 10.0) == (0.0, pytest.approx(0.00995, rel=0.01))
    assert rate_bounds(1000, 1000, 10.0)[1] == 1.0
    assert rate_bounds(1000, 1000, 10.0)[0] == pytest.approx(0.99005, rel=0.01)
    assert rate_bounds(0, 0, 10.0) == (0.0, 1.0)


def test_dependence_widens() -> None:
    """A window whose rows are worth a quarter, of both samples, has bounds twice as wide."""
    plain, dependent = Sample(1000, 1000), Sample(1000, 1000, 4.0, 4.0)

    assert dependent.independent == pytest.approx(plain.independent / 4)
    assert dependent.mean(1.0, 0.0, 10.0) == pytest.approx(2 * plain.mean(1.0, 0.0, 10.0))
