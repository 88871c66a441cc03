"""Alerts on what the control plane found of a model: its verdicts, drift, labels, incidents, rollouts."""

from mlauto.export.alert import Alert

__all__ = ["MODEL"]

P = "{{ $labels.product }}"
STATUS = f"mlauto status {P}"
LATE = 3  # times as long as nine labels in ten take

MODEL = (
    Alert(
        name="Degraded",
        expr='mlauto_verdict{status="degraded"} == 1',
        lasting="1m",
        severity="warning",
        summary=f"{P}: its live version is worse than it may be, or misses its service level.",
        action=f"Nothing yet, mlauto acts by itself. {STATUS} says what it found and does.",
    ),
    Alert(
        name="VerdictUnknown",
        expr='mlauto_verdict{status="unknown"} == 1',
        lasting="15m",
        severity="warning",
        summary=f"{P}: nobody knows how good its live version is: no traffic, or too few labels.",
        action=f"{STATUS} says what is missing. Do clients still ask, and do labels come?",
    ),
    Alert(
        name="VerdictError",
        expr='mlauto_verdict{status="error"} == 1',
        lasting="5m",
        severity="critical",
        summary=f"{P}: its live version could not be measured.",
        action=f"{STATUS} shows the error.",
    ),
    Alert(
        name="QualityLossProven",
        expr="mlauto_detection_alarmed == 1",
        severity="warning",
        summary=f"{P}: a loss of quality beyond what is tolerated is proven on its labels.",
        action=f"{STATUS}: a retraining should be on its way.",
    ),
    Alert(
        name="SegmentDegraded",
        expr="mlauto_segment_alarmed == 1",
        severity="warning",
        summary=f"{P}: a loss of quality is proven where {{{{ $labels.segment }}}}.",
        action=f"Compare that segment's rows with those of the training set; {STATUS}.",
    ),
    Alert(
        name="Drift",
        expr='mlauto_check_passed{check="drift"} == 0',
        lasting="5m",
        severity="warning",
        summary=f"{P}: its inputs are not what it was trained on.",
        action="The dashboard shows which columns moved, and how far. Did their source change?",
    ),
    Alert(
        name="InputsBroken",
        expr="mlauto_inputs_broken == 1",
        severity="critical",
        summary=f"{P}: the newest inputs are broken at their source, and its answers with them.",
        action=f"{STATUS} says which columns and how. Mend their source: no new model is trained on them.",
    ),
    Alert(
        name="LabelsOdd",
        expr="mlauto_labels_odd == 1",
        lasting="5m",
        severity="warning",
        summary=f"{P}: the newest labels cannot be right, so nothing is concluded from them.",
        action=f"{STATUS} says why. Look at what sends them.",
    ),
    Alert(
        name="LabelFeedStopped",
        expr="time() - mlauto_label_newest_timestamp_seconds\n"
        f'  > on (product) {LATE} * mlauto_label_delay_seconds{{quantile="0.9"}} + 3600\n'
        "  and on (product) mlauto_predictions_waiting_for_labels > 0",
        lasting="5m",
        severity="warning",
        summary=f"{P}: no label came for {{{{ $value | humanizeDuration }}}}, far longer than they take.",
        action="Look at what sends them, and at the folder labels in the product's landing folder.",
    ),
    Alert(
        name="IncidentOpen",
        expr="mlauto_incident_open == 1",
        lasting="1h",
        severity="warning",
        summary=f"{P}: an incident has been open for an hour.",
        action=f"{STATUS} says its cause and what was tried.",
    ),
    Alert(
        name="IncidentEscalated",
        expr='mlauto_action{action="escalate"} == 1',
        severity="critical",
        summary=f"{P}: mlauto has tried what it may, and it is still bad. It needs a person.",
        action=f"{STATUS} says its cause and what was tried; mlauto rollback {P} puts an earlier version back.",
    ),
    Alert(
        name="RolledBack",
        expr="increase(mlauto_rollbacks_total[15m]) > 0",
        severity="warning",
        summary=f"{P}: an earlier version was put back.",
        action=f"mlauto live {P} and {STATUS} say which and why.",
    ),
    Alert(
        name="RolloutAborted",
        expr='increase(mlauto_rollouts_total{outcome="aborted"}[15m]) > 0',
        severity="warning",
        summary=f"{P}: a new version was given up on its way to users, who noticed nothing.",
        action=f"{STATUS} says what spoke against it.",
    ),
)
