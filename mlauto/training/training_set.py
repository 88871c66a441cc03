"""What a model may be fitted on: the accepted batches, weighted by age with exponential decay.

`batches_accepted` is an index of the newest accepted batches, so that no number of old batch records is ever read.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlauto.errors import DataError
from mlauto.records import Batch, BatchWeight, TrainingSet
from mlauto.store import Store, digest_of
from mlauto.training.frames import joined

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

__all__ = ["AcceptedBatch", "AcceptedBatches", "accept", "accepted_batches", "assemble", "decayed", "load_frame"]

LEAST_WEIGHT = 0.01
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


def assemble(store: Store, product: str, half_life: float) -> TrainingSet:
    """The accepted batches, oldest first, each row of one that is n batches old weighted 0.5 ** (n / half_life).

    Batches whose weight is below 0.01 are left out and counted in `dropped`, so the set stays bounded whatever the
    history. Written as the record `training_set`. Raises `DataError` when no batch was accepted yet.
    """
    index = accepted_batches(store, product)
    if not index.batches:
        raise DataError(f"{product} has no accepted batch yet: put a data file into its landing folder")
    training_set = decayed(index.batches, half_life, total=index.total)
    store.write_record(product, "training_set", training_set)
    return training_set


def decayed(batches: Sequence[AcceptedBatch], half_life: float, *, total: int) -> TrainingSet:
    """The set of those of `batches` (oldest first) that still weigh at least 0.01; `total` counts all there ever were.

    A `half_life` of `math.inf` weights all of them alike.
    """
    weighted = [
        BatchWeight(key=batch.key, digest=batch.digest, rows=batch.rows, weight=round(0.5 ** (age / half_life), 6))
        for age, batch in enumerate(reversed(batches))
    ]
    kept = tuple(reversed([batch for batch in weighted if batch.weight >= LEAST_WEIGHT]))
    digest = digest_of([(batch.digest, batch.weight) for batch in kept])
    return TrainingSet(batches=kept, digest=digest, dropped=total - len(kept))


def load_frame(
    store: Store, training_set: TrainingSet
) -> "tuple[pd.DataFrame, npt.NDArray[np.float64], npt.NDArray[np.int64]]":
    """All rows from oldest to newest, with each row's weight and the position of its batch in `training_set`.

    Three parts of equal length; columns are of the kinds of `mlauto.training.frames`. Raises `StoreError` when a batch
    is missing from the store or was changed there, `DataError` when the training set is empty.
    """
    import numpy as np
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
