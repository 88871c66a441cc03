"""What passes between training and its child process: the request one way, evaluation and holdout the other."""

from dataclasses import dataclass
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
