"""Fits on parts of one history, each done once: what a fit said is kept in a folder under the digest of its inputs.

Processes that share the folder wait for one another's fits instead of repeating them. A kept file that a crash or a
disk has damaged is made again. Models that average several histories are put together from their members' fits.
"""

import fcntl
import io
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.records import TrainingSet
from mlauto.runtime.keeping import use
from mlauto.store import atomic_write, digest_of
from mlauto.training.averaging import Group, able, averages, filled, mean_answer, weighty
from mlauto.training.backtest.models import Fit, Model, Trial
from mlauto.training.challenge import split
from mlauto.training.correcting import Tried, corrected_by, corrects, second_wins, tried
from mlauto.training.deciding import Losses
from mlauto.training.estimator import fitted, team_code
from mlauto.training.evaluate import Answers, compare, not_worse_than_champion, row_losses, score_of
from mlauto.training.training_set import AcceptedBatch, member_weights, weighted
from mlauto.training.weighting import with_shares

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fits", "Said"]

FORMAT = 3  # of the kept files
CLASSES = frozenset({"error_rate", "log_loss"})


@dataclass(frozen=True)
class Said:
    """What a fit says of rows: losses, numbers or probabilities (of `classes`, none without `predict_proba`).

    `seconds` are the fit's CPU seconds. Of an average, `parts` are the losses of the members in `groups`; `losses` are
    those of the corrected answers, `answers` the uncorrected ones.
    """

    losses: Losses
    answers: NDArray[np.float64]
    classes: NDArray[Any]
    seconds: float
    parts: tuple[Losses, ...] = ()
    groups: tuple[Group, ...] = ()


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
        sigmas: float | None = None,
    ) -> None:
        self.features = features
        self.labels = labels
        self.classes = np.unique(labels) if metric in CLASSES else np.empty(0)
        self.edges = tuple(edges)
        self.metric = metric
        self.estimator = estimator
        self.cache = cache
        self.sigmas = sigmas
        self.given = inputs
        self.inputs = digest_of(FORMAT, inputs, metric, self.edges)

    @property
    def rows(self) -> Sequence[int]:
        """The rows of each batch."""
        return [end - begin for begin, end in pairwise(self.edges)]

    @property
    def task(self) -> str:
        """What the metric is one of."""
        return "classification" if self.metric in CLASSES else "regression"

    def fit(self, model: Model) -> Fit:
        """The model's losses in all later batches. Raises `TrainingError` when it cannot be fitted or predict."""
        begin = self.edges[model.batches]
        found = self.said(model)
        ends = [edge - begin for edge in self.edges[model.batches + 1 :]]
        cut = [tuple(np.split(each, ends[:-1])) if ends else () for each in (found.losses, *found.parts)]
        means = [[float(losses.mean()) for losses in one] for one in cut[1:]]
        return Fit(
            later=cut[0],
            seconds=found.seconds,
            parts=_of_all(found.groups, len(model.members), means),
            tried=self._tried(found, ends, model),
            shown=self._shown(ends, model) if found.groups and ends and model.asked else None,
        )

    def _shown(self, ends: Sequence[int], model: Model) -> Callable[[int], tuple[float, float]]:
        """How the average does in a later batch by the shares of its training, and by those that losses ask for."""

        @cache
        def lost(shares: tuple[float, ...]) -> list[float]:
            losses = self.said(replace(model, members=with_shares(model.members, shares), tried=())).losses
            return [float(part.mean()) for part in np.split(losses, ends[:-1])]

        return lambda place: (lost(model.kept)[place], lost(model.asked)[place])

    def _tried(self, found: Said, ends: Sequence[int], model: Model) -> Callable[[int], Tried] | None:
        """How the average's correction did in a later batch, found out when it is asked for: few ever are."""
        if not found.groups or not ends or not corrects(self.metric, found.classes):
            return None
        truth, answers = self.labels[self.asked(model, 0)], found.answers
        if self.task == "classification":
            truth, answers = truth == found.classes[1], answers[:, 1]
        if not np.isfinite(answers).all():
            raise TrainingError("the estimator's probabilities are not finite")  # now: the champion then stays
        said, true = (np.split(each.astype(np.float64), ends[:-1]) for each in (answers, truth))
        offset = corrected_by(model.tried, model.belief).offset
        return cache(lambda place: tried(self.metric, said[place], true[place], offset))

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """The holdout's score by a model fitted without it, and whether the candidate may follow the champion.

        The rows and the test are those of training. Raises `TrainingError` as `fit` does.
        """
        there = self.training_set(replace(model, batches=model.known))
        rows = split(there, self.training_set(champion) if champion else None)
        own, seconds = self._held_out(model, rows.holdout)
        found = None
        if champion is not None and not rows.absent and self.sigmas is not None:
            found = compare(own, self._before(champion, model.known)[-rows.holdout :])
        verdict = not_worse_than_champion(found, limit=self.sigmas, absent=rows.absent)
        return Trial(
            reference=score_of(self.metric, own), passed=verdict.passed, summary=verdict.summary, seconds=seconds
        )

    def _held_out(self, model: Model, holdout: int) -> tuple[Losses, float]:
        """The losses of the newest rows by the model without them, and the CPU seconds that this took.

        Those of a renewed one were fitted on by nobody: only its correction must not know them.
        """
        if model.learned is None:
            own = self.said(model, holdout)
            return own.losses, own.seconds
        known = model.tried[: max(0, len(model.tried) - self._touched(model, holdout))]
        return self._before(replace(model, tried=known), model.known)[-holdout:], 0.0

    def _before(self, model: Model, batches: int) -> Losses:
        """A fitted model's losses in its later rows of the first so many batches."""
        return np.concatenate(self.fit(model).later)[: self.edges[batches] - self.edges[model.batches]]

    def said(self, model: Model, holdout: int = 0) -> Said:
        """What a model, fitted without the newest `holdout` rows of its history, says of those, or else of later rows.

        Raises `TrainingError` as `fit` does.
        """
        able_to = averages(self.estimator, self.task) or self.estimator is None  # made elsewhere: it shows
        if len(model.members) > 1 and able_to and (mean := self._mean(model, holdout)) is not None:
            return mean
        return self.one(model, holdout)

    def one(self, model: Model, holdout: int = 0) -> Said:
        """The same of a single fit, on the mixture of the members' histories where there are several; made once."""
        path = self.path_of(model, holdout)
        if (found := self._read(path)) is not None:
            return found
        with _locked(path.parent):
            if (found := self._read(path)) is not None:
                return found
            made = self._made(model, holdout)
            buffer = io.BytesIO()
            # errors are 0 or 1: one byte each
            small = made.losses.astype(np.uint8) if self.metric == "error_rate" else made.losses
            codes = np.searchsorted(self.classes, made.classes).astype(np.int64)
            seconds = np.float64(made.seconds)
            np.savez_compressed(buffer, losses=small, answers=made.answers, codes=codes, seconds=seconds)
            atomic_write(path, buffer.getvalue())
        return made

    def path_of(self, model: Model, holdout: int = 0) -> Path:
        """Where a single fit is kept, once it was made."""
        weights = self._weights(model, self.training_set(model))  # histories that weigh alike are one fit
        key = digest_of(self.inputs, model.batches, weights, holdout)
        return self.cache / key[:2] / f"{key}.npz"

    def training_set(self, model: Model) -> TrainingSet:
        """The batches that the model is fitted on, weighted as the live loop weights them."""
        batches = [
            AcceptedBatch(key=f"{number:06d}", digest=f"{number:06d}", rows=rows)
            for number, rows in enumerate(self.rows[: model.batches])
        ]
        return weighted(batches, model.members, total=model.batches)

    def _weights(self, model: Model, training_set: TrainingSet) -> list[float]:
        """The weight of each of these batches in the model's fit: none for strange ones."""
        return [0.0 if int(batch.key) in model.strange else batch.weight for batch in training_set.batches]

    def asked(self, model: Model, holdout: int) -> slice:
        """The rows that such a fit is asked for."""
        end = self.edges[model.batches]
        return slice(end - holdout, end) if holdout else slice(end, None)

    def _mean(self, model: Model, holdout: int) -> Said | None:
        """The average of the members' fits; None where they offer nothing that can be averaged."""
        chosen = self.training_set(model)
        there = [int(batch.key) not in model.strange for batch in chosen.batches]
        matrix = member_weights(chosen, model.members) * np.repeat(there, [batch.rows for batch in chosen.batches])
        end = self.edges[model.batches]
        used = slice(end - matrix.shape[1], end - holdout)
        groups = able(self.labels[used], matrix[:, : matrix.shape[1] - holdout], self.task)
        shares = [member.share for member in model.members]
        if holdout:
            groups = weighty(groups, shares)
        fits = self._each([_alone(model, group[0]) for group in groups], holdout)
        asked, classes, seconds = self.asked(model, holdout), fits[0].classes, sum(fit.seconds for fit in fits)
        parts, answers = tuple(fit.losses for fit in fits), np.empty(0)
        if len(self.labels[asked]):
            if self.task == "classification" and not len(classes):
                return None
            answers = mean_answer(
                [fit.answers for fit in fits], [sum(shares[one] for one in group) for group in groups]
            )
        known = model.tried[: max(0, len(model.tried) - self._touched(model, holdout))]
        amount = corrected_by(known, model.belief).amount if corrects(self.metric, classes) else 0.0
        return Said(self._corrected(answers, classes, asked, amount), answers, classes, seconds, parts, tuple(groups))

    def _touched(self, model: Model, holdout: int) -> int:
        """How many of the newest batches have rows that are held out: a trial is not corrected by what they show."""
        first = self.edges[model.known] - holdout
        return sum(first < end for end in self.edges[1 : model.known + 1])

    def _corrected(self, answers: NDArray[np.float64], classes: NDArray[Any], asked: slice, amount: float) -> Losses:
        """The losses of an average's answers, once they are corrected."""
        if not len(answers):
            return np.empty(0)
        if self.task == "regression":
            return self._losses(answers + amount, answers + amount, classes, asked)
        places = second_wins(answers[:, 1], amount).astype(np.intp) if amount else answers.argmax(axis=1)
        return self._losses(classes[places], answers, classes, asked)

    def _each(self, models: Sequence[Model], holdout: int) -> list[Said]:
        return [self.one(model, holdout) for model in models]

    def _made(self, model: Model, holdout: int) -> Said:
        chosen = self.training_set(model)
        end = self.edges[model.batches]
        weights = np.repeat(self._weights(model, chosen), [one.rows for one in chosen.batches])
        used = np.arange(end - len(weights), end - holdout)
        weights = weights[: len(used)]
        used, weights = used[weights > 0], weights[weights > 0]
        labels = self.labels[used]
        classes = set(labels.tolist())
        if self.task == "classification" and len(classes) < 2:
            raise TrainingError(
                f"all {len(labels)} rows to fit on are of the class {classes.pop()!r}: nothing to tell apart"
            )
        began = time.process_time()
        fit, _ = fitted(self.estimator, self.features.iloc[used], labels, weights)
        seconds = time.process_time() - began
        asked = self.asked(model, holdout)
        rows = self.features.iloc[asked]
        odds = self.task == "classification" and hasattr(fit, "predict_proba")
        named = np.asarray(fit.classes_) if odds else np.empty(0)
        if not len(rows):
            return Said(np.empty(0), np.empty(0), named, seconds)
        with team_code(f"predicting {len(rows):,} rows"):
            predicted = np.asarray(fit.predict(rows)).ravel()
            answers = np.asarray(fit.predict_proba(rows), dtype=np.float64) if odds else np.empty(0)
            if self.task == "regression":
                answers = predicted.astype(np.float64)
        return Said(self._losses(predicted, answers, named, asked), answers, named, seconds)

    def _losses(
        self, predicted: NDArray[Any], answers: NDArray[np.float64], classes: NDArray[Any], asked: slice
    ) -> Losses:
        truth = self.labels[asked]
        if len(predicted) != len(truth):
            raise TrainingError(f"predict returned {len(predicted)} values for {len(truth)} rows: one value per row")
        if self.metric == "error_rate":
            return np.asarray(predicted != truth, dtype=np.float64)
        if self.metric == "log_loss":
            if not len(classes):
                raise TrainingError("log_loss needs probabilities, and the estimator has no predict_proba")
            given = Answers(predictions=truth.tolist(), probabilities=answers.tolist(), classes=classes.tolist())
            losses = row_losses("log_loss", truth.tolist(), given)
        else:
            errors = answers - truth
            losses = np.abs(errors) if self.metric == "mae" else errors**2
        if not np.isfinite(losses).all():
            raise TrainingError("the estimator predicts values that are not finite")
        return losses

    def _read(self, path: Path) -> Said | None:
        """What was kept; None when nothing was, or what is there is damaged."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
                classes = self.classes[kept["codes"]]
                found = Said(kept["losses"].astype(np.float64), kept["answers"], classes, float(kept["seconds"]))
        except (FileNotFoundError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile, zlib.error):
            return None
        use(path)
        return found


def _alone(model: Model, place: int) -> Model:
    """The model that a member is by itself."""
    return replace(model, members=(replace(model.members[place], share=1.0),), tried=())


def _of_all(groups: Sequence[Group], members: int, parts: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """The mean losses of all members by batch, those that were left out filled in."""
    if not parts:
        return ()
    known = {place: part for group, part in zip(groups, parts, strict=True) for place in group}
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
