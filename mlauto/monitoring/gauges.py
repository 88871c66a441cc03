"""mlauto's own metrics of one product, as rows that the gateway shows to Prometheus. Pure: records in, rows out.

Cardinality is bounded: the strongest findings, the first segments, and names that come from records or the YAML only.
What was not measured has no row, so that no data is never read as 0.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlauto.measured import LiveMetrics
from mlauto.monitoring.gaugenames import GAUGES
from mlauto.monitoring.incidents import Incident
from mlauto.records import Action, Cause, Problem, Score, Status, Verdict
from mlauto.serving.measured import LONGEST, Row

__all__ = ["FINDINGS", "SEGMENTS", "Counts", "Queue", "gauges"]

FINDINGS = 20
SEGMENTS = 20
PLACES = 10  # where problems are, and queues


@dataclass(frozen=True, kw_only=True)
class Queue:
    """How many wait, and since when the oldest one does; None when nothing does."""

    waiting: int = 0
    oldest: float | None = None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What happened so far: models trained after the first, rollouts by how they ended, rollbacks.

    `loop_seconds`: from the failing check that opened the newest closed incident to a newer version that answered all.
    `newest_label`: when the newest label came, by file or over HTTP.
    """

    retrainings: int = 0
    rollouts: Mapping[str, int] = field(default_factory=dict)
    rollbacks: int = 0
    loop_seconds: float | None = None
    newest_label: float | None = None


def gauges(
    metrics: LiveMetrics,
    verdict: Verdict,
    incident: Incident | None,
    counts: Counts,
    *,
    queues: Mapping[str, Queue],
    problems: Sequence[Problem],
    now: float,
) -> list[Row]:
    """All rows of one product, made at `now` (seconds since the epoch); those without a finite value are left out."""
    found = [
        ("mlauto_gauges_timestamp_seconds", {}, now),
        *_verdict(verdict),
        *_measured(metrics),
        *_quality(metrics, verdict),
        *_drift(metrics),
        *_segments(metrics),
        *_incident(incident),
        *_counts(counts),
        *_queues(queues, problems, now),
    ]
    seen: set[str] = set()
    rows = []
    for name, labels, value in found:
        if value is None or not math.isfinite(value):
            continue
        short = {label: text[:LONGEST] for label, text in labels.items()}
        rows.append(Row(name=name, value=float(value), labels=short, help="" if name in seen else GAUGES[name].help))
        seen.add(name)
    return rows


Found = Iterator[tuple[str, dict[str, str], float | None]]


def _verdict(verdict: Verdict) -> Found:
    for status in Status:
        yield "mlauto_verdict", {"status": status.value}, status is verdict.status
    for action in Action:
        yield "mlauto_action", {"action": action.value}, action is verdict.action
    for check in verdict.checks[:PLACES]:
        yield "mlauto_check_passed", {"check": check.name}, check.passed


def _measured(metrics: LiveMetrics) -> Found:
    yield "mlauto_live_metrics_timestamp_seconds", {}, metrics.measured
    yield "mlauto_prediction_newest_timestamp_seconds", {}, metrics.newest
    yield "mlauto_labelled_rows", {}, metrics.labelled
    yield "mlauto_predictions_waiting_for_labels", {}, metrics.waiting
    yield "mlauto_labels_stopped", {}, bool(metrics.labels_stopped)
    yield "mlauto_labels_odd", {}, bool(metrics.labels_odd)
    yield "mlauto_inputs_broken", {}, bool(metrics.inputs_broken)
    if metrics.label_delay is not None:
        yield "mlauto_label_delay_seconds", {"quantile": "0.5"}, metrics.label_delay.median
        yield "mlauto_label_delay_seconds", {"quantile": "0.9"}, metrics.label_delay.p90


def _score(name: str, labels: dict[str, str], score: Score) -> Found:
    yield name, labels, score.value
    yield f"{name}_low", labels, score.low
    yield f"{name}_high", labels, score.high


def _quality(metrics: LiveMetrics, verdict: Verdict) -> Found:
    """Measured and estimated quality, what it is compared with, and how near the detector is to its alarm."""
    quality, estimate, detection = metrics.quality, metrics.estimate, metrics.detection
    if quality is not None:
        labels = {"metric": quality.metric}
        yield from _score("mlauto_quality", labels, quality)
        details = next((check.details for check in verdict.checks if check.name == "performance"), {})
        yield "mlauto_quality_reference", labels, _number(details.get("reference"))
        yield "mlauto_quality_limit", labels, _number(details.get("limit"))
    if estimate is not None:
        labels = {"metric": estimate.quality.metric, "method": estimate.method}
        yield from _score("mlauto_estimated_quality", labels, estimate.quality)
        yield "mlauto_estimated_quality_error", labels, estimate.error
    if detection is not None:
        # its logarithm: e-values grow beyond what a float holds
        yield "mlauto_detection_evidence", {}, _evidence(detection.e_value, detection.threshold)
        yield "mlauto_detection_alarmed", {}, detection.alarmed
    if metrics.worse is not None:
        yield "mlauto_worse_than_reference", {}, metrics.worse.alarmed


def _evidence(e_value: float, threshold: float) -> float | None:
    """log(e-value) / log(threshold), at least 0: 1 is an alarm. None where that says nothing."""
    if not (threshold > 1 and e_value >= 0):
        return None
    if e_value <= 1:
        return 0.0
    return min(math.log(e_value), 1000.0) / math.log(threshold)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _drift(metrics: LiveMetrics) -> Found:
    """Effects in the findings' own units: the label says which."""
    report = metrics.drifted
    if report is None:
        return
    yield "mlauto_drift_rows", {}, report.rows
    yield "mlauto_drift_alarms", {}, len(report.alarmed)
    for finding in report.findings[:FINDINGS]:
        labels = {"subject": finding.subject, "test": finding.test, "unit": finding.unit}
        yield "mlauto_drift_effect", labels, finding.effect
        yield "mlauto_drift_effect_low", labels, finding.low
        yield "mlauto_drift_effect_high", labels, finding.high
        yield "mlauto_drift_margin", labels, finding.margin
        yield "mlauto_drift_alarmed", labels, finding.alarmed


def _segments(metrics: LiveMetrics) -> Found:
    for one in metrics.segments[:SEGMENTS]:
        labels = {"segment": one.segment, "metric": one.quality.metric}
        yield from _score("mlauto_segment_quality", labels, one.quality)
        yield "mlauto_segment_quality_reference", labels, one.reference.value
        yield "mlauto_segment_alarmed", labels, one.detection.alarmed


def _incident(incident: Incident | None) -> Found:
    still = incident if incident is not None and incident.closed is None else None
    yield "mlauto_incident_open", {}, still is not None
    for cause in Cause:
        yield "mlauto_incident_cause", {"cause": cause.value}, still is not None and still.kind is cause
    yield "mlauto_incident_attempts", {}, still.attempts if still else 0
    yield "mlauto_incident_opened_timestamp_seconds", {}, still.opened if still else None


def _counts(counts: Counts) -> Found:
    yield "mlauto_retrainings_total", {}, counts.retrainings
    yield "mlauto_rollbacks_total", {}, counts.rollbacks
    for outcome, number in sorted(counts.rollouts.items()):
        yield "mlauto_rollouts_total", {"outcome": outcome}, number
    yield "mlauto_loop_seconds", {}, counts.loop_seconds
    yield "mlauto_label_newest_timestamp_seconds", {}, counts.newest_label


def _queues(queues: Mapping[str, Queue], problems: Sequence[Problem], now: float) -> Found:
    for name, queue in sorted(queues.items())[:PLACES]:
        age = max(0.0, now - queue.oldest) if queue.oldest is not None else 0.0
        yield "mlauto_queue_waiting", {"queue": name}, queue.waiting
        yield "mlauto_queue_oldest_seconds", {"queue": name}, age
    for problem in problems[:PLACES]:
        yield "mlauto_problem_seconds", {"where": problem.where}, max(0.0, now - problem.since)
