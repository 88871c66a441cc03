"""What an average of histories is still off by: as the newest labelled batch says, believed as far as that has helped.

The correction is one number. Predicted numbers are moved by it; of two classes that are judged by their labels it moves
the log-odds of the second one, which is to say the threshold. Pure functions of numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.training.weighting import believed

__all__ = [
    "LATE",
    "NONE",
    "Correction",
    "Tried",
    "corrected_by",
    "corrects",
    "first_belief",
    "second_wins",
    "threshold_of",
    "tried",
]

Floats = NDArray[np.float64]

AT_ONCE = 0.3  # the belief to begin with
LATE = 0.1  # where labels are: what a batch asks for may have passed when it is known
PRIOR_ROWS = 100.0  # a batch of so many rows moves an average half as far as it would by itself
LEAST_ODDS = 1e-3  # a probability closer to 0 or 1 says no more about the odds


class Tried(NamedTuple):
    """One labelled batch, for the average that answered it, and `best`, the correction that the batch itself asks for.

    Its mean loss `without` any correction, and when `moved` by all of the one that it had.
    """

    without: float
    moved: float
    best: float


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What the newest batch asks for, and the share of it (0 to 1) that is applied."""

    offset: float = 0.0
    belief: float = 0.0

    @property
    def amount(self) -> float:
        """What is applied."""
        return self.offset * self.belief


NONE = Correction()


def corrects(metric: str, classes: Sequence[Any] | NDArray[Any]) -> bool:
    """Whether averages of this kind are corrected: numbers, and two classes where only the label counts."""
    return len(classes) == 0 or (len(classes) == 2 and metric == "error_rate")


def first_belief(lag: int) -> float:
    """How far a correction is believed before it was tried, when labels come `lag` batches late."""
    return LATE if lag else AT_ONCE


def corrected_by(batches: Sequence[Sequence[float]], first: float = LATE) -> Correction:
    """The correction after such labelled batches (as `Tried`), oldest first; belief begins with `first`.

    Where labels are late, or what a batch asks for does not last, belief goes to nothing and stays there.
    """
    if not batches:
        return NONE
    belief = believed(first, [(without, moved) for without, moved, _ in batches])
    return Correction(offset=batches[-1][2], belief=belief)


def tried(metric: str, answers: Floats, truth: Floats, offset: float) -> Tried:
    """How an average that had `offset` did in a batch: its unmoved `answers` beside the `truth`.

    Answers are numbers, or probabilities of the second class beside 1 (it is the truth) and 0. Raises `TrainingError`
    when they are not finite.
    """
    if not np.isfinite(answers).all():
        raise TrainingError("the average's answers to a labelled batch are not finite")
    if metric == "error_rate":
        losses = [float((second_wins(answers, by) != (truth > 0)).mean()) for by in (0.0, offset)]
        best = _odds_asked_for(answers, truth)
    else:
        errors = [answers + by - truth for by in (0.0, offset)]
        losses = [float((np.abs(error) if metric == "mae" else error**2).mean()) for error in errors]
        middle = np.median(-errors[0]) if metric == "mae" else np.mean(-errors[0])
        best = float(middle) * len(truth) / (len(truth) + PRIOR_ROWS)
    return Tried(losses[0], losses[1], best)


def threshold_of(amount: float) -> float:
    """The probability of the second class from which on it is predicted, when its log-odds are moved by so much."""
    return 1 / (1 + math.exp(amount))


def second_wins(odds: Floats, amount: float) -> NDArray[np.bool_]:
    """Where the second class is predicted; unmoved, as an average does: the first class wins a tie."""
    return np.asarray(odds >= threshold_of(amount) if amount else odds > 0.5)


def _odds_asked_for(odds: Floats, truth: Floats) -> float:
    """The log-odds that make the batch most likely, with a normal prior that weighs as much as some rows."""
    from scipy.optimize import brentq
    from scipy.special import expit, logit

    given = logit(np.clip(odds, LEAST_ODDS, 1 - LEAST_ODDS))
    most = len(truth) / PRIOR_ROWS + 1e-9  # there the prior outweighs every row

    def slope(by: float) -> float:
        return float((truth - expit(given + by)).sum() - PRIOR_ROWS * by)

    return float(brentq(slope, -most, most))
