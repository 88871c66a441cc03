"""What passes between training and its child process: the request one way, evaluation and holdout the other."""

import itertools
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mlauto.averaged import Averaged
from mlauto.errors import TrainingError
from mlauto.records import Score
from mlauto.training.correcting import LATE
from mlauto.training.evaluate import Answers
from mlauto.training.search.candidates import SearchPlan
from mlauto.training.strange import Judges

__all__ = ["WRITTEN", "Evaluation", "FitRequest", "Holdout", "Importance", "Unseen", "check_written", "written"]

WRITTEN = ("artifact", "holdout.json", "error.json")  # what the child leaves in its output folder
Kind = TypeVar("Kind")


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much the mean loss grows when a column is shuffled: mean and standard deviation over the repeats."""

    column: str
    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """A batch by its digest: rows `first` to `end` - 1, and the model that answered when they came.

    `model` is its folder, `offset` the correction that it had, whether or not that was believed; `kept` and `asked` are
    the shares between which its own are, where it was renewed by late labels. Its fits knew batches up to so many
    before this one (`ahead`).
    """

    batch: str
    first: int
    end: int
    model: str
    offset: float = 0.0
    kept: tuple[float, ...] = ()
    asked: tuple[float, ...] = ()
    ahead: int = 1


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What to fit. `frame` (Parquet) holds the rows oldest to newest, `weights` (npy) one weight for each.

    Where several histories are to be averaged, `members` has their names and first shares, and `member_weights` (npy) a
    row of weights for each. `learned` is how they did before, as the live model has it; `unseen` are batches in which
    they can still show it. The average is corrected by what the newest of them ask for, of which so much is believed at
    first (`belief`, 0 for no correction); of the newest `held` of those that were learned from, rows are held out.

    Where `judges` find a batch strange it is left out: of those in `batches`, by digest, first row and end.

    `leaps` is the place of the member that most of the average is given to after a sudden change, None where nobody is.

    Where `renewed` names the folder of a model, nothing is fitted: its fits are averaged anew, by shares that are
    relied on so far at first (`reliance`).

    `cache` is a folder for what is the same for all models of this machine; `backend` and `address` the engine that
    fits are handed to; `search` what is to be searched before.
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
    members: tuple[tuple[str, float], ...] = ()
    member_weights: str = ""
    learned: Averaged | None = None
    unseen: tuple[Unseen, ...] = ()
    belief: float = LATE
    held: int = 0
    renewed: str = ""
    reliance: float = 1.0
    leaps: int | None = None
    judges: Judges | None = None
    batches: tuple[tuple[str, int, int], ...] = ()
    seed: int = 0
    exclude: tuple[str, ...] = ()
    timestamp: str | None = None
    limits: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    categories: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    backend: str = "local"
    address: str = ""
    search: SearchPlan | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of the model, `evaluation.json`. Scores are of the fit without the holdout, on the holdout.

    `weights` says how sample weights were used; `refused` names kinds of rows that the model cannot answer; `types` are
    the types in the model file beyond skops' own; `seconds` the time each step took. `compiled`: a plan was proven to
    answer the same, and is what will be served; `compiling` says why not, or what is amiss with it. `averaged` is there
    when the model averages several histories.
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
    averaged: Averaged | None = None


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """The newest rows as JSON values, their labels, the candidate's answers and the constant prediction's."""

    rows: tuple[dict[str, Any], ...]
    labels: tuple[Any, ...]
    answers: Answers
    baseline: Answers

    def newest(self, rows: int) -> "Holdout":
        """The newest of them, at most so many."""
        return self.part([at >= len(self.rows) - rows for at in range(len(self.rows))])

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


def check_written(output: Path, names: Sequence[str] = WRITTEN) -> None:
    """Raise `TrainingError` when among what the child wrote is anything but plain files, in the folder named first.

    The team's code ran there: a link could name any file of ours, and a pipe would never end.
    """
    found = [output / name for name in names]
    found += [Path(folder, name) for folder, below, files in os.walk(found[0]) for name in (*below, *files)]
    for path in found:
        if os.path.lexists(path) and not stat.S_ISREG(mode := path.lstat().st_mode) and not stat.S_ISDIR(mode):
            raise TrainingError(
                f"the training wrote {path.relative_to(output)}, which is no plain file: do not link there"
            )


def written(path: Path, kind: type[Kind]) -> Kind:
    """The record that the child wrote. Raises `TrainingError` when it is not whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        raise TrainingError(f"the training wrote no valid {path.name}: {error}") from error
