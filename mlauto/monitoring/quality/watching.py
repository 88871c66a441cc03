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

from mlauto.measured import Detection, SegmentQuality
from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.labels.joining import Joined
from mlauto.monitoring.quality.budget import OPENING, STAKE, granted, opening
from mlauto.monitoring.quality.detector import Detector, Terms, added, fresh, restarted
from mlauto.monitoring.quality.limits import limit_of
from mlauto.monitoring.quality.memory import Watched, kept, number, packed, read_memory, write_memory
from mlauto.monitoring.quality.proofs import THRESHOLD, has_recovered, said
from mlauto.monitoring.quality.references import Known
from mlauto.monitoring.quality.segments import Tagged, segmented, shown
from mlauto.monitoring.watch.pairs import losses_to_test
from mlauto.records import Score

__all__ = ["Proven", "Standard", "advanced", "begun", "look"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Standard:
    """What a version is held to: its reference, the tolerance and, for r2, the variance of the reference's truth.

    `known` has the references of segments, `stake` is that for each row.
    """

    reference: Score
    tolerance: float
    spread: float | None = None
    stake: float = STAKE
    known: Known | None = None


@dataclass(frozen=True, kw_only=True)
class Proven:
    """What is proven: a loss `beyond` the tolerance, which may be acted upon; the rest is only shown."""

    beyond: Detection
    worse: Detection
    segments: tuple[SegmentQuality, ...] = ()


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
    rows = [row for entry in entries if number(entry.id) not in counted for row in _rows(entry, metric)]
    outcomes = [outcome for outcome, _ in rows]
    unpaired, losses = losses_to_test(metric, known.unpaired, outcomes, classes)
    stake, budget = granted(budget, len(losses), now)
    standard = replace(standard, stake=stake)
    found = advanced(standard, known, losses, quality, now)
    if found is None:
        return None
    after, proven = _with_segments(standard, found, rows, classes, now)
    after = replace(after, unpaired=unpaired, counted=packed(number(entry.id) for entry in entries))
    if after != known or version not in memory.versions:
        write_memory(path, kept(memory, budget, version, after))
    return proven


def _with_segments(
    standard: Standard,
    found: tuple[Watched, Proven],
    rows: Sequence[Tagged],
    classes: Sequence[object],
    now: float,
) -> tuple[Watched, Proven]:
    """The same, with what the segments' detectors make of the rows; nothing where there are no references of them."""
    watched, proven = found
    known, tolerance = standard.known, standard.tolerance
    if known is None or known.metric != watched.metric or not known.segments:
        return watched, proven
    columns = known.divisions
    segments = segmented(
        watched.segments,
        known.segments,
        rows,
        classes,
        tolerance=tolerance,
        stake=standard.stake,
        columns=columns,
        now=now,
    )
    told = shown(segments, known.segments, tolerance, columns)
    return replace(watched, segments=segments), replace(proven, segments=told)


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
        told.append((after, said(after, limit)))
    (beyond, first), (worse, second) = told
    return replace(watched, beyond=beyond, worse=worse), Proven(beyond=first, worse=second)


def _rows(entry: Joined, metric: str) -> list[Tagged]:
    """The request's rows that the metric can be computed from, with the segments that they are in."""
    odds: Sequence[Sequence[float] | None] = entry.p or [None] * len(entry.y)
    tags: Sequence[Sequence[str]] = entry.s or [()] * len(entry.y)
    every = zip(entry.label, entry.y, odds, tags, strict=False)
    rows = [(Outcome(truth, predicted, given), names) for truth, predicted, given, names in every]
    return [row for row in rows if row[0].usable(metric)]
