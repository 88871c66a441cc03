"""What monitoring measured, as data that survives being written down."""

import dataclasses

import msgspec
import pytest

from mlauto.measured import DriftReport, Finding, LabelDelay, LiveMetrics
from mlauto.records import Score

FOUND = Finding(
    subject="a", test="location", effect=0.3, low=0.1, high=0.5, margin=0.02, unit="sd of the reference", alarmed=True
)
CALM = Finding(subject="a", test="spread", effect=0, low=-0.1, high=0.1, margin=0.05, unit="of its sd", alarmed=False)
METRICS = LiveMetrics(
    version="3",
    measured=5.0,
    requests=9,
    errors=0,
    p50_ms=1.0,
    p99_ms=None,
    labelled=4,
    quality=Score(metric="mae", value=1.0, low=0.5, high=1.5, rows=4),
    label_delay=LabelDelay(median=60.0, p90=90.5, labels=4),
    waiting=5,
    drifted=DriftReport(rows=9, since=1.0, until=4.0, findings=(FOUND, CALM), shown={"a": {"psi": 0.1}}),
)


def test_metrics_survive_being_written_down() -> None:
    """JSON and back gives an equal record."""
    assert msgspec.json.decode(msgspec.json.encode(METRICS), type=LiveMetrics) == METRICS


def test_metrics_of_an_older_version_are_read() -> None:
    """A record without the delay of labels says that nothing is known of it, and nothing waits."""
    older = msgspec.to_builtins(METRICS)
    del older["label_delay"], older["waiting"]

    found = msgspec.convert(older, type=LiveMetrics)

    assert (found.label_delay, found.waiting) == (None, 0)


def test_metrics_with_the_distances_of_an_earlier_version_are_read() -> None:
    """What has another meaning now is passed over."""
    older = msgspec.to_builtins(METRICS) | {"drift": {"a": 0.1}}
    del older["drifted"]

    assert msgspec.convert(older, type=LiveMetrics).drifted is None


def test_a_report_names_what_alarmed() -> None:
    """In the order of the findings."""
    assert METRICS.drifted is not None
    assert METRICS.drifted.alarmed == (FOUND,)


def test_metrics_cannot_be_changed() -> None:
    """They are frozen: what was measured stays what it was."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        METRICS.waiting = 0  # type: ignore[misc]
