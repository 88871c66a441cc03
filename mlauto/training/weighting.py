"""Which history a model learns from: sample weights by age, and several of them averaged by how each has done.

Pure functions of numbers. Ages count batches, 0 for the newest that has labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError

if TYPE_CHECKING:
    from mlauto.product_training import Training

__all__ = [
    "ALL",
    "BLEND",
    "RECALLED",
    "History",
    "Member",
    "believed",
    "first_reliance",
    "leapt",
    "members_of",
    "mixture",
    "renewed_shares",
    "shared",
    "shares_after",
    "shortest",
    "smoothed",
    "with_shares",
]

Floats = NDArray[np.float64]

LEAST_WEIGHT = 0.01
MEMORY = 0.9  # a batch's comparison counts this much less for each later one
CAUTION = 3.0  # how fast shares follow: a member that lost a third more than the best in one batch loses a factor of e
WORST = 9.0  # relative loss beyond which a batch says no more against a member
FADES_NOT = 1.0
ONCE_TWICE = 1.0  # a batch that loses more than twice as much one way says no more: small ones may lose nothing at all
TWO_MORE = 2.0  # rows that every member is taken to have lost: where few are, one more or less would decide
RATES = frozenset({"error_rate", "log_loss"})  # losses of a row that are of the order of 1
STRANGE = 3.0  # times what the best member usually loses in a batch: something has changed
USUALLY = 10  # batches
TWICE = 2  # such batches in a row: a single one may be strange by itself
LEAP = 0.9  # goes then to the member with the shortest history
RELIED_LATE = 0.3  # on shares renewed by late labels, before they were tried: what they show may have passed
RECALLED = 60  # batches whose losses are kept: what is older counts less than 0.2 %


@dataclass(frozen=True, kw_only=True)
class History:
    """What to fit on: the newest `window` batches (None: all), their weights halved every `half_life` batches."""

    half_life: float | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        if self.half_life is not None and not 0 < self.half_life < math.inf:
            raise TrainingError(f"a half-life of {self.half_life} batches: give a number above 0, or leave it out")
        if self.window is not None and self.window < 1:
            raise TrainingError(f"a window of {self.window} batches: give at least 1, or leave it out")

    def of(self, ages: Sequence[int]) -> Floats:
        """A weight for each age; what weighs less than 0.01 weighs 0 and can be left out, which bounds the cost."""
        aged = np.asarray(ages, dtype=np.float64)
        weights = np.ones_like(aged) if self.half_life is None else 0.5 ** (aged / self.half_life)
        if self.window is not None:
            weights[aged >= self.window] = 0.0
        return np.where(weights < LEAST_WEIGHT, 0.0, weights.round(6))

    def __str__(self) -> str:
        parts = [f"last {self.window} batches"] if self.window else []
        parts += [f"half-life {self.half_life:g}"] if self.half_life else []
        return ", ".join(parts) or "all history"


@dataclass(frozen=True, kw_only=True)
class Member:
    """One fit, and its share in the averaged prediction (probabilities for classes); shares add up to 1."""

    history: History
    share: float = 1.0


ALL = (Member(history=History()),)
BLEND = (
    Member(history=History(window=1), share=0.05),
    Member(history=History(half_life=1.0), share=0.95 / 4),
    Member(history=History(half_life=2.5), share=0.95 / 4),
    Member(history=History(half_life=10.0), share=0.95 / 4),
    Member(history=History(window=100), share=0.95 / 4),
)


def shared(members: tuple[Member, ...], losses: Sequence[Sequence[float]]) -> tuple[Member, ...]:
    """The members with the shares that they have after such losses; see `shares_after`."""
    return with_shares(members, shares_after([member.share for member in members], losses))


def with_shares(members: Sequence[Member], shares: Sequence[float]) -> tuple[Member, ...]:
    """The same histories with other shares, one for each."""
    return tuple(replace(one, share=share) for one, share in zip(members, shares, strict=True))


def shares_after(
    shares: Sequence[float], losses: Sequence[Sequence[float]], *, memory: float = MEMORY, worst: float = WORST
) -> tuple[float, ...]:
    """Shares that follow the members' mean losses in each labelled batch, from the oldest to the newest.

    A member loses share with every batch in which it was worse than the best of them, by how much worse that was: the
    Hedge algorithm (Freund and Schapire 1997) on relative losses, at most `worst`, with a `memory` that fades unless it
    is 1.
    Raises `TrainingError` when a batch lacks a member's loss, or a loss is negative or not finite.
    """
    if not len(losses):
        return tuple(shares)
    table = np.asarray(losses, dtype=np.float64) if len({len(row) for row in losses}) == 1 else np.empty((0, 0))
    if table.shape != (len(losses), len(shares)):
        raise TrainingError(f"losses of members: give {len(shares)} for each batch, one for each member")
    wrong = np.flatnonzero(~(np.isfinite(table) & (table >= 0)).all(axis=1))
    if len(wrong):
        raise TrainingError(
            f"losses of members: {table[wrong[0]].tolist()} for labelled batch {wrong[0]} of {len(table)}"
        )
    best = table.min(axis=1, keepdims=True)
    worse = np.minimum((table - best) / np.maximum(best, 1e-9), worst)
    counts = memory ** np.arange(len(table) - 1, -1, -1.0)
    logs = np.log(shares) - CAUTION * (counts @ worse)
    after = np.exp(logs - logs.max())
    after /= after.sum()
    return tuple(after.tolist())


def believed(first: float, losses: Sequence[tuple[float, float]]) -> float:
    """How far a change is believed in after labelled batches: mean loss without and with it, oldest first.

    Belief begins with `first`. It is the share of what is changed beside what is not by the Hedge algorithm, as for
    members, but none of these batches is forgotten: what does not help goes to nothing, and stays there. What is
    certain at first, 0 or 1, stays so.
    """
    if first in (0.0, 1.0):
        return first
    return shares_after((1 - first, first), losses, memory=FADES_NOT, worst=ONCE_TWICE)[1]


def first_reliance(lag: int) -> float:
    """How far shares that were learned since a training are relied on at first, when labels come `lag` batches late."""
    return RELIED_LATE if lag else 1.0


def renewed_shares(
    kept: Sequence[float], asked: Sequence[float], shown: Sequence[tuple[float, float]], first: float
) -> tuple[float, ...]:
    """The shares of fits that are averaged anew: between those of their training and those that losses ask for since.

    As far as the latter have helped: labelled batches have `shown` the mean loss by the ones and by the others, and are
    `believed`, so much at `first`.
    """
    belief = believed(first, shown)
    return tuple((1 - belief) * old + belief * new for old, new in zip(kept, asked, strict=True))


def smoothed(metric: str, loss: float, rows: int) -> float:
    """A member's mean loss in a batch as it counts for its share: rates as if two more rows had been lost.

    Else two errors in place of one would say as much as a loss that doubles (additive smoothing; Agresti and Coull 1998
    add two as well).
    """
    return loss + TWO_MORE / rows if metric in RATES else loss


def shortest(members: Sequence[Member]) -> int:
    """The place of the member whose history is the shortest."""
    ages = range(RECALLED)
    return min(range(len(members)), key=lambda place: float(members[place].history.of(ages).sum()))


def leapt(shares: Sequence[float], losses: Sequence[Sequence[float]], place: int) -> tuple[float, ...]:
    """The shares after what may be a sudden change: most goes to the member in this `place`, with the shortest history.

    That is when every member lost three times as much as the best one usually does, in the two newest batches or more.
    What they were fitted on is over; only what was seen since can be right, and old losses do not tell who has seen it.
    """
    best = [min(row) for row in losses]
    run = 0
    while len(best) - run > TWICE and min(best[-run - 1 :]) > STRANGE * _usual(best, run + 1):
        run += 1
    if run < TWICE:
        return tuple(shares)
    return tuple((1 - LEAP) * share + LEAP * (number == place) for number, share in enumerate(shares))


def _usual(best: Sequence[float], newest: int) -> float:
    """What the best member lost in the batches before so many newest ones."""
    return float(np.median(best[:-newest][-USUALLY:]))


def members_of(training: "Training") -> tuple[Member, ...]:
    """The histories that a product's model is fitted on, with the shares that they begin with."""
    if training.histories is not None:
        total = sum(one.share for one in training.histories)
        return tuple(
            Member(history=History(half_life=one.half_life, window=one.window), share=one.share / total)
            for one in training.histories
        )
    return BLEND if training.policy.average else (Member(history=History(half_life=training.half_life)),)


def mixture(members: Sequence[Member], ages: Sequence[int]) -> Floats:
    """One weight for each age, of all members' weights by their shares; 0 only where no member needs the batch."""
    mixed: Floats = np.sum([member.share * member.history.of(ages) for member in members], axis=0)
    return mixed.round(6)
