"""Rows without labels: what is new in a file that comes again."""

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import StoreError
from mlauto.records import Batch, Validation
from mlauto.store import Store
from mlauto.training.batches.frames import typed
from mlauto.training.batches.waiting import Waiting, keep_frame, labelled_rows, remember, taken


def rows(count: int, labelled: int, start: int = 0) -> pd.DataFrame:
    """Numbered rows, the first ones with a label."""
    label = np.where(np.arange(count) < labelled, np.arange(count) * 10.0, np.nan)
    return typed(pd.DataFrame({"n": np.arange(start, start + count), "y": label}))


def batch(key: str, waiting: dict[str, tuple[str, ...]]) -> Batch:
    validation = Validation(passed=True, evaluated=0)
    return Batch(key=key, files=(), rows=0, digest=None, validation=validation, arrived=0.0, waiting=waiting)


def come(store: Store, key: str, frame: pd.DataFrame, name: str = "a.csv") -> list[int]:
    """The file comes in a batch of that key; the numbers of what is new in it and has a label."""
    found = taken(store, "p", name, frame, "y")
    if found.states:
        remember(store, "p", batch(key, {name: found.states}))
    return list(found.rows[labelled_rows(found.rows, "y")]["n"])


def states(store: Store) -> list[tuple[str, ...]]:
    """What is remembered, of every file name."""
    folder = store.record_path("p", "waiting").with_suffix("")
    names = [f"waiting/{file.parent.name}/{file.stem}" for file in sorted(folder.rglob("*.json"))]
    found = [store.read_record("p", name, Waiting) for name in names]
    return [one.states for one in found if one is not None]


def test_a_label_is_a_value_that_is_there() -> None:
    """Missing values and blank text are none; a zero is one."""
    numbers = typed(pd.DataFrame({"y": [0.0, np.nan, 1.0]}))
    words = typed(pd.DataFrame({"y": ["a", None, " "]}))

    assert labelled_rows(numbers, "y").tolist() == [True, False, True]
    assert labelled_rows(words, "y").tolist() == [True, False, False]


def test_each_row_is_taken_once_when_its_label_comes(store: Store) -> None:
    """Three states of one file: every row is new exactly once, and only the newest state is kept."""
    seen = [come(store, f"k{done}", rows(6, done)) for done in (2, 5, 6)]

    assert seen == [[0, 1], [2, 3, 4], [5]]
    [[state]] = states(store)
    assert len(pd.read_parquet(store.verified_file(state))) == 6


def test_a_file_that_grows_while_its_tail_waits(store: Store) -> None:
    """New rows and new labels are taken, what was taken is not; a complete state in between changes nothing."""
    assert come(store, "k1", rows(4, 3)) == [0, 1, 2]
    assert come(store, "k2", rows(5, 5)) == [3, 4]
    assert come(store, "k3", rows(8, 6)) == [5]


def test_a_corrected_label_is_a_new_row(store: Store) -> None:
    """The row with its other label is trained on, as it is when any corrected file comes."""
    come(store, "k1", rows(4, 3))
    corrected = rows(4, 4)
    corrected.loc[1, "y"] = 99.0

    assert come(store, "k2", corrected) == [1, 3]


def test_equal_rows_are_counted(store: Store) -> None:
    """Two equal rows of which one was labelled: the other is new when its label comes, though it is the same."""
    first = typed(pd.DataFrame({"n": [7, 7], "y": [1.0, np.nan]}))

    assert come(store, "k1", first) == [7]
    assert come(store, "k2", typed(pd.DataFrame({"n": [7, 7], "y": [1.0, 1.0]}))) == [7]


def test_other_content_under_an_old_name_is_another_file(store: Store) -> None:
    """A name that is used anew loses nothing: both wait, and each is completed when it comes again."""
    come(store, "k1", rows(4, 2))
    assert come(store, "k2", rows(4, 1, start=100)) == [100]
    assert len(states(store)[0]) == 2

    assert come(store, "k3", rows(4, 4)) == [2, 3]
    assert come(store, "k4", rows(4, 4, start=100)) == [101, 102, 103]


def test_files_that_never_waited_are_not_remembered(store: Store) -> None:
    """A file without gaps may come again with any content, and costs nothing."""
    assert come(store, "k1", rows(4, 4)) == [0, 1, 2, 3]
    assert come(store, "k2", rows(5, 5)) == [0, 1, 2, 3, 4]
    assert states(store) == []


def test_names_are_kept_apart_and_kinds_are_brought_together(store: Store) -> None:
    """The other file's rows are its own; labels that were floats for their gaps match whole numbers."""
    come(store, "k1", rows(4, 2), "a.csv")
    assert come(store, "k2", rows(4, 2), "b.csv") == [0, 1]

    whole = typed(pd.DataFrame({"n": range(4), "y": [0, 10, 20, 30]}))
    assert whole["y"].dtype == "int64"
    assert come(store, "k3", whole, "a.csv") == [2, 3]


def test_an_older_batch_does_not_take_a_newer_state_back(store: Store) -> None:
    """Asked again for a batch of long ago, the memory stays the newest."""
    come(store, "k1", rows(4, 2))
    [old] = states(store)
    come(store, "k2", rows(4, 3))

    remember(store, "p", batch("k1", {"a.csv": old}))

    assert states(store) != [old]


def test_a_state_that_was_tampered_with_is_an_error(store: Store) -> None:
    """Nothing is guessed: the store says what is wrong."""
    frame = rows(4, 2)
    come(store, "k1", frame)
    store.object_path(keep_frame(store, frame)).unlink()

    with pytest.raises(StoreError):
        come(store, "k2", rows(4, 4))
