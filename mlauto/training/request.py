"""What training asks its child process to do: the rows, their weights, and whose members have proven what."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel, TrainingSet
from mlauto.store import Store, tree_digest
from mlauto.training.exchange import FitRequest
from mlauto.training.training_set import load_frame, member_weights
from mlauto.training.weighting import RECALLED, Member, members_of

__all__ = ["fit_request"]


def fit_request(
    product: ModelProduct,
    training_set: TrainingSet,
    *,
    tree: Path,
    holdout: int,
    store: Store,
    scratch: Path,
    champion: TrainedModel | None,
) -> FitRequest:
    """What the child is to do; rows and weights are written to `scratch`, which is where it writes too.

    Raises `DataError` or `StoreError` when the training set cannot be read, `TrainingError` when the champion was
    changed in the store.
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
    np.save(scratch / "member_weights.npy", member_weights(training_set, members), allow_pickle=False)
    return replace(
        request,
        members=tuple((str(one.history), one.share) for one in members),
        member_weights=str(scratch / "member_weights.npy"),
        **_learned(members, training_set, champion, store),
    )


def _learned(
    members: Sequence[Member], training_set: TrainingSet, champion: TrainedModel | None, store: Store
) -> dict[str, Any]:
    """What is known of the members from the champion, and where its own can be asked how they did since."""
    if champion is None or champion.averaged is None or not store.holds_tree(champion.artifact):
        return {}
    if champion.averaged.histories != tuple(str(one.history) for one in members):
        return {}
    known = {batch.digest for batch in champion.training_set.batches}
    ends = list(itertools.accumulate((batch.rows for batch in training_set.batches), initial=0))
    unseen = [ends[place : place + 2] for place, batch in enumerate(training_set.batches) if batch.digest not in known]
    folder = store.tree_path(champion.artifact)
    if tree_digest(folder) != champion.artifact:
        raise TrainingError(f"the artifact of version {champion.version} was changed in the store: {folder}")
    return {
        "learned": champion.averaged.losses,
        "champion": str(folder),
        "unseen": tuple((first, end) for first, end in unseen[-RECALLED:]),
    }
