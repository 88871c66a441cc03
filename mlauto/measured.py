"""The frozen records of monitoring: what was measured of the version that answers users.

Times are seconds since the epoch (UTC).
"""

from dataclasses import dataclass, field

from mlauto.records import Score

__all__ = ["LabelDelay", "LiveMetrics"]


@dataclass(frozen=True, kw_only=True)
class LabelDelay:
    """Seconds from a prediction to its label's arrival: median and 90 % quantile of the `labels` that came last."""

    median: float
    p90: float
    labels: int


@dataclass(frozen=True, kw_only=True)
class LiveMetrics:
    """What was measured of the live version over the last window; None where there was nothing to measure.

    `p99_low_ms` is the lower 97.5 % confidence bound of `p99_ms`: the true figure is hardly better than that.
    `waiting` counts the answered requests, of any version, that have no label yet (see `metrics.measure`).
    """

    version: str | None
    measured: float
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    labelled: int
    quality: Score | None
    drift: dict[str, float] = field(default_factory=dict)
    newest: float | None = None
    problem: str | None = None
    p99_low_ms: float | None = None
    label_delay: LabelDelay | None = None
    waiting: int = 0
