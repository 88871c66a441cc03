"""What a model may be fitted on: the accepted batches, weighted by age.

`batches_accepted` is an index of the newest accepted batches, so that no number of old batch records is ever read.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlauto.errors import DataError
from mlauto.records import Batch, BatchWeight, TrainingSet
from mlauto.store import Store, digest_of
from mlauto.training.batches.frames import joined
from mlauto.training.weighting import Member, mixture

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

__all__ = [
    "AcceptedBatch",
    "AcceptedBatches",
    "accept",
    "accepted_batches",
    "assemble",
    "load_frame",
    "member_weights",
    "weighted",
]

MAX_BATCHES = 1000


@dataclass(frozen=True, kw_only=True)
class AcceptedBatch:
    """One batch in the index."""

    key: str
    digest: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class AcceptedBatches:
    """The newest accepted batches (at most 1,000), oldest first; `total` counts all that there ever were.

    `kinds` are the kinds of their columns, in order: what later files are brought to. `latest` is the newest timestamp
    in any of them, as a number.
    """

    batches: tuple[AcceptedBatch, ...] = ()
    total: int = 0
    kinds: dict[str, str] = field(default_factory=dict)
    latest: float | None = None


def accepted_batches(store: Store, product: str) -> AcceptedBatches:
    """The index; empty when no batch was accepted yet."""
    return store.read_record(product, "batches_accepted", AcceptedBatches) or AcceptedBatches()


def accept(store: Store, product: str, batch: Batch, kinds: Mapping[str, str], newest: float | None = None) -> None:
    """Enter an accepted batch into the index; entering it again changes nothing. Safe among processes.

    `newest` is the newest timestamp in it, as a number.
    """
    if batch.digest is None:
        raise DataError(f"batch {batch.key} of {product} has no data: only accepted batches are trained on")
    with _locked(store.record_path(product, "batches_accepted").with_suffix(".lock")):
        index = accepted_batches(store, product)
        if any(entry.key == batch.key for entry in index.batches):
            return
        entry = AcceptedBatch(key=batch.key, digest=batch.digest, rows=batch.rows)
        kept = sorted((*index.batches, entry), key=lambda one: one.key)[-MAX_BATCHES:]
        merged = AcceptedBatches(
            batches=tuple(kept),
            total=index.total + 1,
            kinds=_merged(index.kinds, kinds),
            latest=max((time for time in (index.latest, newest) if time is not None), default=None),
        )
        store.write_record(product, "batches_accepted", merged)


def assemble(store: Store, product: str, members: Sequence[Member]) -> TrainingSet:
    """The accepted batches that any of the members' histories needs, oldest first, weighted as their mixture is.

    Others are counted in `dropped`, so with half-lives or windows the set stays bounded whatever the history. Written
    as the record `training_set`. Raises `DataError` when no batch was accepted yet.
    """
    index = accepted_batches(store, product)
    if not index.batches:
        raise DataError(f"{product} has no accepted batch yet: put a data file into its landing folder")
    training_set = weighted(index.batches, members, total=index.total)
    store.write_record(product, "training_set", training_set)
    return training_set


def weighted(batches: Sequence[AcceptedBatch], members: Sequence[Member], *, total: int) -> TrainingSet:
    """The set of those of `batches` (oldest first) that weigh anything; `total` counts all there ever were."""
    ages = range(len(batches) - 1, -1, -1)
    needed = np.any([member.history.of(ages) > 0 for member in members], axis=0).tolist()
    kept = tuple(
        BatchWeight(key=batch.key, digest=batch.digest, rows=batch.rows, weight=weight)
        for batch, weight, need in zip(batches, mixture(members, ages).tolist(), needed, strict=True)
        if need
    )
    digest = digest_of([(batch.digest, batch.weight) for batch in kept])
    return TrainingSet(batches=kept, digest=digest, dropped=total - len(kept))


def member_weights(training_set: TrainingSet, members: Sequence[Member]) -> "npt.NDArray[np.float64]":
    """The weight of each row (columns, oldest first) for each member (rows of the matrix); 0 where it needs it not."""
    ages = range(len(training_set.batches) - 1, -1, -1)
    rows = [batch.rows for batch in training_set.batches]
    return np.stack([np.repeat(member.history.of(ages), rows) for member in members])


def load_frame(
    store: Store, training_set: TrainingSet
) -> "tuple[pd.DataFrame, npt.NDArray[np.float64], npt.NDArray[np.int64]]":
    """All rows from oldest to newest, with each row's weight and the position of its batch in `training_set`.

    Three parts of equal length; columns are of the kinds of `mlauto.training.batches.frames`. Raises `StoreError` when
    a batch is missing from the store or was changed there, `DataError` when the training set is empty.
    """
    import pandas as pd

    if not training_set.batches:
        raise DataError("the training set is empty: materialize it after a batch was accepted")
    frames = [pd.read_parquet(store.verified_file(batch.digest)) for batch in training_set.batches]
    rows = [len(frame) for frame in frames]
    weights = np.repeat([batch.weight for batch in training_set.batches], rows).astype("float64")
    return joined(frames), weights, np.repeat(np.arange(len(rows), dtype="int64"), rows)


def _merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Kinds by column: an integer column that has had fractions is a number from then on."""
    merged = {**new, **old}
    for column, kind in new.items():
        if old.get(column) == "integer" and kind == "number":
            merged[column] = "number"
    ordered = [*old, *(column for column in new if column not in old)]
    return {column: merged[column] for column in ordered}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file exclusively; the kernel releases it when the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
