"""Limits in the metric's own direction, and losses on a scale from 0 to 1."""

import numpy as np
import pytest

from mlauto.monitoring.quality.limits import limit_of, spread_of
from mlauto.records import Score


def reference(metric: str, value: float, low: float, high: float) -> Score:
    return Score(metric=metric, value=value, low=low, high=high, rows=500)


@pytest.mark.parametrize(
    ("metric", "tolerance", "value", "mean", "bound"),
    [
        ("error_rate", 0.02, 0.32, 0.32, 1.0),
        ("mae", 0.10, 0.33, 0.33, 1.65),
        ("log_loss", 0.10, 0.33, 0.33, 2.64),
        ("rmse", 0.10, 0.33, 0.33**2, 1.089),
    ],
)
def test_the_limit_is_beyond_the_worse_end_of_the_reference(
    metric: str, tolerance: float, value: float, mean: float, bound: float
) -> None:
    """Absolute for rates, else relative; a root is tested by its square."""
    limit = limit_of(reference(metric, 0.2, 0.1, 0.3), tolerance)

    assert limit is not None
    assert (limit.value, limit.mean, limit.bound) == pytest.approx((value, mean, bound))
    assert limit.scaled == pytest.approx(mean / bound)


def test_clipping_never_makes_a_loss_larger() -> None:
    """So that it can hide one and never make one up."""
    limit = limit_of(reference("mae", 1.0, 0.9, 1.0), 0.0)
    losses = np.array([0.0, 1.0, 4.9, 5.0, 1e300, np.inf])

    assert limit is not None
    scaled = limit.scale(losses)
    assert scaled.tolist() == pytest.approx([0.0, 0.2, 0.98, 1.0, 1.0, 1.0])
    assert (scaled * limit.bound <= losses).all()


def test_r2_is_tested_by_the_squared_errors_that_it_allows() -> None:
    """Where the truth varies as in the reference: 1 - (0.8 - 0.05) of a variance of 4."""
    limit = limit_of(reference("r2", 0.9, 0.8, 0.95), 0.05, spread=4.0)

    assert limit is not None
    assert (limit.value, limit.mean) == pytest.approx((0.75, 1.0))
    assert limit_of(reference("r2", 0.9, 0.8, 0.95), 0.05) is None


def test_an_auc_is_tested_by_the_share_of_wrong_pairs() -> None:
    """Tolerance counts downwards from the lower end; a reference without any error still has a limit."""
    limit = limit_of(reference("auc", 0.9, 0.88, 0.92), 0.02)
    perfect = limit_of(reference("auc", 1.0, 1.0, 1.0), 0.0)

    assert limit is not None
    assert perfect is not None
    assert (limit.value, limit.mean, limit.bound) == pytest.approx((0.86, 0.14, 1.0))
    assert limit.scale(np.array([0.0, 0.5, 1.0])).tolist() == [0.0, 0.5, 1.0]
    assert 0 < perfect.mean < 1e-9


def test_the_spread_is_that_of_the_scores() -> None:
    """A mean squared error of 1 that is a quarter of the variance."""
    scores = (reference("rmse", 1.0, 0.9, 1.1), reference("r2", 0.75, 0.7, 0.8))

    assert spread_of(scores) == pytest.approx(4.0)
    assert spread_of(scores[:1]) is None
    assert spread_of((scores[0], reference("r2", 1.0, 1.0, 1.0))) is None


def test_nothing_is_relative_to_zero() -> None:
    """A reference without any error still has a limit, which the first errors are beyond."""
    limit = limit_of(reference("mae", 0.0, 0.0, 0.0), 0.1)

    assert limit is not None
    assert limit.scale(np.array([0.0, 0.1])).tolist() == [0.0, 1.0]
    assert limit.scaled == pytest.approx(0.2)
