"""The tests of one column, and of a pair: effects with bounds that count only when they exceed what matters.

Margins are one size in different clothes: 0.02 standard deviations is Cohen's w = 0.02, a divergence of 0.0002 nats.
Spread, shape and correlation are given 0.05: they wander by as much with the hour and the season, and no model minds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlauto.measured import Finding
from mlauto.monitoring.drift.basis import components
from mlauto.monitoring.drift.blocks import inflation
from mlauto.monitoring.drift.bounds import Budget, Sample, rate_bounds
from mlauto.monitoring.drift.counts import LevelCounts, NumberCounts
from mlauto.monitoring.drift.profile import Curve, Levels, Numbers

__all__ = ["level_findings", "number_findings", "number_of_tests", "pair_finding"]

MATERIAL = 0.02  # standard deviations of the reference: no model's answer changes noticeably
MATERIAL_SPREAD = 0.05
MATERIAL_SHAPE = 0.05
MATERIAL_CORRELATION = 0.05
MATERIAL_NULLS = 0.005  # of the rows
MATERIAL_STRANGE = 0.001  # of the rows: unseen levels, another type, far outside; the model cannot know such a row
FAR_MOVED = 1.5  # where so much is beyond the outermost bins, spread and shape within the bins say nothing
LARGEST_PRODUCT = 9.0  # of two normal scores of 256 bins

Floats = NDArray[np.float64]


def number_of_tests(reference: Numbers | Levels) -> int:
    """How many tests a column gets."""
    if isinstance(reference, Levels):
        return 3 if reference.counts or reference.rare else 1
    return 6 if reference.still else 2


def number_findings(subject: str, reference: Numbers, counts: NumberCounts, budget: Budget) -> Iterator[Finding]:
    """Of a column of numbers: location, spread, shape, nulls, far values, another type."""
    filled = int(counts.bins.sum())
    rows = filled + counts.nulls + counts.alien
    yield _nulls(subject, counts.nulls, rows, reference, budget)
    alien = _Test(subject, "type", MATERIAL_STRANGE, "of rows have a value that is no number")
    yield alien.strange(counts.alien, rows, reference.filled, budget)
    if not reference.still:
        return
    far = _Test(subject, "range", MATERIAL_STRANGE, "of values lie far outside the reference")
    yield far.strange(counts.far, filled, reference.filled, budget)
    if filled and len(reference.counts) > 1:
        yield from _moved(subject, reference, counts.bins / filled, filled, budget)


def _moved(subject: str, reference: Numbers, shares: Floats, rows: int, budget: Budget) -> Iterator[Finding]:
    """Location, spread and shape, from the shares of rows in the bins."""
    basis = components(reference.counts, reference.scores)
    weights = np.asarray(reference.counts) / reference.filled
    means = basis @ shares
    variances = np.maximum(basis**2 @ shares - means**2, 1.0)
    samples = [_sample(rows, reference.filled, curve, budget) for curve in reference.curves[: len(basis)]]
    exponent, largest = budget.exponent, np.abs(basis).max(axis=1)
    half = samples[0].mean(variances[0], largest[0], exponent)
    location = (means[0] - half, means[0] + half)
    yield _Test(subject, "location", MATERIAL, "sd of the reference").found(means[0], location)
    if abs(means[0]) > FAR_MOVED or len(basis) < 2:
        return
    squares = basis[0] ** 2
    second = float(squares @ shares)
    kurtosis = max(float(squares**2 @ weights) - 1, float(squares**2 @ shares) - second**2)
    half = samples[1].mean(kurtosis, float(squares.max()), exponent)
    outer = max(location[0] ** 2, location[1] ** 2)
    inner = 0.0 if location[0] <= 0 <= location[1] else min(location[0] ** 2, location[1] ** 2)
    spread = (_root(second - half - outer) - 1, _root(second + half - inner) - 1)
    yield _Test(subject, "spread", MATERIAL_SPREAD, "of its sd").found(_root(second - means[0] ** 2) - 1, spread)
    if len(basis) < 4:
        return
    worst = min(samples[2:], key=lambda sample: sample.independent)
    half = worst.norm(float(variances[2:].sum()), float(variances[2:].max()), float(largest[2:].max()), exponent)
    shape = float(np.hypot(means[2], means[3]))
    yield _Test(subject, "shape", MATERIAL_SHAPE, "sd in skew and tails").found(
        shape, (max(0.0, shape - half), shape + half)
    )


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))


def level_findings(subject: str, reference: Levels, counts: LevelCounts, budget: Budget) -> Iterator[Finding]:
    """Of a column of levels: their mix, levels that were never seen, nulls."""
    filled = int(counts.levels.sum()) + counts.rare + counts.unseen
    rows = filled + counts.nulls
    yield _nulls(subject, counts.nulls, rows, reference, budget)
    if not filled or not reference.filled:
        return
    names = ", ".join(f'"{name}"' for name in list(counts.names)[:3])
    unseen = _Test(subject, "unseen", MATERIAL_STRANGE, "of values are unseen levels", names)
    yield unseen.strange(counts.unseen, filled, reference.filled, budget, reference.fresh)
    known = np.array(list(reference.counts.values()), dtype=np.float64) / reference.filled
    if not len(known) or known[0] == 1:
        return  # nothing common, or nothing else: what is not that level is unseen or rare
    shares = counts.levels / filled
    sample = _sample(filled, reference.filled, reference.curves[0], budget)
    ratio = shares / known
    effect = float(np.sqrt(((shares - known) ** 2 / known).sum()))
    trace = max(float((1 - known).sum()), float((ratio * (1 - shares)).sum()))
    half = sample.norm(trace, max(1.0, float(ratio.max())), float(1 / np.sqrt(known.min())), budget.exponent)
    most = int(np.abs(shares - known).argmax())
    level = list(reference.counts)[most]
    detail = f'"{level}" from {known[most]:.1%} to {shares[most]:.1%} of rows'
    yield _Test(subject, "categories", MATERIAL, "sd of the mix of levels", detail).found(
        effect, (max(0.0, effect - half), effect + half)
    )


def pair_finding(
    subject: str, window: float, rows: float, reference: tuple[float, float, Curve, int], budget: Budget
) -> Finding:
    """Of the correlation of normal scores, given the reference's: value, variance, curve, rows."""
    value, variance, curve, known = reference
    variance = max(variance, (1 - value**2) ** 2, (1 - window**2) ** 2)
    half = _sample(int(rows), known, curve, budget).mean(variance, LARGEST_PRODUCT, budget.exponent)
    effect = window - value
    detail = f"{value:.2f} in the reference"
    return _Test(subject, "correlation", MATERIAL_CORRELATION, "of correlation", detail).found(
        effect, (effect - half, effect + half)
    )


def _sample(rows: int, known: int, curve: Curve, budget: Budget) -> Sample:
    return Sample(rows, known, inflation(curve, rows, known, budget.pace), inflation(curve, known, known))


def _nulls(subject: str, nulls: int, rows: int, reference: Numbers | Levels, budget: Budget) -> Finding:
    known = reference.filled + reference.nulls
    sample = _sample(rows, known, reference.curves[-1], budget)
    detail = f"{reference.nulls / known:.1%} in the reference"
    return _Test(subject, "nulls", MATERIAL_NULLS, "of rows more without a value", detail).rate(
        nulls / rows, reference.nulls / known, sample, budget
    )


@dataclass(frozen=True)
class _Test:
    """What is asked of a subject, and how much of it matters."""

    subject: str
    test: str
    margin: float
    unit: str
    detail: str = ""

    def found(self, effect: float, bounds: tuple[float, float]) -> Finding:
        """The finding of an effect with its bounds."""
        low, high = map(float, bounds)
        return Finding(
            subject=self.subject,
            test=self.test,
            effect=float(effect),
            low=low,
            high=high,
            margin=self.margin,
            unit=self.unit,
            alarmed=low > self.margin or high < -self.margin,
            detail=self.detail,
        )

    def rate(self, share: float, known: float, sample: Sample, budget: Budget) -> Finding:
        """That of the difference of two shares, each with its own exact bounds."""
        rows, reference = sample.rows / sample.effect, sample.known / sample.known_effect
        now = rate_bounds(share * rows, rows, budget.exponent)
        then = rate_bounds(known * reference, reference, budget.reference_exponent)
        return self.found(share - known, (now[0] - then[1], now[1] - then[0]))

    def strange(self, count: int, rows: int, known: int, budget: Budget, expected: float = 0.0) -> Finding:
        """That of a share that should be next to nothing.

        It has no design effect: what never happened shows no dependence.
        """
        return self.rate(count / max(1, rows), expected, Sample(max(1, rows), known), budget)
