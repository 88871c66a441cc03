"""Fits on parts of one history, each done once: what a fit lost is kept in a folder under the digest of its inputs.

Processes that share the folder wait for one another's fits instead of repeating them. A kept file that a crash or a
disk has damaged is made again.
"""

import fcntl
import io
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.records import TrainingSet
from mlauto.store import atomic_write, digest_of
from mlauto.training.averaging import able, averages, filled, mean_answer
from mlauto.training.backtest import Fit, Model, Trial
from mlauto.training.challenge import split
from mlauto.training.deciding import Losses
from mlauto.training.estimator import fitted, team_code
from mlauto.training.evaluate import compare, not_worse_than_champion, score_of
from mlauto.training.training_set import AcceptedBatch, member_weights, weighted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fits"]

FORMAT = 2  # of the kept files


@dataclass(frozen=True)
class _Kept:
    """What one fit says of rows: losses, numbers or probabilities (of `classes`), and the CPU seconds of the fit."""

    losses: Losses
    answers: NDArray[np.float64]
    classes: NDArray[Any]
    seconds: float


@dataclass(frozen=True)
class _Averaged:
    """What a model loses, and what each of its members does that take part: those at `places`."""

    losses: Losses
    seconds: float
    parts: tuple[Losses, ...]
    places: tuple[int, ...]


class Fits:
    """The models of one history: `features` and `labels` of all rows, cut at `edges`, fitted by clones of `estimator`.

    `inputs` is the digest of what determines a fit beside its part of the history: data, columns, code, seed.
    """

    def __init__(
        self,
        features: "pd.DataFrame",
        labels: NDArray[Any],
        *,
        edges: Sequence[int],
        metric: str,
        estimator: Any,
        cache: Path,
        inputs: str,
        sigmas: float = 3.0,
    ) -> None:
        self.features = features
        self.labels = labels
        self.classes = np.unique(labels) if metric == "error_rate" else np.empty(0)
        self.edges = tuple(edges)
        self.metric = metric
        self.estimator = estimator
        self.cache = cache
        self.sigmas = sigmas
        self.inputs = digest_of(FORMAT, inputs, metric, self.edges)

    @property
    def rows(self) -> Sequence[int]:
        """The rows of each batch."""
        return [end - begin for begin, end in pairwise(self.edges)]

    @property
    def task(self) -> str:
        """What the metric is one of."""
        return "classification" if self.metric == "error_rate" else "regression"

    def fit(self, model: Model) -> Fit:
        """The model's losses in all later batches. Raises `TrainingError` when it cannot be fitted or predict."""
        begin = self.edges[model.batches]
        found = self._answers(model, 0, slice(begin, None))
        ends = [edge - begin for edge in self.edges[model.batches + 1 :]]
        cut = [tuple(np.split(each, ends[:-1])) if ends else () for each in (found.losses, *found.parts)]
        parts = tuple(tuple(float(losses.mean()) for losses in one) for one in cut[1:])
        return Fit(later=cut[0], seconds=found.seconds, parts=_all(found.places, len(model.members), parts))

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """The holdout's score by a model fitted without it, and whether the candidate may follow the champion.

        The rows and the test are those of training. Raises `TrainingError` as `fit` does.
        """
        rows = split(self.training_set(model), self.training_set(champion) if champion else None)
        end = self.edges[model.batches]
        own = self._answers(model, rows.holdout, slice(end - rows.holdout, end))
        found = None
        if champion is not None and not rows.absent:
            theirs = np.concatenate(self.fit(champion).later)[: end - self.edges[champion.batches]]
            found = compare(own.losses, theirs[-rows.holdout :], self.sigmas)
        verdict = not_worse_than_champion(found, limit=self.sigmas, absent=rows.absent)
        reference = score_of(self.metric, own.losses)
        return Trial(reference=reference, passed=verdict.passed, summary=verdict.summary, seconds=own.seconds)

    def training_set(self, model: Model) -> TrainingSet:
        """The batches that the model is fitted on, weighted as the live loop weights them."""
        batches = [
            AcceptedBatch(key=f"{number:06d}", digest=f"{number:06d}", rows=self.edges[number + 1] - self.edges[number])
            for number in range(model.batches)
        ]
        return weighted(batches, model.members, total=model.batches)

    def _answers(self, model: Model, holdout: int, asked: slice) -> _Averaged:
        """What the model loses on the rows `asked`, fitted without the newest `holdout` rows."""
        chosen = self.training_set(model)
        end = self.edges[model.batches]
        matrix = member_weights(chosen, model.members)
        used = slice(end - matrix.shape[1], end - holdout)
        matrix = matrix[:, : matrix.shape[1] - holdout]
        if len(model.members) == 1 or not averages(self.estimator, self.task):
            mixed = np.repeat([one.weight for one in chosen.batches], [one.rows for one in chosen.batches])
            one = self._kept(model, holdout, used=used, weights=mixed[: matrix.shape[1]], asked=asked)
            return _Averaged(one.losses, one.seconds, (), ())
        places = able(self.labels[used], matrix, self.task)
        fits = [
            self._kept(_alone(model, place), holdout, used=used, weights=matrix[place], asked=asked) for place in places
        ]
        answers = mean_answer([fit.answers for fit in fits], [model.members[place].share for place in places])
        losses = self._losses(fits[0].classes[answers.argmax(axis=1)] if answers.ndim > 1 else answers, asked)
        seconds = sum(fit.seconds for fit in fits)
        return _Averaged(losses, seconds, tuple(fit.losses for fit in fits), tuple(places))

    def _kept(self, model: Model, holdout: int, *, used: slice, weights: Losses, asked: slice) -> _Kept:
        """One fit on the rows `used`, and what it says of the rows `asked`; made once."""
        histories = [(one.history.half_life, one.history.window, one.share) for one in model.members]
        key = digest_of(self.inputs, model.batches, histories, holdout)
        path = self.cache / key[:2] / f"{key}.npz"
        if (found := self._read(path)) is not None:
            return found
        with _locked(path.parent):
            if (found := self._read(path)) is not None:
                return found
            made = self._made(used, weights, asked)
            buffer = io.BytesIO()
            # errors are 0 or 1: one byte each
            small = made.losses.astype(np.uint8) if self.metric == "error_rate" else made.losses
            codes = np.searchsorted(self.classes, made.classes) if len(made.classes) else np.empty(0, dtype=np.intp)
            np.savez_compressed(
                buffer, losses=small, answers=made.answers, codes=codes, seconds=np.float64(made.seconds)
            )
            atomic_write(path, buffer.getvalue())
        return made

    def _made(self, used: slice, weights: Losses, asked: slice) -> _Kept:
        needed = weights > 0
        labels = self.labels[used][needed]
        classes = set(labels.tolist())
        if self.task == "classification" and len(classes) < 2:
            raise TrainingError(
                f"all {len(labels)} rows to fit on are of the class {classes.pop()!r}: nothing to tell apart"
            )
        began = time.process_time()
        fit, _ = fitted(self.estimator, self.features.iloc[used][needed], labels, weights[needed])
        seconds = time.process_time() - began
        rows = self.features.iloc[asked]
        if not len(rows):
            return _Kept(np.empty(0), np.empty(0), np.empty(0), seconds)
        odds = self.task == "classification" and hasattr(fit, "predict_proba")
        with team_code(f"predicting {len(rows):,} rows"):
            predicted = np.asarray(fit.predict(rows)).ravel()
            answers = np.asarray(fit.predict_proba(rows), dtype=np.float64) if odds else np.empty(0)
        if self.task == "regression":
            answers = predicted.astype(np.float64)
        return _Kept(
            self._losses(predicted, asked), answers, np.asarray(fit.classes_) if odds else np.empty(0), seconds
        )

    def _losses(self, predicted: NDArray[Any], asked: slice) -> Losses:
        truth = self.labels[asked]
        if len(predicted) != len(truth):
            raise TrainingError(f"predict returned {len(predicted)} values for {len(truth)} rows: one value per row")
        if self.task == "classification":
            return np.asarray(predicted != truth, dtype=np.float64)
        losses: Losses = np.abs(predicted.astype(np.float64) - truth)
        if not np.isfinite(losses).all():
            raise TrainingError("the estimator predicts values that are not finite")
        return losses

    def _read(self, path: Path) -> _Kept | None:
        """What was kept; None when nothing was, or what is there is damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                classes = self.classes[kept["codes"]]
                return _Kept(kept["losses"].astype(np.float64), kept["answers"], classes, float(kept["seconds"]))
        except (FileNotFoundError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile, zlib.error):
            return None


def _alone(model: Model, place: int) -> Model:
    """The model that a member is by itself."""
    return replace(model, members=(replace(model.members[place], share=1.0),))


def _all(places: Sequence[int], members: int, parts: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """The mean losses of all members by batch, those that were left out filled in."""
    if not parts:
        return ()
    known = dict(zip(places, parts, strict=True))
    rows = [
        filled([known[one][batch] if one in known else None for one in range(members)])
        for batch in range(len(parts[0]))
    ]
    return tuple(zip(*rows, strict=True))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
