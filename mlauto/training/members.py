"""How the training child fits: one estimator on weighted rows, or one for each history, averaged by learned shares."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.averaged import Averaged
from mlauto.errors import TrainingError
from mlauto.serving import trust
from mlauto.training.averaging import (
    Group,
    able,
    answers_in,
    average_in,
    averaged,
    averages,
    fits_in,
    mean_loss,
    member_losses,
    tried_on,
    weighty,
)
from mlauto.training.correcting import NONE, Tried, corrected_by, corrects
from mlauto.training.estimator import fitted
from mlauto.training.evaluate import batch_metric
from mlauto.training.exchange import FitRequest
from mlauto.training.strange import strange
from mlauto.training.weighting import RECALLED, leapt, renewed_shares, shares_after, smoothed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Recipe", "recipe"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """`weights` has a row for each member and a column for each row of the data; `averaged` is None for one member.

    A `trial` is corrected by what was known without the batches that it is tried on, `before_trial`. What is `ready` is
    not fitted again: an older average's members by their places, which never saw what they are tried on.
    """

    estimator: Any
    task: str
    weights: Floats
    averaged: Averaged | None = None
    before_trial: float = 0.0
    trial: bool = False
    ready: Mapping[Group, Any] = field(default_factory=dict)

    def part(self, rows: slice) -> "Recipe":
        """The same for some of the rows, to be tried on others: without members that hardly count."""
        return replace(self, weights=self.weights[:, rows], trial=True)

    def fit(self, features: "pd.DataFrame", labels: NDArray[Any]) -> tuple[Any, str]:
        """The fitted model, and a sentence on how the sample weights were used. Rows without weight are left out."""
        if self.averaged is None:
            return fitted(self.estimator, features, labels, self.weights[0])
        amount = self.before_trial if self.trial else self.averaged.amount
        if self.ready:
            return averaged(self.ready, self.averaged.shares, self.task, amount=amount), "fitted before"
        models, said = {}, ""
        groups = able(labels, self.weights, self.task)
        for group in weighty(groups, self.averaged.shares) if self.trial else groups:
            weights = self.weights[group[0]]
            needed = weights > 0
            models[group], how = fitted(self.estimator, features[needed], labels[needed], weights[needed])
            said = how if not said or (weights[needed] != 1).any() else said
        return averaged(models, self.averaged.shares, self.task, amount=amount), said


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
    names = tuple(name for name, _ in request.members)
    before, since = request.learned or Averaged(histories=names, shares=()), _since(request, features, labels, there)
    losses = (*before.losses, *(one.losses for one in since))[-RECALLED:]
    ahead = _ahead(before, since)
    batches = (*before.batches, *(one.batch for one in since))[-RECALLED:]
    out = _strange(request, before.strange, batches, losses, ahead)
    tried = (*before.tried, *(one.tried for one in since if one.tried))[-RECALLED:]
    kept = before.tried[: max(0, len(before.tried) - request.held)]
    older = (*kept, *(one.tried for one in since if one.tried and one.end <= len(labels) - request.holdout))[-RECALLED:]
    shown = (*before.shown, *(one.shown for one in since if one.shown))[-RECALLED:]
    shares = asked = shares_after([share for _, share in request.members], losses)
    unmoved = before.kept or before.shares
    if request.leaps is not None:
        shares = leapt(shares, losses, request.leaps)
    if request.renewed:
        shares = renewed_shares(unmoved, asked, shown, request.reliance)
    corrected = request.belief > 0 and corrects(
        request.metric, np.unique(labels) if request.task == "classification" else ()
    )
    correction, known = (corrected_by(one, request.belief) if corrected else NONE for one in (tried, older))
    said = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, shares, strict=True))
    print(f"averaging {len(names)} histories: {said}; corrected by {correction.amount:.4g}", flush=True)
    return Recipe(
        estimator,
        request.task,
        _weights(request, out, there),
        Averaged(
            histories=names,
            shares=shares,
            losses=losses,
            batches=batches,
            offset=correction.offset,
            amount=correction.amount,
            tried=tried,
            kept=unmoved if request.renewed else (),
            asked=asked if request.renewed else (),
            shown=shown,
            ahead=ahead,
            strange=out,
            spoiled=_spoiled(before, out) if request.renewed else (),
        ),
        before_trial=known.amount,
        ready=fits_in(average_in(_loaded(Path(request.renewed)))) if request.renewed else {},
    )


def _ahead(before: Averaged, since: Sequence["_Shown"]) -> tuple[int, ...]:
    """How far ahead of its fits each batch was answered; too far to tell where an older record does not say it."""
    untold = (RECALLED,) * (len(before.losses) - len(before.ahead))
    return (*untold, *before.ahead, *(one.ahead for one in since))[-RECALLED:]


def _strange(
    request: FitRequest,
    before: Sequence[str],
    batches: Sequence[str],
    losses: Sequence[Sequence[float]],
    ahead: Sequence[int],
) -> tuple[str, ...]:
    """The batches, by digest, that are left out: those that were `before`, and those that are found now."""
    found = () if request.judges is None else strange(losses, ahead, request.judges)
    return tuple(dict.fromkeys((*before, *(batches[at] for at in found))))[-RECALLED:]


def _spoiled(before: Averaged, out: Sequence[str]) -> tuple[str, ...]:
    """The batches that an average's own fits were not made without: of those left `out` now, what was found since."""
    since = (batch for batch in out if batch not in before.strange)
    return tuple(dict.fromkeys((*before.spoiled, *since)))[-RECALLED:]


def _weights(request: FitRequest, out: Collection[str], there: NDArray[np.bool_]) -> Floats:
    """Each member's weights of the labelled rows; none for batches that are left `out`."""
    weights = np.load(request.member_weights, allow_pickle=False)
    for batch, first, end in request.batches:
        if batch in out and not request.renewed:
            print(f"left out: the {end - first:,} rows of batch {batch[:12]}, strange by themselves", flush=True)
            weights[:, first:end] = 0.0
    labelled: Floats = weights[:, there]
    return labelled


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """What a model showed in a batch, by its digest, that it was not fitted on; it ends before labelled row `end`.

    Its fits knew batches up to so many before that one (`ahead`).
    `shown` is its mean loss by the shares of its training, and by those that losses asked for since, if it was renewed.
    """

    batch: str
    end: int
    ahead: int
    losses: tuple[float, ...]
    tried: Tried | None
    shown: tuple[float, float] | None


def _since(
    request: FitRequest, features: "pd.DataFrame", labels: NDArray[Any], there: NDArray[np.bool_]
) -> list[_Shown]:
    """Of the batches that the models before were not fitted on; none of models that cannot be asked."""
    before = np.concatenate([[0], np.cumsum(there)])
    found, models, metric = list[_Shown](), dict[str, Any](), batch_metric(request.metric)
    for batch in request.unseen:
        a, b = before[batch.first], before[batch.end]
        if a == b:
            continue
        try:
            if batch.model not in models:
                models[batch.model] = average_in(_loaded(Path(batch.model)))
            voting, rows, truth = models[batch.model], features.iloc[a:b], labels[a:b]
            said = answers_in(voting, rows, request.task)
            means = member_losses(said, len(request.members), truth.tolist(), metric=metric)
            losses = tuple(smoothed(metric, loss, len(truth)) for loss in means)
            tried = tried_on(said, voting.weights, truth, offset=batch.offset, metric=metric)
            shown = None
            if batch.asked:
                without = mean_loss(said, batch.kept, truth.tolist(), metric=metric)
                shown = (without, mean_loss(said, batch.asked, truth.tolist(), metric=metric))
        except (TrainingError, trust.UntrustedTypeError) as error:
            # another commit's columns or types: the shares stay where they were
            print(f"an earlier model's histories could not be compared on a new batch: {error}", flush=True)
        else:
            found.append(
                _Shown(batch=batch.batch, end=int(b), ahead=batch.ahead, losses=losses, tried=tried, shown=shown)
            )
    return found


def _loaded(folder: Path) -> Any:
    trust.import_skops_quickly()
    own = msgspec.json.decode((folder / "trusted.json").read_bytes(), type=list[str])
    return trust.load_model(folder / "model.skops", own)
