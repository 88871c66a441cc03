"""Weights by age, bounded by their own decay."""

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import DataError, StoreError
from mlauto.records import Batch, TrainingSet, Validation
from mlauto.store import Store
from mlauto.training import training_set as module
from mlauto.training.batches.frames import kinds_of, typed
from mlauto.training.training_set import (
    AcceptedBatch,
    accept,
    accepted_batches,
    assemble,
    load_frame,
    member_weights,
    weighted,
)
from mlauto.training.weighting import BLEND, History, Member


def give(store: Store, number: int, **columns: object) -> Batch:
    """Accept a batch; its key follows from its number."""
    frame = typed(pd.DataFrame(columns or {"x": [number, number]}))
    path = store.home / "batch.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    batch = Batch(
        key=f"2025-{number:06d}",
        files=(),
        rows=len(frame),
        digest=store.put_file(path),
        validation=Validation(passed=True, evaluated=1),
        arrived=float(number),
    )
    accept(store, "p", batch, kinds_of(frame))
    return batch


def halved(half_life: float | None) -> tuple[Member, ...]:
    """One history."""
    return (Member(history=History(half_life=half_life)),)


def test_weights_halve_with_the_half_life(store: Store) -> None:
    """The newest batch weighs 1, one that is a half-life older 0.5."""
    for number in range(6):
        give(store, number)

    made = assemble(store, "p", halved(5.0))

    assert [batch.key for batch in made.batches] == [f"2025-{number:06d}" for number in range(6)]
    assert [batch.weight for batch in made.batches][0::5] == [0.5, 1.0]
    assert made.rows == 12
    assert made.dropped == 0
    assert store.read_record("p", "training_set", TrainingSet) == made


def test_batches_that_weigh_next_to_nothing_are_dropped_and_counted(store: Store) -> None:
    """The set is bounded by the decay, and says what it leaves out."""
    for number in range(20):
        give(store, number)

    made = assemble(store, "p", halved(1.0))

    assert len(made.batches) == 7
    assert made.batches[0].weight == 0.015625
    assert made.dropped == 13


def test_the_digest_tells_data_and_weights(store: Store) -> None:
    """Same batches and weights, same digest; another half-life or another batch, another digest."""
    give(store, 0)
    give(store, 1)
    first = assemble(store, "p", halved(5.0))

    assert assemble(store, "p", halved(5.0)) == first
    assert assemble(store, "p", halved(6.0)).digest != first.digest
    give(store, 2)
    assert assemble(store, "p", halved(5.0)).digest != first.digest


def test_a_batch_is_indexed_once_and_in_order_of_arrival(store: Store) -> None:
    """Entering twice changes nothing, and a late entry takes its place by key."""
    give(store, 5)
    give(store, 1)
    give(store, 5)

    index = accepted_batches(store, "p")

    assert [batch.key for batch in index.batches] == ["2025-000001", "2025-000005"]
    assert index.total == 2


def test_the_index_keeps_the_newest_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches there ever were, the index that is read each time stays small."""
    monkeypatch.setattr(module, "MAX_BATCHES", 3)
    for number in range(5):
        give(store, number)

    index = accepted_batches(store, "p")

    assert [batch.key[-1] for batch in index.batches] == ["2", "3", "4"]
    assert index.total == 5
    assert assemble(store, "p", halved(1e9)).dropped == 2


def test_batches_accepted_at_the_same_time_are_all_indexed(store: Store) -> None:
    """Two runs that end together do not overwrite each other's entry."""
    batch = give(store, 0)
    others = [
        Batch(key=f"2026-{n:02d}", files=(), rows=1, digest=batch.digest, validation=batch.validation, arrived=0.0)
        for n in range(20)
    ]
    threads = [threading.Thread(target=accept, args=(store, "p", other, {})) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(accepted_batches(store, "p").batches) == 21


def test_a_rejected_batch_cannot_be_entered(store: Store) -> None:
    """What has no data is not trained on."""
    rejected = Batch(
        key="k", files=(), rows=0, digest=None, validation=Validation(passed=False, evaluated=1), arrived=0
    )

    with pytest.raises(DataError, match="has no data"):
        accept(store, "p", rejected, {})


def test_kinds_widen_and_never_narrow(store: Store) -> None:
    """A column of whole numbers that has had a fraction is a number from then on; new columns come last."""
    give(store, 0, a=[1, 2], b=["x", "y"])
    give(store, 1, c=[True, False], a=[1.5, 2.0], b=[1, 2])
    give(store, 2, a=[1, 2])

    assert accepted_batches(store, "p").kinds == {"a": "number", "b": "string", "c": "boolean"}
    assert list(accepted_batches(store, "p").kinds) == ["a", "b", "c"]


def test_the_frame_runs_from_oldest_to_newest_with_weights_and_positions(store: Store) -> None:
    """Three aligned parts, whatever the batches' sizes and kinds."""
    give(store, 0, x=[1, 2, 3], s=["a", "b", "c"])
    give(store, 1, x=[4.5], s=[None])

    frame, weights, position = load_frame(store, assemble(store, "p", halved(1.0)))

    assert frame["x"].tolist() == [1.0, 2.0, 3.0, 4.5]
    assert kinds_of(frame) == {"x": "number", "s": "string"}
    assert weights.tolist() == [0.5, 0.5, 0.5, 1.0]
    assert position.tolist() == [0, 0, 0, 1]
    assert (weights.dtype, position.dtype) == (np.float64, np.int64)


def test_nothing_accepted_is_told(store: Store) -> None:
    """The next step is in the message; an empty manifest cannot be loaded either."""
    with pytest.raises(DataError, match="put a data file"):
        assemble(store, "p", halved(5.0))
    with pytest.raises(DataError, match="training set is empty"):
        load_frame(store, TrainingSet(batches=(), digest=""))


def test_a_batch_that_was_changed_in_the_store_is_not_used(store: Store) -> None:
    """The bytes are compared with the digest before they are parsed."""
    batch = give(store, 0)
    made = assemble(store, "p", halved(5.0))
    assert batch.digest is not None
    Path(store.object_path(batch.digest)).write_bytes(b"other")

    with pytest.raises(StoreError, match="was changed on disk"):
        load_frame(store, made)


def test_any_batches_can_be_weighted() -> None:
    """Without end all count alike; otherwise the oldest are left out, and counted."""
    batches = [AcceptedBatch(key=name, digest=name, rows=10) for name in "abcde"]

    alike, fading = (weighted(batches, halved(half_life), total=7) for half_life in (None, 0.5))

    assert [batch.weight for batch in alike.batches] == [1.0] * 5
    assert [(batch.key, batch.weight) for batch in fading.batches] == [
        ("b", 0.015625),
        ("c", 0.0625),
        ("d", 0.25),
        ("e", 1.0),
    ]
    assert (alike.dropped, fading.dropped) == (2, 3)


def test_several_histories_need_what_any_of_them_needs() -> None:
    """The widest member bounds the set; weights are the mixture, and each member has its own."""
    batches = [AcceptedBatch(key=f"{n:03d}", digest=f"{n:03d}", rows=2) for n in range(120)]

    made = weighted(batches, BLEND, total=120)
    matrix = member_weights(made, BLEND)

    assert (len(made.batches), made.dropped) == (100, 20)
    assert made.batches[-1].weight == 1.0
    assert matrix.shape == (5, 200)
    assert matrix[0].tolist() == [0.0] * 198 + [1.0, 1.0]  # the newest only
    assert np.count_nonzero(matrix, axis=1).tolist() == [2, 14, 34, 134, 200]
    assert [batch.weight for batch in made.batches][-2] == pytest.approx(
        0.95 / 4 * (0.5 + 0.5 ** (1 / 2.5) + 0.5 ** (1 / 10) + 1.0), abs=1e-6
    )
