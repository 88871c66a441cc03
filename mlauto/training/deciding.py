"""What a retraining policy sees and answers, whichever loop asks it: the seam between deciding and doing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlauto.records import Score, Verdict
from mlauto.training.correcting import LATE
from mlauto.training.retraining import Evidence
from mlauto.training.weighting import ALL, Member

__all__ = [
    "Check",
    "Choice",
    "Decide",
    "Labelled",
    "Losses",
    "Situation",
    "labelled",
    "sampled",
    "too_near",
]

SCORED_ROWS = 5000  # of a batch, evenly spread: more say nothing new

Losses = NDArray[np.float64]


# the verdict of the live check: which model is live, its labelled rows' losses (oldest first), and its holdout's score
Check = Callable[[int, Losses, Score], Verdict]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A batch whose labels have come: mean loss of the model that was live then, over rows that it never saw.

    `error` is the standard error of that mean; NaN for one row. Models that average the same fits are one `model`; it
    is "" where labels are late, and the batch came `too_near` to what those fits were made on.
    """

    number: int
    rows: int
    loss: float
    error: float
    model: int | str


def too_near(lag: int) -> int:
    """How many batches right after a model's own say nothing of it yet, when labels come `lag` batches late: half.

    A model is live for batches that came so much later than the newest that it was fitted on. In those in between,
    which another one answered, it does better than it will; but what they show is known so much sooner.
    """
    return lag // 2


def sampled(rows: int) -> NDArray[np.intp] | slice:
    """Which of a batch's rows are scored: all, or 5,000 from its first to its last."""
    return slice(None) if rows <= SCORED_ROWS else np.linspace(0, rows - 1, SCORED_ROWS).astype(np.intp)


def labelled(number: int, losses: Losses, model: int | str) -> Labelled:
    """The score of a batch whose scored rows have these losses."""
    rows = len(losses)
    error = float(losses.std(ddof=1)) / rows**0.5 if rows > 1 else float("nan")
    loss = float(losses.mean()) if rows else 0.0
    return Labelled(number=number, rows=rows, loss=loss, error=error, model=model)


@dataclass(frozen=True, kw_only=True)
class Situation(Evidence):
    """What is known when the labels of batch `newest` have come. Batches and models count from 0, in order of time.

    `version` is the live one of the live model, `verdict` that of the live check on it, None when nobody checks; `last`
    has the mean loss of each version in the newest labelled batch that it answered.
    """

    scores: Sequence[Labelled]
    newest: int
    version: int
    verdict: Verdict | None
    last: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do and why: train on the histories of `members`, or go `back_to` an earlier model, or neither.

    To `renew` is to average the live model's fits anew, without a training, by shares that are relied on so far at
    first (`reliance`). The average is corrected by what the newest batches ask for, of which so much is believed at
    first (`belief`, 0 for no correction). It `leaps` to its newest fit after a sudden change.
    """

    train: bool
    reason: str
    renew: bool = False
    members: tuple[Member, ...] = ALL
    belief: float = LATE
    reliance: float = 1.0
    leaps: bool = False
    back_to: int | None = None


class Decide(Protocol):
    """A way of deciding; called once for each batch whose labels come, in order, so it may remember."""

    def __call__(self, situation: Situation, /) -> Choice:
        """What to do now."""
