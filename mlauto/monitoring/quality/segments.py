"""Losses of single segments, each with its own reference and detector. Pure.

Multiplicity: a segment stakes for its own rows only, so that the segments of one column stake no more than the whole
together. By Doob's inequality for their sum, any of them alarms falsely with probability 1 % a year at most when the
threshold is that of the whole, and with several columns when it is so many times as high. Nothing is lost to segments
that have no rows, as with equal parts.

A segment's loss is shown, and is no reason to retrain by itself: what a new model is held to, and what ends an
incident, is the whole; a model that is better for a small segment and worse for the others would not be promoted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlauto.measured import SegmentQuality
from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.quality.detector import Detector, Terms, added, fresh, restarted
from mlauto.monitoring.quality.limits import limit_of
from mlauto.monitoring.quality.proofs import THRESHOLD, has_recovered, said
from mlauto.monitoring.scores import HIGHER, mean_score
from mlauto.monitoring.watch.pairs import losses_to_test
from mlauto.monitoring.watch.record import Unpaired
from mlauto.records import Score

__all__ = ["Segment", "Tagged", "segmented", "shown"]

RECENT = 200  # rows of a segment that its present quality is measured on
FEWEST = 20
Tagged = tuple[Outcome, Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """What is remembered of one: its detector, and its newest rows' losses as 32-bit floats."""

    detector: Detector
    recent: bytes = b""
    unpaired: Unpaired = field(default_factory=Unpaired)


def segmented(
    segments: Mapping[str, Segment],
    references: Mapping[str, Score],
    rows: Sequence[Tagged],
    classes: Sequence[object],
    *,
    tolerance: float,
    stake: float,
    columns: int,
    now: float,
) -> dict[str, Segment]:
    """The segments with more rows; those without a reference are none."""
    after = {}
    for name, reference in references.items():
        segment = segments.get(name) or Segment(detector=fresh(now, 0.0))
        mine = [outcome for outcome, tags in rows if name in tags]
        limit = limit_of(reference, tolerance)
        if not mine or limit is None:
            after[name] = segment
            continue
        unpaired, losses = losses_to_test(reference.metric, segment.unpaired, mine, classes)
        terms = Terms(limit=limit.scaled, stake=stake, threshold=THRESHOLD * max(1, columns), now=now, unit=limit.bound)
        detector = added(segment.detector, limit.scale(losses), terms)
        recent = np.concatenate([np.frombuffer(segment.recent, dtype="<f4"), losses])[-RECENT:]
        if detector.alarmed_at is not None and has_recovered(_quality(reference.metric, recent), limit.value):
            detector = restarted(detector, now)
        after[name] = Segment(detector=detector, recent=recent.astype("<f4").tobytes(), unpaired=unpaired)
    return after


def shown(
    segments: Mapping[str, Segment], references: Mapping[str, Score], tolerance: float, columns: int
) -> tuple[SegmentQuality, ...]:
    """Segments with enough rows to be shown, those that are proven worse first, then by how much they have lost."""
    found = []
    for name, segment in segments.items():
        reference = references[name]
        quality = _quality(reference.metric, np.frombuffer(segment.recent, dtype="<f4").astype(float))
        limit = limit_of(reference, tolerance)
        if quality is None or limit is None:
            continue
        detection = said(segment.detector, limit, THRESHOLD * max(1, columns))
        found.append(SegmentQuality(segment=name, quality=quality, reference=reference, detection=detection))
    return tuple(sorted(found, key=lambda one: (not one.detection.alarmed, -_lost(one), one.segment)))


def _lost(one: SegmentQuality) -> float:
    lost = one.quality.value - one.reference.value
    return -lost if one.quality.metric in HIGHER else lost


def _quality(metric: str, losses: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Score | None:
    return mean_score(metric, np.asarray(losses, dtype=float)) if len(losses) >= FEWEST else None
