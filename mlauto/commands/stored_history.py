"""What a product's state has for a backtest: its accepted batches as training sees them, and its verified commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from mlauto.errors import DataError, StoreError, TrainingError
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import Commit, VerifiedCommit
from mlauto.store import Store, digest_of
from mlauto.training.backtest.asked_fits import AskedFits
from mlauto.training.batches.frames import joined
from mlauto.training.evaluate import batch_metric
from mlauto.training.roles import features_of, labels_of
from mlauto.training.training_set import AcceptedBatch, accepted_batches

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["StoredHistory", "read_history"]


@dataclass(frozen=True, kw_only=True)
class StoredHistory:
    """The rows of all batches, oldest first, cut at `edges`; `inputs` is the digest of what determines a fit of them.

    Columns are of the kinds that training would see now, with all batches there.
    """

    commit: Commit
    frame: "pd.DataFrame"
    edges: tuple[int, ...]
    inputs: str

    @property
    def batches(self) -> int:
        """How many there are."""
        return len(self.edges) - 1

    def fits(self, product: ModelProduct, cache: Path) -> AskedFits:
        """The fits of `product` on them. Raises `TrainingError` when its columns are not there."""
        data = product.data
        return AskedFits(
            features_of(self.frame, data.target, data.timestamp, *data.exclude),
            labels_of(self.frame, data.target, data.task),
            edges=self.edges,
            metric=batch_metric(product.metric),
            cache=cache,
            inputs=self.inputs,
            sigmas=product.training.limit(new_code=False),
        )


def read_history(platform: Platform, product: ModelProduct, initial: int) -> StoredHistory:
    """Read it. Raises `MlautoError` for too few batches, one that is missing, or without a verified commit."""
    store, data = platform.store, product.data
    batches = _batches(store, product.name, initial)
    verified = store.read_record(product.name, "verified_commit", VerifiedCommit)
    if verified is None:
        raise TrainingError(
            f"{product.name}: no verified commit yet: let `mlauto dev` run, or materialize"
            f" {product.name}/verified_commit"
        )
    commit = verified.commit
    frame, edges = _rows(store, product.name, batches)
    roles = (data.target, data.task, data.timestamp, sorted(data.exclude))
    code = (product.code.estimator, commit.tree, product.training.seed, platform.workshop.environment())
    inputs = digest_of("stored", [batch.digest for batch in batches], roles, code)
    return StoredHistory(commit=commit, frame=frame, edges=edges, inputs=inputs)


def _batches(store: Store, name: str, initial: int) -> tuple[AcceptedBatch, ...]:
    batches = accepted_batches(store, name).batches
    if not batches:
        raise DataError(f"{name} has no accepted batch yet: put data files into its landing folder")
    if len(batches) <= initial:
        fewer = f"use --initial {len(batches) - 1} or fewer, or " if len(batches) > 1 else ""
        raise DataError(
            f"--initial {initial} leaves nothing to predict of the accepted batches of {name}, which are"
            f" {len(batches)}: {fewer}let more data land"
        )
    return batches


def _rows(store: Store, name: str, batches: Sequence[AcceptedBatch]) -> "tuple[pd.DataFrame, tuple[int, ...]]":
    """All rows as training sees them, and where each batch begins and the last one ends."""
    import pandas as pd

    frames = []
    for batch in batches:
        try:
            frames.append(pd.read_parquet(store.verified_file(batch.digest)))
        except StoreError as error:
            raise StoreError(f"batch {batch.key} of {name} cannot be read: {error}") from error
    return joined(frames), (0, *accumulate(map(len, frames)))
