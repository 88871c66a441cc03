"""What a detector says, and when it is over."""

from dataclasses import replace

from mlauto.monitoring.quality.detector import Detector
from mlauto.monitoring.quality.limits import Limit
from mlauto.monitoring.quality.proofs import THRESHOLD, has_recovered, said
from mlauto.records import Score


def test_recovered_is_wholly_within() -> None:
    """By the worse end of the interval, in the metric's direction."""
    score = Score(metric="mae", value=1.0, low=0.8, high=1.2, rows=50)

    assert has_recovered(score, 1.3)
    assert not has_recovered(score, 1.1)
    assert has_recovered(replace(score, metric="r2"), 0.7)
    assert not has_recovered(replace(score, metric="r2"), 0.9)
    assert not has_recovered(None, 1.0)
    assert has_recovered(replace(score, metric="auc", value=0.9, low=0.87, high=0.93), 0.86)
    assert not has_recovered(replace(score, metric="auc", value=0.9, low=0.85, high=0.93), 0.86)


def test_what_is_said_is_in_units_of_the_metric() -> None:
    """The limit is, the evidence has none."""
    detector = Detector(since=3.0, rows=7, looks=2, won=(8.0,) * 8, alarmed_at=5.0)

    found = said(detector, Limit(value=2.0, mean=4.0, bound=40.0))

    assert (found.limit, found.e_value, found.threshold) == (2.0, 8.0, THRESHOLD)
    assert (found.rows, found.looks, found.since, found.alarmed_at, found.alarmed) == (7, 2, 3.0, 5.0, True)
