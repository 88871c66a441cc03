"""What a detector says, as the records have it; and when what it has proven is over."""

from mlauto.measured import Detection
from mlauto.monitoring.quality.detector import ALPHA, Detector, e_value
from mlauto.monitoring.quality.limits import Limit
from mlauto.monitoring.scores import HIGHER, better
from mlauto.records import Score

__all__ = ["THRESHOLD", "has_recovered", "said"]

THRESHOLD = 1 / ALPHA


def has_recovered(quality: Score | None, limit: float) -> bool:
    """Whether the window's whole interval is within the limit, so that it is well beyond doubt."""
    if quality is None:
        return False
    return better(quality.metric, quality.low if quality.metric in HIGHER else quality.high, limit)


def said(detector: Detector, limit: Limit, threshold: float = THRESHOLD) -> Detection:
    """The detection at this look."""
    return Detection(
        e_value=e_value(detector),
        threshold=threshold,
        limit=limit.value,
        rows=detector.rows,
        looks=detector.looks,
        since=detector.since,
        alarmed_at=detector.alarmed_at,
    )
