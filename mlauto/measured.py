"""The frozen records of monitoring: what was measured of the version that answers users.

Times are seconds since the epoch (UTC).
"""

from dataclasses import dataclass, field

from mlauto.records import Score

__all__ = ["Detection", "DriftReport", "Estimate", "Finding", "LabelDelay", "LiveMetrics", "SegmentQuality"]


@dataclass(frozen=True, kw_only=True)
class LabelDelay:
    """Seconds from a prediction to its label's arrival: median and 90 % quantile of the `labels` that came last."""

    median: float
    p90: float
    labels: int


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One test of drift: what moved, by how much in a unit that people know, and whether that is proven to matter.

    `subject` is a column, two columns of a pair joined by " ~ ", or "prediction"; `test` says in which way it moved
    (location, spread, shape, range, categories, unseen, type, nulls, correlation), `unit` of what `effect` is a part,
    and `detail` what else is known: levels, shares.
    `low` and `high` are the confidence bounds of `effect` at the level of one look; it is `alarmed` when all between
    them is farther from 0 than `margin`.
    """

    subject: str
    test: str
    effect: float
    low: float
    high: float
    margin: float
    unit: str
    alarmed: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """Every test over the `rows` of a window against the version's reference profile, the strongest finding first.

    `shown`: column -> {psi, ks, wasserstein, js}, for people who expect them; nothing alarms on those.
    """

    rows: int
    since: float | None
    until: float | None
    findings: tuple[Finding, ...]
    shown: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def alarmed(self) -> tuple[Finding, ...]:
        """The findings that are proven to matter."""
        return tuple(finding for finding in self.findings if finding.alarmed)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A sequential detector over `rows` labelled rows, looked at `looks` times since it began at `since`.

    It alarms when `e_value` reaches `threshold`; `limit` is the expected loss that is still allowed.
    """

    e_value: float
    threshold: float
    limit: float
    rows: int
    looks: int
    since: float
    alarmed_at: float | None = None

    @property
    def alarmed(self) -> bool:
        """Whether a loss beyond the limit is proven."""
        return self.alarmed_at is not None


@dataclass(frozen=True, kw_only=True)
class SegmentQuality:
    """The quality of one segment of the rows, such as "season = winter", and its own detector's state."""

    segment: str
    quality: Score
    reference: Score
    detection: Detection


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Quality estimated without labels by `method`; `error` is the estimate's own standard error on known rows."""

    method: str
    quality: Score
    error: float


@dataclass(frozen=True, kw_only=True)
class LiveMetrics:
    """What was measured of the live version over the last window; None where there was nothing to measure.

    `p99_low_ms` is the lower 97.5 % confidence bound of `p99_ms`: the true figure is hardly better than that.
    `service` says where the requests, errors and latencies come from: prometheus, gateway (its own `/metrics`) or log;
    where that source could not be had, `service_problem` says why and they are nothing. `saturation` is the largest
    share of the gateway's limit of requests in flight that was seen.
    `waiting` counts the answered requests, of any version, that have no label yet (see `metrics.measure`).
    `newest_label` is when the newest label arrived.
    `labels_stopped` and `labels_odd` say why the feed of labels seems broken: none come, or they cannot be right.
    `inputs_broken` says in what way the newest rows are broken at their source, "" for none.
    `detection` tests a loss beyond the tolerance, `worse` any loss against the reference, which is never acted upon.
    """

    version: str | None
    measured: float
    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    labelled: int
    quality: Score | None
    newest: float | None = None
    problem: str | None = None
    p99_low_ms: float | None = None
    label_delay: LabelDelay | None = None
    waiting: int = 0
    drifted: DriftReport | None = None
    detection: Detection | None = None
    worse: Detection | None = None
    segments: tuple[SegmentQuality, ...] = ()
    estimate: Estimate | None = None
    service: str = "log"
    service_problem: str | None = None
    saturation: float | None = None
    newest_label: float | None = None
    labels_stopped: str | None = None
    labels_odd: str | None = None
    inputs_broken: str = ""
