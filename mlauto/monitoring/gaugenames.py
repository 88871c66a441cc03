"""The names of mlauto's own metrics: what the control plane writes for the gateway to show. Light, and knows no record.

Each also has the label `product`, which the gateway adds.
"""

from mlauto.serving.metrics import Family

__all__ = ["GAUGES"]


def _gauge(told: str, *labels: str) -> Family:
    return Family("gauge", labels, told)


def _counter(told: str, *labels: str) -> Family:
    return Family("counter", labels, told)


FOUND = ("subject", "test", "unit")
GAUGES = {
    "mlauto_gauges_timestamp_seconds": _gauge("When these metrics of the control plane were made."),
    "mlauto_live_metrics_timestamp_seconds": _gauge("When the live version was measured last."),
    "mlauto_verdict": _gauge("1 for the status of the newest verdict, 0 for the others.", "status"),
    "mlauto_action": _gauge("1 for what triage asks for now, 0 for the others.", "action"),
    "mlauto_check_passed": _gauge("1 when the check passed, 0 when it failed.", "check"),
    "mlauto_prediction_newest_timestamp_seconds": _gauge("When the newest logged prediction was made."),
    "mlauto_label_newest_timestamp_seconds": _gauge("When the newest label came."),
    "mlauto_labelled_rows": _gauge("Labelled rows in the window that is judged."),
    "mlauto_predictions_waiting_for_labels": _gauge("Answered requests that have no label yet."),
    "mlauto_label_delay_seconds": _gauge("From a prediction to its label, by quantile.", "quantile"),
    "mlauto_labels_stopped": _gauge("1 when labels are missing for far longer than they take."),
    "mlauto_labels_odd": _gauge("1 when the newest labels cannot be right."),
    "mlauto_inputs_broken": _gauge("1 when the newest inputs are broken at their source."),
    "mlauto_quality": _gauge("Quality on the labelled window.", "metric"),
    "mlauto_quality_low": _gauge("Its lower 95 % bound.", "metric"),
    "mlauto_quality_high": _gauge("Its upper 95 % bound.", "metric"),
    "mlauto_quality_reference": _gauge("What the version has shown that it can do.", "metric"),
    "mlauto_quality_limit": _gauge("The worst quality that is tolerated.", "metric"),
    "mlauto_detection_evidence": _gauge("How far the proof of a loss has come: 1 is an alarm (a share of logarithms)."),
    "mlauto_detection_alarmed": _gauge("1 when a loss beyond the limit is proven."),
    "mlauto_worse_than_reference": _gauge("1 when any loss against the reference is proven; nobody acts on it."),
    "mlauto_segment_quality": _gauge("Quality of a segment of the rows.", "segment", "metric"),
    "mlauto_segment_quality_low": _gauge("Its lower 95 % bound.", "segment", "metric"),
    "mlauto_segment_quality_high": _gauge("Its upper 95 % bound.", "segment", "metric"),
    "mlauto_segment_quality_reference": _gauge("The segment's quality when trained.", "segment", "metric"),
    "mlauto_segment_alarmed": _gauge("1 when a loss in the segment is proven.", "segment", "metric"),
    "mlauto_estimated_quality": _gauge("Quality estimated without labels.", "metric", "method"),
    "mlauto_estimated_quality_low": _gauge("Its lower 95 % bound.", "metric", "method"),
    "mlauto_estimated_quality_high": _gauge("Its upper 95 % bound.", "metric", "method"),
    "mlauto_estimated_quality_error": _gauge("The estimate's standard error on known rows.", "metric", "method"),
    "mlauto_drift_rows": _gauge("Rows that were compared with the reference profile."),
    "mlauto_drift_alarms": _gauge("Findings of drift that are proven to matter."),
    "mlauto_drift_effect": _gauge("How far a column moved, in the unit of the label.", *FOUND),
    "mlauto_drift_effect_low": _gauge("The effect's lower bound.", *FOUND),
    "mlauto_drift_effect_high": _gauge("The effect's upper bound.", *FOUND),
    "mlauto_drift_margin": _gauge("An effect that does not matter yet.", *FOUND),
    "mlauto_drift_alarmed": _gauge("1 when the effect is proven to be beyond its margin.", *FOUND),
    "mlauto_incident_open": _gauge("1 while an incident is open."),
    "mlauto_incident_cause": _gauge("1 for the cause of the open incident, 0 for the others.", "cause"),
    "mlauto_incident_attempts": _gauge("Retrainings in the open incident."),
    "mlauto_incident_opened_timestamp_seconds": _gauge("When the open incident began."),
    "mlauto_retrainings_total": _counter("Models trained after the first."),
    "mlauto_rollouts_total": _counter("Rollouts that ended, by how.", "outcome"),
    "mlauto_rollbacks_total": _counter("Times that an earlier version was put back."),
    "mlauto_loop_seconds": _gauge("From the last failing check that was cured to a newer version answering all."),
    "mlauto_queue_waiting": _gauge("Commits or batches that wait for their outcome.", "queue"),
    "mlauto_queue_oldest_seconds": _gauge("How long the oldest of them has waited.", "queue"),
    "mlauto_problem_seconds": _gauge("How long there has been a problem at this place.", "where"),
}
