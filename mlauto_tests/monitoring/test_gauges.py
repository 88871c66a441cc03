"""From records to rows: what there is, what there is not, and never more than a bound."""

import math
from dataclasses import replace

import pytest

from mlauto.measured import DriftReport, LiveMetrics
from mlauto.monitoring.gaugenames import GAUGES
from mlauto.monitoring.gauges import FINDINGS, SEGMENTS, Counts, gauges
from mlauto.monitoring.incidents import Incident
from mlauto.monitoring.metrics import unmeasured
from mlauto.serving.measured import MOST_ROWS, Row
from mlauto_tests.monitoring.whole import COUNTS, FINDING, INCIDENT, METRICS, NOW, SEGMENT, VERDICT, whole_rows


def values(rows: list[Row]) -> dict[tuple[str, ...], float]:
    """Name and the labels' values -> value; a double is an error."""
    found = {(row.name, *row.labels.values()): row.value for row in rows}
    assert len(found) == len(rows)
    return found


def made(metrics: LiveMetrics, incident: Incident | None = INCIDENT) -> dict[tuple[str, ...], float]:
    return values(gauges(metrics, VERDICT, incident, COUNTS, queues={}, problems=(), now=NOW))


def test_everything_that_was_measured_is_there() -> None:
    """Each figure under its name, with its labels, in its unit."""
    found = values(whole_rows())

    assert found["mlauto_gauges_timestamp_seconds",] == NOW
    assert found["mlauto_verdict", "degraded"] == 1.0
    assert [found["mlauto_verdict", status] for status in ("healthy", "unknown", "error")] == [0.0, 0.0, 0.0]
    assert (found["mlauto_action", "retrain"], found["mlauto_action", "escalate"]) == (1.0, 0.0)
    assert (found["mlauto_check_passed", "performance"], found["mlauto_check_passed", "drift"]) == (0.0, 1.0)
    assert found["mlauto_label_delay_seconds", "0.9"] == 90.5
    assert [found[f"mlauto_quality{part}", "mae"] for part in ("", "_low", "_high")] == [2.0, 1.8, 2.2]
    assert [found[f"mlauto_quality_{part}", "mae"] for part in ("reference", "limit")] == [1.5, 1.65]
    assert found["mlauto_detection_evidence",] == 0.5
    assert found["mlauto_worse_than_reference",] == 1.0
    faults = ("labels_stopped", "labels_odd", "inputs_broken")
    assert [found[f"mlauto_{fault}",] for fault in faults] == [0.0, 1.0, 0.0]
    assert (found["mlauto_incident_cause", "quality"], found["mlauto_incident_cause", "label_feed"]) == (1.0, 0.0)
    assert found["mlauto_drift_effect", "temperature", "location", "sd"] == 0.4
    assert found["mlauto_drift_alarms",] == 1.0
    assert found["mlauto_segment_quality", "season = winter", "mae"] == 2.0
    assert found["mlauto_estimated_quality_error", "mae", "dle"] == 0.1
    assert (found["mlauto_incident_open",], found["mlauto_incident_attempts",]) == (1.0, 1.0)
    assert (found["mlauto_retrainings_total",], found["mlauto_rollbacks_total",]) == (3.0, 1.0)
    assert found["mlauto_rollouts_total", "aborted"] == 1.0
    assert found["mlauto_loop_seconds",] == 27.5
    assert found["mlauto_queue_oldest_seconds", "batches"] == 40.0
    assert found["mlauto_queue_oldest_seconds", "commits"] == 0.0
    assert found["mlauto_problem_seconds", "commits"] == 100.0


def test_names_and_labels_are_the_declared_ones() -> None:
    """None is missing from the table, none is in vain, and help is said once for each."""
    rows = whole_rows()

    assert {row.name for row in rows} == set(GAUGES)
    assert all(set(row.labels) == set(GAUGES[row.name].labels) for row in rows)
    assert [row.help for row in rows if row.help] == [GAUGES[name].help for name in dict.fromkeys(r.name for r in rows)]


def test_what_was_not_measured_has_no_row() -> None:
    """No label is no delay of 0, and no quality is none."""
    found = made(unmeasured("2", "the log is on fire", now=NOW))

    missing = ("quality", "estimated", "detection", "drift", "segment", "label_delay", "prediction_newest")
    assert [name for name, *_ in found if name.startswith(tuple(f"mlauto_{word}" for word in missing))] == []
    assert found["mlauto_labelled_rows",] == 0.0


@pytest.mark.parametrize("incident", [None, replace(INCIDENT, closed=NOW)])
def test_without_an_incident_it_says_so(incident: Incident | None) -> None:
    """Its time has no row then: 0 would be 1970."""
    found = made(METRICS, incident)

    assert (found["mlauto_incident_open",], found["mlauto_incident_attempts",]) == (0.0, 0.0)
    assert ("mlauto_incident_opened_timestamp_seconds",) not in found


@pytest.mark.parametrize(
    ("e_value", "threshold", "expected"),
    [(1e4, 1e4, 1.0), (0.01, 1e4, 0.0), (math.inf, 1e4, 1000 / math.log(1e4)), (5.0, 1.0, None), (math.nan, 9, None)],
)
def test_evidence_is_a_share_of_what_an_alarm_takes(e_value: float, threshold: float, expected: float | None) -> None:
    """On the logarithms' scale; an e-value beyond all floats is still a number, and nonsense is none."""
    assert METRICS.detection is not None
    detection = replace(METRICS.detection, e_value=e_value, threshold=threshold)

    found = made(replace(METRICS, detection=detection)).get(("mlauto_detection_evidence",))

    assert found == (pytest.approx(expected) if expected is not None else None)


def test_rows_are_bounded_and_finite() -> None:
    """Hundreds of columns and segments make no more series than the gateway takes; names are cut to its length."""
    findings = tuple(replace(FINDING, subject=f"{'x' * 100}{n:03} ~ y" + "z" * 50, effect=math.nan) for n in range(300))
    report = DriftReport(rows=9, since=None, until=None, findings=(FINDING, *findings))
    metrics = replace(METRICS, drifted=report, segments=tuple(replace(SEGMENT, segment=str(n)) for n in range(300)))

    rows = gauges(metrics, VERDICT, None, Counts(), queues={}, problems=(), now=NOW)

    assert len(rows) < MOST_ROWS
    assert sum(row.name == "mlauto_drift_margin" for row in rows) == FINDINGS
    assert sum(row.name == "mlauto_drift_effect" for row in rows) == 1
    assert sum(row.name == "mlauto_segment_alarmed" for row in rows) == SEGMENTS
    assert max(len(text) for row in rows for text in row.labels.values()) == 120
