"""The dashboard of how good the models are, and what is done about it."""

from mlauto.export.panels import Query
from mlauto.export.shown import Board, Shown, of, rate

__all__ = ["MODELS"]

VERDICTS = (
    Shown(
        title="Verdict now",
        unit="none",
        told="Healthy, degraded, unknown (no data), error (could not be measured).",
        queries=(Query(f"{of('mlauto_verdict')} == 1", "{{product}} {{status}}"),),
        kind="stat",
        width=8,
    ),
    Shown(
        title="From failing check to better model, last time",
        unit="s",
        told="From the first failing check until a newer version answered all users.",
        queries=(Query(of("mlauto_loop_seconds")),),
        kind="stat",
        width=8,
    ),
    Shown(
        title="Not looked at for",
        unit="s",
        told="Grows when Dagster is down; users are answered all the same.",
        queries=(Query(f"time() - {of('mlauto_gauges_timestamp_seconds')}"),),
        kind="stat",
        width=8,
    ),
    Shown(
        title="Verdicts over time",
        unit="short",
        told="1 while a verdict holds.",
        queries=(Query(of("mlauto_verdict"), "{{product}} {{status}}"),),
    ),
    Shown(
        title="Checks: 1 passed, 0 failed",
        unit="short",
        told="Drift only warns.",
        queries=(Query(of("mlauto_check_passed"), "{{product}} {{check}}"),),
    ),
)
QUALITY = (
    Shown(
        title="Quality on labels, with its 95 % bounds, reference and limit",
        unit="short",
        told="Degraded when the whole interval is beyond the limit.",
        queries=(
            Query(of("mlauto_quality"), "{{product}} {{metric}}"),
            Query(of("mlauto_quality_low"), "{{product}} low"),
            Query(of("mlauto_quality_high"), "{{product}} high"),
            Query(of("mlauto_quality_reference"), "{{product}} reference"),
            Query(of("mlauto_quality_limit"), "{{product}} limit"),
        ),
    ),
    Shown(
        title="Quality estimated without labels",
        unit="short",
        told="An estimate with its bounds, never a verdict.",
        queries=(
            Query(of("mlauto_estimated_quality"), "{{product}} {{metric}} by {{method}}"),
            Query(of("mlauto_estimated_quality_low"), "{{product}} low"),
            Query(of("mlauto_estimated_quality_high"), "{{product}} high"),
        ),
    ),
    Shown(
        title="Proof of a loss: 1 is an alarm",
        unit="short",
        told="How far the evidence has come, on a scale of logarithms; whether it is worse than its reference at all.",
        queries=(
            Query(of("mlauto_detection_evidence")),
            Query(of("mlauto_worse_than_reference"), "{{product}} worse than its reference"),
        ),
    ),
    Shown(
        title="Quality by segment",
        unit="short",
        told="Segments in which a loss is proven are alarmed one by one.",
        queries=(Query(of("mlauto_segment_quality"), "{{product}} {{segment}}"),),
    ),
    Shown(
        title="Labels: how late, and how many are missing",
        unit="short",
        told="Seconds for half and for nine in ten; predictions without a label.",
        queries=(
            Query(of("mlauto_label_delay_seconds"), "{{product}} delay p{{quantile}}"),
            Query(of("mlauto_predictions_waiting_for_labels"), "{{product}} waiting"),
            Query(of("mlauto_labelled_rows"), "{{product}} in the window"),
            Query(of("mlauto_labels_stopped"), "{{product}} stopped"),
            Query(of("mlauto_labels_odd"), "{{product}} odd"),
        ),
    ),
    Shown(
        title="Labels over HTTP per second",
        unit="short",
        told="Files of labels are not in it.",
        queries=(Query(rate("mlauto_labels_total")),),
    ),
)
DRIFT = (
    Shown(
        title="Drift: strongest effects",
        unit="short",
        told="In the unit of the label; what matters is said by the margin, not by a p-value.",
        queries=(Query(of("mlauto_drift_effect"), "{{product}} {{subject}} {{test}} ({{unit}})"),),
    ),
    Shown(
        title="Drift: findings proven to matter",
        unit="short",
        told="It warns; by itself it never retrains.",
        queries=(
            Query(of("mlauto_drift_alarms")),
            Query(of("mlauto_inputs_broken"), "{{product}} broken at their source"),
        ),
    ),
)
LOOP = (
    Shown(
        title="Retrainings, rollouts and rollbacks so far",
        unit="short",
        told="Counted since the product began.",
        queries=(
            Query(of("mlauto_retrainings_total"), "{{product}} retrained"),
            Query(of("mlauto_rollouts_total"), "{{product}} {{outcome}}"),
            Query(of("mlauto_rollbacks_total"), "{{product}} put back"),
        ),
    ),
    Shown(
        title="Incident: its cause",
        unit="short",
        told="What triage found: a fault of serving, of upstream data or of the labels is not cured by a new model.",
        queries=(Query(f"{of('mlauto_incident_cause')} == 1", "{{product}} {{cause}}"),),
    ),
    Shown(
        title="Incident: retrainings so far",
        unit="short",
        told="0 where none is open; see the marks for when one is.",
        queries=(Query(of("mlauto_incident_attempts")), Query(of("mlauto_incident_open"), "{{product}} open")),
    ),
    Shown(
        title="Oldest that waits: commits and batches",
        unit="s",
        told="An hour is an alert.",
        queries=(Query(of("mlauto_queue_oldest_seconds"), "{{product}} {{queue}}"),),
    ),
    Shown(
        title="Problems, and for how long",
        unit="s",
        told="`mlauto status` shows the error in words.",
        queries=(Query(of("mlauto_problem_seconds"), "{{product}} {{where}}"),),
    ),
)
MODELS = Board(
    uid="mlauto-models",
    title="mlauto: how good the models are",
    rows={"Verdict": VERDICTS, "Quality": QUALITY, "Drift": DRIFT, "Loop": LOOP},
)
