"""Whether a version predicts worse than another on the same rows, tested so that one may look at any time. Pure.

Each row gives its excess: the new version's loss minus what is allowed, which is the old one's loss and a margin. Rows
are gathered into blocks as they come, of 10 and later of about the square root of the rows before them, so that
neighbours that err alike end up in one block and blocks are nearly independent and normal, whatever the metric's scale.
A t-test martingale runs over the blocks: the likelihood ratio of their t statistic, mixed over effects of either sign
(Lai 1976; Wang and Ramdas 2024, Anytime-valid t-tests and confidence sequences for Gaussian means). For independent
normal blocks it reaches 1 / (2 alpha) with a mean above 0 at *any* look with probability alpha at most; elsewhere that
is asymptotic, and `benchmarks/watch.py` measures it.

Three things make the blocks' variance larger, never smaller, and so can only weaken a proof. What is left of serial
correlation between blocks multiplies it by (1 + r) / (1 - r). It is at least that of independent rows. And two rows
more are counted in it, as bad as the worst that was seen and one against each version: a difference that few rows make,
or none, is not taken for certain (as Agresti and Min 2005 do for proportions).

Betting row by row (Waudby-Smith and Ramdas 2024) needs no normality, but takes rows that err alike for fresh evidence.
Betting on blocks is cautious by the width of their range, 2 for rates, and the more so the longer they are. Errors of
numbers have no range: to clip them is to test something else than the metric.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.scores import SHARES
from mlauto.monitoring.watch.record import Tally
from mlauto.proof import ABSOLUTE, RELATIVE, THRESHOLD

__all__ = ["Evaluation", "added", "evaluated"]

Floats = NDArray[np.float64]
SMALLEST_BLOCK = 10
SHARE = 100  # a block has at least this part of the rows before it, so that a million rows are some 700 blocks
FEWEST_BLOCKS = 5
PRIOR = 10.0  # rows: effects of about a third of a row's deviation are expected, so that 60 labels may be enough
MOST_ALIKE = 0.9
CAUTION = 0.5  # standard errors of the blocks' correlation that are added to it
LARGEST_EXPONENT = 700.0  # of e, as a float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The test at one look, over the rows of closed blocks; the fields are those of a `Proof`."""

    rows: int
    difference: float
    low: float | None
    high: float | None
    allowed: float
    e_value: float


def added(tally: Tally, metric: str, new: Sequence[float] | Floats, old: Sequence[float] | Floats) -> Tally:
    """The tally with more rows' losses of both versions, in the order in which they became known."""
    amount, share = _margin(metric)
    mine, theirs = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
    if not len(mine):
        return tally
    excess = mine - theirs * (1 + share) - amount
    blocks, closed = list(tally.blocks), tally.rows - tally.open_rows
    open_rows, open_excess, at = tally.open_rows, tally.open_excess, 0
    while at < len(excess):
        size = max(SMALLEST_BLOCK, math.isqrt(closed), closed // SHARE)
        taken = excess[at : at + size - open_rows]
        at, open_rows, open_excess = at + len(taken), open_rows + len(taken), open_excess + float(taken.sum())
        if open_rows == size:
            blocks.append((open_rows, open_excess))
            closed, open_rows, open_excess = closed + size, 0, 0.0
    return replace(
        tally,
        rows=tally.rows + len(excess),
        blocks=tuple(blocks),
        open_rows=open_rows,
        open_excess=open_excess,
        old=tally.old + float(theirs.sum()),
        squares=tally.squares + float((excess**2).sum()),
        largest=max(tally.largest, float(mine.max()), float(theirs.max())),
    )


def evaluated(tally: Tally, metric: str) -> Evaluation | None:
    """The test on the closed blocks; None for fewer than five, and while neither version was ever wrong.

    The difference and its bounds are those of the mean losses, for rmse and r2 of the squared ones.
    """
    if len(tally.blocks) < FEWEST_BLOCKS:
        return None
    rows, excess = (np.asarray(column, dtype=float) for column in zip(*tally.blocks, strict=True))
    total = float(rows.sum())
    mean = float(excess.sum()) / total
    spread = _spread(tally, metric, rows, excess)
    if spread == 0:
        return None
    part = PRIOR / (total + PRIOR)
    half = math.sqrt(spread * _reach(part, len(rows)) / total)
    far = mean**2 * total / spread
    exponent = len(rows) / 2 * math.log((1 + far) / (1 + part * far))
    amount, share = _margin(metric)
    allowed = amount + share * tally.old / tally.rows
    return Evaluation(
        rows=int(total),
        difference=mean + allowed,
        low=mean + allowed - half if math.isfinite(half) else None,
        high=mean + allowed + half if math.isfinite(half) else None,
        allowed=allowed,
        e_value=math.sqrt(part) * math.exp(min(LARGEST_EXPONENT, exponent)),
    )


def _margin(metric: str) -> tuple[float, float]:
    """What is allowed beside the old version's loss: an amount, and a share of it; for roots, a share of squares."""
    if metric in SHARES:
        return ABSOLUTE, 0.0
    return 0.0, (1 + RELATIVE) ** 2 - 1 if metric == "rmse" else RELATIVE


def _spread(tally: Tally, metric: str, rows: Floats, excess: Floats) -> float:
    """The blocks' squared deviations from their mean, as of single rows, and more for what may be hidden in them."""
    total = float(rows.sum())
    mean = float(excess.sum()) / total
    off = (excess - rows * mean) / np.sqrt(rows)
    own = float((off**2).sum())
    lagged = float((off[1:] * off[:-1]).sum()) / own if own else 0.0
    lagged += (1 + 4 * lagged) / len(rows)  # it is too low by that, as the mean is from the same blocks
    alike = min(MOST_ALIKE, max(0.0, lagged + CAUTION / math.sqrt(len(rows))))
    largest = 1.0 if metric in SHARES else tally.largest  # an error may come though none has
    independent = max(0.0, tally.squares / tally.rows - mean**2) + 2 * largest**2 / total
    return max(own * (1 + alike) / (1 - alike), len(rows) * independent)


def _reach(part: float, blocks: int) -> float:
    """The square of the mean that is not excluded yet, in spreads by rows; infinite while nothing is."""
    ratio = (THRESHOLD / math.sqrt(part)) ** (2 / blocks)
    return (ratio - 1) / (1 - part * ratio) if part * ratio < 1 else math.inf
