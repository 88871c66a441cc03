"""One look of the detectors at the live version: the labels that came since the last one, each counted once.

What is counted are the requests in the join's window of the version (`labels.py`) that were not counted before. The
join lets no request back into a window that it has left, so that a late label counts once, when it comes, a label that
is corrected keeps the count that it had, and a duplicate adds nothing. Of more labels between two looks than the window
holds, the newest are counted. A look that was killed is done again from the record before it. Cost is that of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlauto.measured import Detection
from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.labels import Joined
from mlauto.monitoring.quality.budget import OPENING, STAKE, granted, opening
from mlauto.monitoring.quality.detector import ALPHA, Detector, Terms, added, e_value, fresh, restarted
from mlauto.monitoring.quality.limits import Limit, limit_of
from mlauto.monitoring.quality.memory import Watched, kept, number, packed, read_memory, write_memory
from mlauto.monitoring.scores import better
from mlauto.records import Score

__all__ = ["Proven", "Standard", "advanced", "begun", "has_recovered", "look"]

Floats = NDArray[np.float64]
THRESHOLD = 1 / ALPHA


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What a version is held to: its reference, the tolerance and, for r2, the variance of the reference's truth.

    `stake` is that for each row.
    """

    reference: Score
    tolerance: float
    spread: float | None = None
    stake: float = STAKE


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What is proven: a loss `beyond` the tolerance, which may be acted upon, and any loss, which is only shown."""

    beyond: Detection
    worse: Detection


def look(
    path: Path,
    entries: Sequence[Joined],
    *,
    version: str,
    standard: Standard,
    quality: Score | None,
    now: float,
    classes: Sequence[object] = (),
) -> Proven | None:
    """Count what is new among the version's labelled requests, and say what is proven; `path` is the memory's file.

    `quality` is that of the present window: once it is wholly within the limit, a detector that has alarmed begins
    anew. None where the metric cannot be tested (r2 without a spread). Raises `MeasurementError`.
    """
    metric = standard.reference.metric
    memory = read_memory(path, now)
    known = memory.versions.get(version)
    budget = memory.budget
    if known is None or known.metric != metric:
        stake, budget = opening(budget, now)
        known = begun(metric, now, stake, next(reversed(memory.versions.values()), None))
    counted = known.numbers
    outcomes = [one for entry in entries if number(entry.id) not in counted for one in _outcomes(entry, metric)]
    losses = outcome_losses(metric, outcomes, classes) if outcomes else np.empty(0)
    stake, budget = granted(budget, len(losses), now)
    found = advanced(replace(standard, stake=stake), known, losses, quality, now)
    if found is None:
        return None
    after = replace(found[0], counted=packed(number(entry.id) for entry in entries))
    if after != known or version not in memory.versions:
        write_memory(path, kept(memory, budget, version, after))
    return found[1]


def begun(metric: str, now: float, stake: float = OPENING, before: Watched | None = None) -> Watched:
    """Detectors that have seen nothing, for a version that follows another one."""
    same = before if before is not None and before.metric == metric else None
    return Watched(
        metric=metric,
        beyond=fresh(now, stake, same.beyond if same else None),
        worse=fresh(now, stake, same.worse if same else None),
    )


def advanced(
    standard: Standard, watched: Watched, losses: Floats, quality: Score | None, now: float
) -> tuple[Watched, Proven] | None:
    """Both detectors with more losses, and what they say; None where the metric cannot be tested. Pure."""
    told: list[tuple[Detector, Detection]] = []
    for detector, tolerance in ((watched.beyond, standard.tolerance), (watched.worse, 0.0)):
        limit = limit_of(standard.reference, tolerance, standard.spread)
        if limit is None:
            return None
        terms = Terms(limit=limit.scaled, stake=standard.stake, threshold=THRESHOLD, now=now, unit=limit.bound)
        after = added(detector, limit.scale(losses), terms)
        if after.alarmed_at is not None and has_recovered(quality, limit.value):
            after = restarted(after, now)
        told.append((after, _said(after, limit)))
    (beyond, first), (worse, second) = told
    return replace(watched, beyond=beyond, worse=worse), Proven(beyond=first, worse=second)


def has_recovered(quality: Score | None, limit: float) -> bool:
    """Whether the window's whole interval is within the limit, so that it is well beyond doubt."""
    if quality is None:
        return False
    return better(quality.metric, quality.low if quality.metric == "r2" else quality.high, limit)


def _outcomes(entry: Joined, metric: str) -> list[Outcome]:
    odds: Sequence[Sequence[float] | None] = entry.p or [None] * len(entry.y)
    every = (Outcome(*row) for row in zip(entry.label, entry.y, odds, strict=False))
    return [one for one in every if one.usable(metric)]


def _said(detector: Detector, limit: Limit) -> Detection:
    return Detection(
        e_value=e_value(detector),
        threshold=THRESHOLD,
        limit=limit.value,
        rows=detector.rows,
        looks=detector.looks,
        since=detector.since,
        alarmed_at=detector.alarmed_at,
    )
