"""How the training child fits: one estimator on weighted rows, or one for each history, averaged by learned shares."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError
from mlauto.records import Averaged
from mlauto.serving import trust
from mlauto.training.averaging import able, averaged, averages, member_losses, weighty
from mlauto.training.estimator import fitted
from mlauto.training.evaluate import batch_metric
from mlauto.training.exchange import FitRequest
from mlauto.training.weighting import RECALLED, shares_after

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Recipe", "recipe"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """`weights` has a row for each member and a column for each row of the data; `averaged` is None for one member."""

    estimator: Any
    task: str
    weights: Floats
    averaged: Averaged | None = None
    trial: bool = False

    def part(self, rows: slice) -> "Recipe":
        """The same for some of the rows, to be tried on others: without members that hardly count."""
        return replace(self, weights=self.weights[:, rows], trial=True)

    def fit(self, features: "pd.DataFrame", labels: NDArray[Any]) -> tuple[Any, str]:
        """The fitted model, and a sentence on how the sample weights were used. Rows without weight are left out."""
        if self.averaged is None:
            return fitted(self.estimator, features, labels, self.weights[0])
        models, said = {}, ""
        groups = able(labels, self.weights, self.task)
        for group in weighty(groups, self.averaged.shares) if self.trial else groups:
            weights = self.weights[group[0]]
            needed = weights > 0
            models[group], said = fitted(self.estimator, features[needed], labels[needed], weights[needed])
        return averaged(models, self.averaged.shares, self.task), said


def recipe(
    request: FitRequest,
    estimator: Any,
    features: "pd.DataFrame",
    labels: NDArray[Any],
    weights: Floats,
    *,
    there: NDArray[np.bool_],
) -> Recipe:
    """What the request asks for; members' shares follow how the champion's have done in the batches it never saw.

    `there` says which of the request's rows have a label: only those are in `features`, `labels` and `weights`, which
    are the mixture of all histories.
    """
    if not request.members or not averages(estimator, request.task):
        return Recipe(estimator, request.task, weights[np.newaxis])
    learned = (*request.learned, *_since(request, features, labels, there))[-RECALLED:]
    losses = tuple(row for _, row in learned)
    shares = shares_after([share for _, share in request.members], losses)
    names = tuple(name for name, _ in request.members)
    said = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True))
    print(f"averaging {len(names)} histories: {said}", flush=True)
    each = np.load(request.member_weights, allow_pickle=False)[:, there]
    return Recipe(
        estimator,
        request.task,
        each,
        Averaged(histories=names, shares=shares, losses=losses, batches=tuple(batch for batch, _ in learned)),
    )


def _since(
    request: FitRequest, features: "pd.DataFrame", labels: NDArray[Any], there: NDArray[np.bool_]
) -> list[tuple[str, tuple[float, ...]]]:
    """The members' losses in batches that they were not fitted on, by digest; none of models that cannot be asked."""
    before = np.concatenate([[0], np.cumsum(there)])
    found, models = [], dict[str, Any]()
    for batch in request.unseen:
        a, b = before[batch.first], before[batch.end]
        if a == b:
            continue
        try:
            if batch.model not in models:
                models[batch.model] = _loaded(Path(batch.model))
            losses = member_losses(
                models[batch.model],
                len(request.members),
                features.iloc[a:b],
                labels[a:b].tolist(),
                metric=batch_metric(request.metric),
                task=request.task,
            )
        except (TrainingError, trust.UntrustedTypeError) as error:
            # another commit's columns or types: the shares stay where they were
            print(f"an earlier model's histories could not be compared on a new batch: {error}", flush=True)
        else:
            found.append((batch.batch, losses))
    return found


def _loaded(folder: Path) -> Any:
    trust.import_skops_quickly()
    own = msgspec.json.decode((folder / "trusted.json").read_bytes(), type=list[str])
    return trust.load_model(folder / "model.skops", own)
