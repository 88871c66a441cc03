"""What passes between training and its child process: the request one way, evaluation and holdout the other."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlauto.records import Score
from mlauto.training.evaluate import Answers

__all__ = ["Evaluation", "FitRequest", "Holdout", "Importance"]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much the mean loss grows when a column is shuffled: mean and standard deviation over the repeats."""

    column: str
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit. `frame` (Parquet) holds the rows oldest to newest, `weights` (npy) one weight for each.

    `cache` is a folder for what is the same for all models of this machine.
    """

    tree: str
    estimator: str
    frame: str
    weights: str
    holdout: int
    target: str
    task: str
    metric: str
    output: str
    cache: str
    seed: int = 0
    exclude: tuple[str, ...] = ()
    timestamp: str | None = None
    limits: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    categories: dict[str, tuple[str | int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of the model, `evaluation.json`. Scores are of the fit without the holdout, on the holdout.

    `weights` says how sample weights were used; `refused` names kinds of rows that the model cannot answer; `types` are
    the types in the model file beyond skops' own; `seconds` the time each step took. `compiled`: a plan was proven to
    answer the same, and is what will be served; `compiling` says why not, or what is amiss with it.
    """

    estimator: str
    parameters: dict[str, str]
    seeded: tuple[str, ...]
    weights: str
    rows: int
    holdout: int
    scores: tuple[Score, ...]
    baseline: tuple[Score, ...]
    importances: tuple[Importance, ...]
    finite: bool
    reloads: bool
    refused: dict[str, str]
    types: tuple[str, ...]
    requirements: tuple[str, ...]
    seconds: dict[str, float]
    compiled: bool = False
    compiling: str = ""


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The newest rows as JSON values, their labels, the candidate's answers and the constant prediction's."""

    rows: tuple[dict[str, Any], ...]
    labels: tuple[Any, ...]
    answers: Answers
    baseline: Answers

    def part(self, keep: Sequence[bool]) -> "Holdout":
        """The rows for which `keep` is true."""
        return Holdout(
            rows=tuple(itertools.compress(self.rows, keep)),
            labels=tuple(itertools.compress(self.labels, keep)),
            answers=_part(self.answers, keep),
            baseline=_part(self.baseline, keep),
        )


def _part(answers: Answers, keep: Sequence[bool]) -> Answers:
    odds = answers.probabilities
    return Answers(
        predictions=tuple(itertools.compress(answers.predictions, keep)),
        probabilities=None if odds is None else tuple(itertools.compress(odds, keep)),
        classes=tuple(answers.classes),
    )
