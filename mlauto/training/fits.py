"""Fits on parts of one history, each done once: what a fit lost is kept in a folder under the digest of its inputs.

Processes that share the folder wait for one another's fits instead of repeating them. A kept file that a crash or a
disk has damaged is made again.
"""

import fcntl
import io
import math
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.records import TrainingSet
from mlauto.store import atomic_write, digest_of
from mlauto.training.backtest import Fit, Model, Trial
from mlauto.training.challenge import split
from mlauto.training.deciding import Losses
from mlauto.training.estimator import fitted, team_code
from mlauto.training.evaluate import compare, not_worse_than_champion, score_of
from mlauto.training.training_set import AcceptedBatch, decayed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Fits"]

FORMAT = 2  # of the kept files, and of what a fit does with its inputs


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
        self.edges = tuple(edges)
        self.metric = metric
        self.estimator = estimator
        self.cache = cache
        self.sigmas = sigmas
        self.inputs = digest_of(FORMAT, inputs, metric, self.edges)

    def fit(self, model: Model) -> Fit:
        """The model's losses in all later batches. Raises `TrainingError` when it cannot be fitted or predict."""
        begin = self.edges[model.batches]
        losses, seconds = self._kept(model, 0, slice(begin, None))
        ends = [edge - begin for edge in self.edges[model.batches + 1 :]]
        return Fit(later=tuple(np.split(losses, ends[:-1])) if ends else (), seconds=seconds)

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """The holdout's score by a model fitted without it, and whether the candidate may follow the champion.

        The rows and the test are those of training. Raises `TrainingError` as `fit` does.
        """
        rows = split(self.training_set(model), self.training_set(champion) if champion else None)
        end = self.edges[model.batches]
        losses, seconds = self._kept(model, rows.holdout, slice(end - rows.holdout, end))
        found = None
        if champion is not None and not rows.absent:
            theirs = np.concatenate(self.fit(champion).later)[: end - self.edges[champion.batches]]
            found = compare(losses, theirs[-rows.holdout :], self.sigmas)
        verdict = not_worse_than_champion(found, limit=self.sigmas, absent=rows.absent)
        reference = score_of(self.metric, losses)
        return Trial(reference=reference, passed=verdict.passed, summary=verdict.summary, seconds=seconds)

    def training_set(self, model: Model) -> TrainingSet:
        """The batches that the model is fitted on, weighted as the live loop weights them."""
        history = model.history
        oldest = max(0, model.batches - history.window) if history.window else 0
        batches = [
            AcceptedBatch(key=f"{number:06d}", digest=f"{number:06d}", rows=self.edges[number + 1] - self.edges[number])
            for number in range(oldest, model.batches)
        ]
        return decayed(batches, history.half_life or math.inf, total=model.batches)

    def _kept(self, model: Model, holdout: int, asked: slice) -> tuple[Losses, float]:
        """Losses on the rows `asked` of a fit without the newest `holdout` rows, and its CPU seconds; made once."""
        history = model.history
        key = digest_of(self.inputs, model.batches, history.half_life, history.window, holdout)
        path = self.cache / key[:2] / f"{key}.npz"
        if (found := _read(path)) is not None:
            return found
        with _locked(path.parent):
            if (found := _read(path)) is not None:
                return found
            losses, seconds = self._losses(model, holdout, asked)
            buffer = io.BytesIO()
            # errors are 0 or 1: one byte each
            small = losses.astype(np.uint8) if self.metric == "error_rate" else losses
            np.savez_compressed(buffer, losses=small, seconds=np.float64(seconds))
            atomic_write(path, buffer.getvalue())
        return losses, seconds

    def _losses(self, model: Model, holdout: int, asked: slice) -> tuple[Losses, float]:
        chosen = self.training_set(model)
        end = self.edges[model.batches]
        weights = np.repeat([one.weight for one in chosen.batches], [one.rows for one in chosen.batches])
        used = slice(end - len(weights), end - holdout)
        labels = self.labels[used]
        classes = set(labels.tolist())
        if self.metric == "error_rate" and len(classes) < 2:
            raise TrainingError(
                f"all {len(labels)} rows to fit on are of the class {classes.pop()!r}: nothing to tell apart"
            )
        began = time.process_time()
        fit, _ = fitted(self.estimator, self.features.iloc[used], labels, weights[: len(labels)])
        seconds = time.process_time() - began
        truth = self.labels[asked]
        if not len(truth):
            return np.empty(0), seconds
        with team_code(f"predicting {len(truth):,} rows"):
            predicted = np.asarray(fit.predict(self.features.iloc[asked])).ravel()
        if len(predicted) != len(truth):
            raise TrainingError(f"predict returned {len(predicted)} values for {len(truth)} rows: one value per row")
        if self.metric == "error_rate":
            return np.asarray(predicted != truth, dtype=np.float64), seconds
        losses = np.abs(predicted.astype(np.float64) - truth)
        if not np.isfinite(losses).all():
            raise TrainingError("the estimator predicts values that are not finite")
        return losses, seconds


def _read(path: Path) -> tuple[Losses, float] | None:
    """What was kept; None when nothing was, or what is there is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as kept:
            return kept["losses"].astype(np.float64), float(kept["seconds"])
    except (FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel releases it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
