"""What a retraining policy sees and answers, whichever loop asks it: the seam between deciding and doing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlauto.records import Score, Verdict

__all__ = ["Check", "Choice", "Decide", "History", "Labelled", "Losses", "Situation"]

Losses = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class History:
    """What to fit on: the newest `window` batches (None: all), their weights halved every `half_life` batches."""

    half_life: float | None = None
    window: int | None = None

    def __str__(self) -> str:
        parts = [f"last {self.window} batches"] if self.window else []
        parts += [f"half-life {self.half_life:g}"] if self.half_life else []
        return ", ".join(parts) or "all history"


# the verdict of the live check: which model is live, its labelled rows' losses (oldest first), and its holdout's score
Check = Callable[[int, Losses, Score], Verdict]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A predicted batch whose labels are there: mean loss, its standard error, and the model that answered."""

    number: int
    rows: int
    loss: float
    error: float
    model: int


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when the labels of batch `newest` have come. Batches and models count from 0, in order of time.

    `scored` are all predicted batches with labels, oldest first; `fresh` of the labelled batches the newest model was
    not fitted on; `verdict` is that of the live check on the live model, None when nobody checks.
    """

    newest: int
    scored: Sequence[Labelled]
    live: int
    fresh: int
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do and why: train on `history`, or go `back_to` an earlier model, or neither."""

    train: bool
    reason: str
    history: History = History()
    back_to: int | None = None


class Decide(Protocol):
    """A way of deciding; called once for each batch whose labels come, in order, so it may remember."""

    def __call__(self, situation: Situation, /) -> Choice:
        """What to do now."""
