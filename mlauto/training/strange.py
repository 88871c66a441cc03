"""Which batches are left out of later trainings: strange by themselves, and bad for what learned from them.

Labels that somebody joined wrongly, a day unlike all others: what such a batch teaches is wrong on every other day.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlauto.training.weighting import RECALLED, Member

__all__ = ["Judges", "judges_of", "strange", "times_usual"]

STRANGE = 3.0  # times what the best member usually loses in a batch
USUALLY = 10  # batches
SPOILED_LESS = 0.5  # of the short history's loss: the longest one's, where few batches dilute the strange one
FEWEST = 3  # batches say what is usual


@dataclass(frozen=True, kw_only=True)
class Judges:
    """The members, by their places, that tell whether a batch is strange.

    The one with the `longest` history hardly knows it; the one with the `short`est of more than one batch has learned
    to answer both it and others, if that can be done.
    """

    longest: int
    short: int


def judges_of(members: Sequence[Member]) -> Judges:
    """Those of the members."""
    ages = range(RECALLED)
    known = [float(member.history.of(ages).sum()) for member in members]
    longest = max(range(len(known)), key=lambda place: known[place])
    several = [place for place in range(len(known)) if known[place] > 1]
    return Judges(longest=longest, short=min(several, key=lambda place: known[place], default=longest))


def times_usual(losses: Sequence[Sequence[float]], at: int) -> float:
    """A strange batch loses more: three times what the best member lost in the ten before it, in the median.

    Where fewer than three came before it, those right after it count, too, up to three. Infinite without three.
    """
    before = losses[max(0, at - USUALLY) : at]
    others = [*before, *losses[at + 1 : at + 1 + max(0, FEWEST - len(before))]]
    return STRANGE * float(np.median([min(row) for row in others])) if len(others) >= FEWEST else math.inf


def strange(losses: Sequence[Sequence[float]], ahead: Sequence[int], judges: Judges) -> tuple[int, ...]:
    """The places of strange batches, from the members' mean losses in each, oldest first.

    Batch n was answered by fits whose newest batch came `ahead[n]` batches before it. A batch is strange when every
    member lost three times the usual in it; when the longest history is as good as before in the next one, if that was
    answered without knowing it, so nothing has changed for good; and when fits on it have spoiled the first batch that
    they answered: the short history lost three times the usual there, and twice as much as the longest, so the batch
    cannot be learned beside the others. What can, as a holiday that a column tells, does no harm and stays.
    """
    found = []
    # where older batches are forgotten, the first that are known had others before them, and were judged by those
    for at in range(FEWEST if len(losses) >= RECALLED else 0, len(losses) - 1):
        limit = times_usual(losses, at)
        knew = next((row for row in range(at + 1, len(losses)) if row - ahead[row] >= at), None)
        if min(losses[at]) <= limit or knew is None:
            continue
        lasting = knew > at + 1 and losses[at + 1][judges.longest] > limit
        short, longest = losses[knew][judges.short], losses[knew][judges.longest]
        if not lasting and short > limit and longest <= max(limit, SPOILED_LESS * short):
            found.append(at)
    return tuple(found)
