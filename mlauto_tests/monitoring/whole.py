"""Live metrics in which everything was measured, and the rows that they make."""

from dataclasses import replace

from mlauto.measured import Detection, DriftReport, Estimate, Finding, LabelDelay, LiveMetrics, SegmentQuality
from mlauto.monitoring.gauges import Counts, Queue, gauges
from mlauto.monitoring.incidents import Incident
from mlauto.records import Action, CheckOutcome, Problem, Score, Status, Verdict
from mlauto.serving.measured import Row

__all__ = ["COUNTS", "DETECTION", "FINDING", "INCIDENT", "METRICS", "NOW", "SEGMENT", "VERDICT", "whole_rows"]

NOW = 1_700_000_000.0
SCORE = Score(metric="mae", value=2.0, low=1.8, high=2.2, rows=300)
DETECTION = Detection(e_value=100.0, threshold=10_000.0, limit=2.5, rows=300, looks=9, since=NOW - 900)
FINDING = Finding(
    subject="temperature",
    test="location",
    effect=0.4,
    low=0.3,
    high=0.5,
    margin=0.02,
    unit="sd",
    alarmed=True,
)
SEGMENT = SegmentQuality(segment="season = winter", quality=SCORE, reference=SCORE, detection=DETECTION)
METRICS = LiveMetrics(
    version="2",
    measured=NOW - 1,
    requests=900,
    errors=0,
    p50_ms=2.0,
    p99_ms=9.0,
    labelled=300,
    quality=SCORE,
    newest=NOW - 2,
    label_delay=LabelDelay(median=60.0, p90=90.5, labels=40),
    waiting=7,
    drifted=DriftReport(rows=900, since=NOW - 300, until=NOW, findings=(FINDING,)),
    detection=DETECTION,
    segments=(SEGMENT,),
    estimate=Estimate(method="dle", quality=SCORE, error=0.1),
    worse=replace(DETECTION, e_value=20_000.0, alarmed_at=NOW - 60),
    labels_odd="all are the same",
)
VERDICT = Verdict(
    status=Status.DEGRADED,
    action=Action.RETRAIN,
    cause="mae is up",
    checks=(
        CheckOutcome(name="performance", passed=False, summary="", details={"reference": 1.5, "limit": 1.65}),
        CheckOutcome(name="drift", passed=True, summary=""),
    ),
)
INCIDENT = Incident(opened=NOW - 600, version="2", cause="mae is up", action=Action.RETRAIN, attempts=1)
COUNTS = Counts(
    retrainings=3, rollouts={"promoted": 2, "aborted": 1}, rollbacks=1, loop_seconds=27.5, newest_label=NOW - 30
)


def whole_rows(now: float = NOW) -> list[Row]:
    """A row of every name that there is."""
    queues = {"batches": Queue(waiting=2, oldest=now - 40), "commits": Queue()}
    problems = [Problem(where="commits", since=now - 100, text="no such branch")]
    return gauges(METRICS, VERDICT, INCIDENT, COUNTS, queues=queues, problems=problems, now=now)
