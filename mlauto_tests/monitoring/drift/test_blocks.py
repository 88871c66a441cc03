"""Design effects: 1 for shuffled rows, as theory says for dependent ones, without end for those that wander."""

import numpy as np
import pytest

from mlauto.monitoring.drift.blocks import curves_of, inflation

DICE = np.random.default_rng(5)


def autoregressive(rows: int, weight: float) -> np.ndarray:
    values = DICE.normal(size=rows)
    for row in range(1, rows):
        values[row] += weight * values[row - 1]
    return values


def test_independent_rows_have_none() -> None:
    """Noise is taken for none, or power would be lost for nothing."""
    curves = curves_of(DICE.normal(size=(20_000, 50)))

    assert sum(curve[-1] != 1.0 for curve in curves) <= 1
    assert len(curves[0]) == 10


def test_dependent_rows() -> None:
    """An autoregression's mean varies (1 + w) / (1 - w) times as much, in the long run, and less over short blocks."""
    curve = curves_of(autoregressive(60_000, 0.8)[:, None])[0]

    assert curve[0] == 1.0
    assert curve[1] < curve[2] < curve[-1]
    assert curve[-1] == pytest.approx(9, rel=0.35)
    assert 6 < inflation(curve, 20_000, 60_000) < 25


def test_a_column_that_wanders_never_says_much() -> None:
    """However long the window, it is worth a handful of rows."""
    curve = curves_of(np.cumsum(DICE.normal(size=20_000))[:, None])[0]

    assert 100_000 / inflation(curve, 100_000, 20_000) < 200


def test_a_cycle_counts_at_its_worst() -> None:
    """Whole days average out; a window that ends at noon does not."""
    curve = curves_of(np.sin(np.arange(20_000) * 2 * np.pi / 24)[:, None])[0]

    assert curve == sorted(curve)
    assert max(curve) == pytest.approx(5.5, rel=0.05)


def test_dense_traffic_is_as_dependent_as_its_time() -> None:
    """A thousand rows of one reference hour are worth no more than that hour."""
    curve = curves_of(autoregressive(60_000, 0.9)[:, None])[0]

    assert inflation(curve, 1000, 60_000, pace=0.001) > 10 * inflation(curve, 1000, 60_000)
    assert inflation([1.0, 1.0, 1.0], 1000, 60_000, pace=0.001) == 1.0


def test_small_and_steady_references() -> None:
    """Too few rows for blocks, or no variance at all: nothing is known, and nothing is divided by zero."""
    assert curves_of(np.ones((1000, 1)))[0][-1] == 1.0
    assert curves_of(DICE.normal(size=(50, 1))) == [[1.0]]
    assert inflation([1.0], 10_000, 50) == 1.0
    assert inflation([1.0, 3.0], 4.0, 200) <= 4.0
