"""Probabilities that are right are left alone; others are mapped to what they mean."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mlauto.monitoring.quality.calibration import Curve, applied, calibrated

Floats = NDArray[np.float64]


def drawn(seed: int, sharper: float, rows: int = 2000) -> tuple[Floats, Floats, Floats]:
    """Probabilities that are too sure by that factor of their logits, the truth, and what is right."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.2, rows)
    right = 1 / (1 + np.exp(-logits))
    return 1 / (1 + np.exp(-sharper * logits)), (random.random(rows) < right).astype(float), right


def test_what_is_calibrated_is_left_alone() -> None:
    """In nearly all of fifty samples; the test is at the 1 % level."""
    curves = [calibrated(*drawn(seed, 1.0)[:2]) for seed in range(50)]

    assert sum(curve == Curve() for curve in curves) >= 46


@pytest.mark.parametrize("sharper", [2.5, 0.3])
def test_what_is_too_sure_or_too_shy_is_mapped(sharper: float) -> None:
    """To within some points of what is right, and never falling."""
    odds, hits, right = drawn(1, sharper)

    curve = calibrated(odds, hits)
    mapped = applied([curve, Curve()], np.column_stack([odds, 1 - odds]))

    assert list(curve.meant) == sorted(curve.meant)
    assert list(curve.given) == sorted(curve.given)
    assert len(curve.given) <= 40
    assert np.abs(mapped.sum(axis=1) - 1).max() < 1e-12
    both = applied([curve, calibrated(1 - odds, 1 - hits)], np.column_stack([odds, 1 - odds]))
    assert np.abs(both[:, 0] - right).mean() < 0.04 < np.abs(odds - right).mean()


def test_violators_are_pooled() -> None:
    """Three groups of which the last two are in the wrong order."""
    odds = np.repeat([0.01, 0.5, 0.99], 25)
    hits = np.concatenate([np.zeros(25), np.ones(25), np.zeros(25)])

    assert calibrated(odds, hits).meant == pytest.approx((0.0, 0.5, 0.5))


def test_without_maps_nothing_is_touched() -> None:
    """Not even the sum of a row."""
    odds = np.array([[0.2, 0.7], [0.5, 0.5]])

    assert applied([Curve(), Curve()], odds) is odds
