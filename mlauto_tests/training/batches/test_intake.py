"""What training takes of a batch's files, and what is said of the rest."""

import numpy as np
import pandas as pd
import pytest

from mlauto.product import Data
from mlauto.store import Store
from mlauto.training.batches.frames import typed
from mlauto.training.batches.intake import Intake, intake, newest_time, ordered

DATA = Data(landing="landing", target="y", timestamp="at", task="regression")


def rows(*days: str | None, y: float | None = 1.0) -> pd.DataFrame:
    return typed(pd.DataFrame({"at": list(days), "y": [y] * len(days)}), timestamp="at")


def take(store: Store, latest: float | None = None, **frames: pd.DataFrame) -> Intake:
    named = {f"{name}.csv": frame for name, frame in frames.items()}
    return intake(store, "p", named, DATA, kinds={"at": "time", "y": "number"}, latest=latest)


def test_a_good_file_is_taken_whole_and_without_a_word(store: Store) -> None:
    """All rows, nothing waits, nothing to say."""
    found = take(store, a=rows("2024-01-01", "2024-01-02"))

    assert len(found.rows) == 2
    assert (found.unlabelled, found.waiting, found.repeated, found.warnings) == (0, {}, (), ())


def test_rows_without_label_wait_and_are_counted(store: Store) -> None:
    """They are left out of the rows, kept in the store by their file, and the sentence says how they come back."""
    found = take(store, a=rows("2024-01-01"), b=rows("2024-01-02", "2024-01-03", y=None))

    assert (len(found.rows), found.unlabelled) == (1, 2)
    assert list(found.waiting) == ["b.csv"]
    [sentence] = found.warnings
    assert sentence.startswith("2 of 3 rows have no label in 'y': they wait")


def test_a_target_that_was_whole_is_whole_again_without_its_gaps(store: Store) -> None:
    """Gaps made floats of classes; the labelled rows have the kind of earlier batches."""
    frame = typed(pd.DataFrame({"at": [1, 2, 3], "y": [1.0, np.nan, 0.0]}))

    found = intake(store, "p", {"a.csv": frame}, DATA, kinds={"at": "integer", "y": "boolean"})

    assert found.rows["y"].tolist() == [True, False]


@pytest.mark.parametrize(("latest", "late"), [(None, 0), ("2023-12-31", 0), ("2024-01-02", 1), ("2024-02-01", 2)])
def test_rows_older_than_what_was_accepted_are_said(store: Store, latest: str | None, late: int) -> None:
    """How many, and that they count as new all the same; equal times are no step back."""
    known = pd.Timestamp(latest).timestamp() if latest else None

    found = take(store, known, a=rows("2024-01-01", "2024-01-02"))

    assert len(found.rows) == 2
    said = [sentence for sentence in found.warnings if "older by at" in sentence]
    assert len(said) == (late > 0)
    assert all(sentence.startswith(f"{late} of 2 rows") for sentence in said)


def test_a_file_whose_times_go_back_is_put_in_order(store: Store) -> None:
    """Rows come out by time, undated ones first, and each file is named."""
    found = take(store, a=rows("2024-01-03", "2024-01-01", None), b=rows("2024-01-02"))

    assert found.rows["at"].dt.day.fillna(0).tolist() == [0, 1, 2, 3]
    assert found.warnings == (
        "a.csv: at goes backwards 1 times: the rows were put in order",
        "a.csv: 1 rows have no at: they count as the batch's oldest",
    )


def test_columns_keep_the_order_of_earlier_batches() -> None:
    """New ones come last; a frame without the timestamp stays in its order."""
    frame = pd.DataFrame({"b": [2, 1], "c": [1, 2], "a": [1, 2]})

    found = ordered({"x": frame}, {"a": "integer", "b": "integer", "gone": "string"}, "at")

    assert list(found) == ["a", "b", "c"]
    assert found["b"].tolist() == [2, 1]


def test_the_newest_time_is_a_number() -> None:
    """Seconds for times, the number itself for counters, nothing for text, gaps and products without timestamp."""
    assert newest_time(rows("1970-01-01", "1970-01-02", None), "at") == 86400.0
    assert newest_time(pd.DataFrame({"at": [3, 9, 4]}), "at") == 9.0
    assert newest_time(typed(pd.DataFrame({"at": ["x", "y"]})), "at") is None
    assert newest_time(rows(None), "at") is None
    assert newest_time(rows("1970-01-01"), None) is None
