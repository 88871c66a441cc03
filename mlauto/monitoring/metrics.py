"""What the live version did lately: requests, errors, latency from the log's tail, quality from the joined labels."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlauto.measured import Estimate, LabelDelay, LiveMetrics
from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.drift.live import live_drift
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.feed import odd_labels, stopped
from mlauto.monitoring.labels.joining import JoinState, join_labels
from mlauto.monitoring.log.reading import LogReader, Prediction
from mlauto.monitoring.newest import NEWEST_ROWS, broken_rows
from mlauto.monitoring.quality.estimated import Answered, estimate
from mlauto.monitoring.quality.references import Known
from mlauto.monitoring.scores import score, usable
from mlauto.monitoring.service import FEWEST_REQUESTS, LONGEST, p99_rank
from mlauto.records import Score

__all__ = ["DRIFT", "TAIL_BYTES", "least_p99", "measure", "quantile", "unmeasured"]

TAIL_BYTES = 1 << 20
NEWEST_REQUESTS = 5000
DRIFT = "drift.msgpack"  # the window's counts
ESTIMATED_ROWS = 1000


def measure(
    folder: Path,
    state: Path,
    *,
    version: str | None,
    metric: str,
    window: int,
    now: float,
    classes: Sequence[object] = (),
    profile: Profile | None = None,
    every: float = 3600.0,
    recent: float = 300.0,
    patience: float = math.inf,
    known: Known | None = None,
) -> LiveMetrics:
    """Metrics of the version that is live now; `folder` holds its prediction log, `state` is the label join's own file.

    Quality is over the newest `window` labelled rows of that version (a request may have several), service figures over
    the last `recent` seconds. `waiting` are the answered requests within the newest MB of the log that are newer
    than the oldest of their version's window, and have no label yet; the delay is that of the newest labels, whatever
    their version; none for `patience` seconds is nothing special. Drift is against `profile`, for somebody who looks
    every so many seconds; its window is kept beside `state`. Cost does not grow with the log. Raises `MeasurementError`
    when the log cannot be read.
    """
    if version is None:
        return unmeasured(None, "no version answers users: materialize production", now=now)
    lines = LogReader(folder, "predictions", Prediction).tail(TAIL_BYTES).lines
    tags = known.names_of if known and known.divisions else None
    joined = join_labels(folder, state, version=version, window=window, now=now, segments=tags)
    ours = _recent([line for line in lines if line.v in {version, None}], now, recent)
    times = sorted(line.ms for line in ours if line.ms is not None and line.error is None)
    labelled, quality = _quality(joined, version, metric, window, classes)
    newest, waiting = max((line.t for line in lines), default=None), _waiting(lines, joined, window)
    drifted = None
    if profile is not None:
        drifted = live_drift(folder, state.with_name(DRIFT), profile, version=version, every=every, now=now)
    return LiveMetrics(
        version=version,
        measured=now,
        requests=len(ours),
        errors=sum(line.error is not None for line in ours),
        p50_ms=quantile(times, 0.5),
        p99_ms=quantile(times, 0.99),
        p99_low_ms=least_p99(times),
        labelled=labelled,
        quality=quality,
        newest=newest,
        label_delay=_delay(joined),
        waiting=waiting,
        drifted=drifted,
        newest_label=joined.newest,
        labels_stopped=stopped(
            newest_label=joined.newest, delays=joined.delays, waiting=waiting, newest=newest, now=now, patience=patience
        ),
        labels_odd=odd_labels(metric, *_labelled(joined, version, window)),
        inputs_broken=broken_rows(profile, _rows(ours)) if profile is not None else "",
        estimate=_estimate(known, metric, ours, classes),
    )


def unmeasured(version: str | None, problem: str, *, now: float) -> LiveMetrics:
    """Metrics that say why there are none."""
    return LiveMetrics(
        version=version,
        measured=now,
        requests=0,
        errors=0,
        p50_ms=None,
        p99_ms=None,
        labelled=0,
        quality=None,
        problem=problem,
    )


def _recent(lines: Sequence[Prediction], now: float, recent: float) -> list[Prediction]:
    """The newest requests: all of the last `recent` seconds, more where those are few, and a bounded number."""
    within = sum(line.t >= now - recent for line in lines)
    newest = list(lines[-min(NEWEST_REQUESTS, max(within, FEWEST_REQUESTS)) :])
    return [line for line in newest if line.t >= now - LONGEST * recent]


def _quality(
    joined: JoinState, version: str, metric: str, window: int, classes: Sequence[object]
) -> tuple[int, Score | None]:
    """Number of labelled rows that could be scored, and their score."""
    rows: list[tuple[Any, Any, Sequence[float] | None]] = []
    for entry in joined.windows.get(version, ()):
        odds: Sequence[Sequence[float] | None] = entry.p or [None] * len(entry.y)
        rows += [row for row in zip(entry.label, entry.y, odds, strict=False) if usable(metric, row[0], row[1])]
    rows = rows[-window:]
    known = [odds for _, _, odds in rows if odds is not None]
    probabilities = known if len(known) == len(rows) else None
    truth, predicted = [row[0] for row in rows], [row[1] for row in rows]
    return len(rows), score(metric, truth, predicted, probabilities, classes)


def _labelled(joined: JoinState, version: str, window: int) -> tuple[list[Any], list[Any]]:
    """Labels and predictions of the version's window, whether or not they can be scored."""
    rows = [row for entry in joined.windows.get(version, ()) for row in zip(entry.label, entry.y, strict=False)]
    return [row[0] for row in rows[-window:]], [row[1] for row in rows[-window:]]


def _delay(joined: JoinState) -> LabelDelay | None:
    """How late labels are; None before the first one."""
    delays = sorted(joined.delays)
    median, p90 = quantile(delays, 0.5), quantile(delays, 0.9)
    return None if median is None or p90 is None else LabelDelay(median=median, p90=p90, labels=len(delays))


def _waiting(lines: Sequence[Prediction], joined: JoinState, window: int) -> int:
    """Answered requests without a label that could still take a place in their version's window."""
    labelled = {entry.id for entries in joined.windows.values() for entry in entries}
    floors = {v: entries[0].t for v, entries in joined.windows.items() if joined.rows(v) >= window}
    return sum(
        line.error is None and line.id not in labelled and line.t >= floors.get(line.v or "", 0.0) for line in lines
    )


def _rows(lines: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The newest rows of the requests that were answered, the newest first."""
    rows: list[dict[str, Any]] = []
    for line in reversed(lines):
        if len(rows) >= NEWEST_ROWS:
            break
        if line.error is None:
            rows += line.parsed_rows()[::-1]
    return rows[:NEWEST_ROWS]


def _estimate(
    known: Known | None, metric: str, lines: Sequence[Prediction], classes: Sequence[object]
) -> Estimate | None:
    """What the newest answers themselves say of their quality; None for a version of which nothing is known."""
    if known is None or known.estimator is None or known.metric != metric:
        return None
    rows: list[Answered] = []
    for line in reversed(lines):
        if len(rows) >= ESTIMATED_ROWS:
            break
        if line.y:
            odds: Sequence[Sequence[float] | None] = line.p or [None] * len(line.y)
            answers = zip(line.parsed_rows(), line.y, odds, strict=False)
            rows += [(row, Outcome(None, said, given)) for row, said, given in answers if said is not None]
    return estimate(known.estimator, rows[:ESTIMATED_ROWS], classes)


def quantile(times: Sequence[float], level: float) -> float | None:
    """The smallest of the sorted times that at least that share of them does not exceed."""
    return times[math.ceil(level * len(times)) - 1] if times else None


def least_p99(times: Sequence[float]) -> float | None:
    """The lower 97.5 % confidence bound of the 99 % quantile: an order statistic, free of any assumed distribution."""
    rank = p99_rank(len(times))
    return None if rank is None else times[rank]
