"""What training asks its child process to do: the rows, their weights, and whose members have proven what."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel, TrainingSet
from mlauto.store import Store, tree_digest
from mlauto.training.correcting import first_belief
from mlauto.training.exchange import FitRequest, Unseen
from mlauto.training.strange import judges_of
from mlauto.training.training_set import load_frame, member_weights
from mlauto.training.weighting import RECALLED, Member, first_reliance, members_of, shortest

__all__ = ["fit_request"]

SPARE = 4  # models that were trained between batches


def fit_request(
    product: ModelProduct,
    training_set: TrainingSet,
    holdout: int,
    store: Store,
    scratch: Path,
    *,
    tree: Path,
    champion: TrainedModel | None,
    lag: int = 0,
    renew: bool = False,
) -> FitRequest:
    """What the child is to do; rows and weights are written to `scratch`, which is where it writes too.

    `lag`: labels come so many batches late. To `renew` is to average the champion's fits anew. Raises `DataError` or
    `StoreError` when the training set cannot be read, `TrainingError` when a model was changed in the store.
    """
    frame, weights, _ = load_frame(store, training_set)
    frame.to_parquet(scratch / "frame.parquet", index=False)
    np.save(scratch / "weights.npy", weights, allow_pickle=False)
    request = FitRequest(
        tree=str(tree),
        estimator=product.code.estimator,
        frame=str(scratch / "frame.parquet"),
        weights=str(scratch / "weights.npy"),
        holdout=holdout,
        target=product.data.target,
        task=product.data.task,
        metric=product.metric,
        output=str(scratch),
        cache=str(store.home / "native"),
        seed=product.training.seed,
        exclude=product.data.exclude,
        timestamp=product.data.timestamp,
        limits=product.data.limits,
        categories=product.data.categories,
    )
    members = members_of(product.training)
    if len(members) == 1:
        return request
    digests, ends = [batch.digest for batch in training_set.batches], _ends(training_set)
    np.save(scratch / "member_weights.npy", member_weights(training_set, members), allow_pickle=False)
    return replace(
        request,
        members=tuple((str(one.history), one.share) for one in members),
        member_weights=str(scratch / "member_weights.npy"),
        belief=first_belief(lag) if product.training.corrected else 0.0,
        reliance=first_reliance(lag),
        leaps=shortest(members) if product.training.leaps else None,
        judges=judges_of(members),
        batches=tuple(zip(digests, ends[:-1], ends[1:], strict=True)),
        renewed=_unchanged(store, champion) if renew and champion else "",
        **_learned(product, members, training_set, champion, store, lag=lag, holdout=holdout),
    )


def _learned(
    product: ModelProduct,
    members: Sequence[Member],
    training_set: TrainingSet,
    champion: TrainedModel | None,
    store: Store,
    *,
    lag: int,
    holdout: int,
) -> dict[str, Any]:
    """What is known of the members from the champion, and where they can be asked how they did since.

    A batch is answered by the newest model that was fitted `lag` batches before it: so far ahead a model has to see.
    What came before that, the first one answered.
    """
    names = tuple(str(one.history) for one in members)
    if champion is None or champion.averaged is None or champion.averaged.histories != names:
        return {}
    place = {batch.digest: number for number, batch in enumerate(training_set.batches)}
    able = {
        max((place.get(batch, -1) for batch in _seen(model)), default=-1): model
        for model in reversed(_newest(store, product, champion, lag))  # the newest of equals stays
        if model.averaged is not None and model.averaged.histories == names and store.holds_tree(model.artifact)
    }
    ends = _ends(training_set)
    unseen = []
    for batch, number in place.items():
        before = [fitted for fitted in able if fitted < number]
        known = max((fitted for fitted in before if fitted < number - lag), default=min(before, default=None))
        if known is not None and batch not in champion.averaged.batches:
            model = able[known]
            fitted = max((place.get(one.digest, -1) for one in model.training_set.batches), default=-1)
            rows = range(ends[number], ends[number + 1])
            unseen.append(_unseen(store, batch, rows, model, number - fitted))
    held = sum(ends[place[batch] + 1] > ends[-1] - holdout for batch in champion.averaged.batches if batch in place)
    return {"learned": champion.averaged, "unseen": tuple(unseen[-RECALLED:]), "held": held}


def _ends(training_set: TrainingSet) -> list[int]:
    """The rows before each batch, and of all."""
    return list(itertools.accumulate((batch.rows for batch in training_set.batches), initial=0))


def _unseen(store: Store, batch: str, rows: range, model: TrainedModel, ahead: int) -> Unseen:
    """A batch that the model answered, so far ahead of what its fits knew."""
    known = model.averaged
    return Unseen(
        batch=batch,
        first=rows.start,
        end=rows.stop,
        model=_unchanged(store, model),
        offset=known.offset if known else 0.0,
        kept=known.kept if known else (),
        asked=known.asked if known else (),
        ahead=ahead,
    )


def _newest(store: Store, product: ModelProduct, champion: TrainedModel, lag: int) -> list[TrainedModel]:
    """The champion, and as many good models before it as the lag may need, newest first."""
    if not lag or not champion.version.isdecimal():
        return [champion]
    older = sorted((int(name) for name in store.record_names(product.name, "models") if name.isdecimal()), reverse=True)
    found = [champion]
    for version in older:
        if version < int(champion.version) and len(found) <= lag + SPARE:
            model = store.read_record(product.name, f"models/{version}", TrainedModel)
            found += [model] if model is not None and model.passed else []
    return found


def _seen(model: TrainedModel) -> Iterator[str]:
    """The batches, by digest, that were known when it was made."""
    yield from (batch.digest for batch in model.training_set.batches)
    yield from model.averaged.batches if model.averaged and model.renewal else ()


def _unchanged(store: Store, model: TrainedModel) -> str:
    """The folder of a model's files. Raises `TrainingError` when they are not what they were."""
    folder = store.tree_path(model.artifact)
    if tree_digest(folder) != model.artifact:
        raise TrainingError(f"the artifact of version {model.version} was changed in the store: {folder}")
    return str(folder)
