"""What a replay sees of models: what determines one, what a fit of it said, and where fits come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlauto.records import Score
from mlauto.training.correcting import LATE, Tried
from mlauto.training.deciding import Losses
from mlauto.training.weighting import Member

__all__ = ["Fit", "Model", "Models", "Trial"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model by what determines it: fitted when the first `batches` batches had labels, on its members' histories.

    Where it averages several, the mean is corrected by what the newest batches have shown, `tried`, oldest first,
    of which so much was believed at first. A renewed one was averaged when the first `learned` batches had labels, of
    the fits that there were; its shares are between those that they were trained with (`kept`) and those that losses
    ask for since (`asked`). Batches that are `strange`, by number, are left out of all histories.
    """

    batches: int
    members: tuple[Member, ...]
    tried: tuple[Tried, ...] = ()
    belief: float = LATE
    learned: int | None = None
    kept: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()
    strange: tuple[int, ...] = ()

    @property
    def known(self) -> int:
        """How many batches had labels when it was made."""
        return self.batches if self.learned is None else self.learned


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted model: each row's loss in the batches from the model's own `batches` on, and the CPU seconds it took.

    `parts` has each member's mean loss in those batches, where there are several; `tried` tells what the first of them
    (0), the next and so on show of the correction, where there can be one, and `shown` their mean loss by the shares of
    the training and by those that losses ask for since, where the model was renewed.
    """

    later: Sequence[Losses]
    seconds: float
    parts: Sequence[Sequence[float]] = ()
    tried: Callable[[int], Tried] | None = None
    shown: Callable[[int], tuple[float, float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate's score on its holdout, whether it may follow the champion, why (not), and its CPU seconds."""

    reference: Score
    passed: bool
    summary: str
    seconds: float


class Models(Protocol):
    """Where fits come from. Both raise `TrainingError` when a model cannot be fitted: the champion then stays."""

    @property
    def rows(self) -> Sequence[int]:
        """The rows of each batch."""

    def fit(self, model: Model) -> Fit:
        """The fitted model."""

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """What training says of the candidate."""
