"""Roles of columns, and refusals that help."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mlauto.commands.proposal import Proposal, example_file, propose, read_source
from mlauto.errors import ProductError
from mlauto.training.batches.frames import typed

ROWS = 120


def frame(**columns: Any) -> pd.DataFrame:
    """A typed frame with a number, a target of many values, and whatever is given."""
    base = {"size": [n % 7 + 0.5 for n in range(ROWS)], "price": [n * 1.5 for n in range(ROWS)]}
    return typed(pd.DataFrame({**base, **columns}))


def proposed(data: pd.DataFrame, **given: Any) -> Proposal:
    options = {"target": "price", "task": None, "timestamp": None, "exclude": ()}
    return propose(data, **{**options, **given})


def test_roles_by_type() -> None:
    """Numbers and booleans are numbers, text is a category, everything keeps its order."""
    data = frame(flag=[n % 2 == 0 for n in range(ROWS)], city=["Bern", "Oslo", None] * 40, count=range(ROWS))

    found = proposed(data)

    assert found.numbers == ("size", "flag", "count")
    assert found.categories == ("city",)
    assert (found.task, found.labels, found.exclude, found.notes) == ("regression", (), (), ())


@pytest.mark.parametrize(
    ("values", "task", "labels"),
    [
        (["yes", "no", "maybe"] * 40, "classification", ("maybe", "no", "yes")),
        ([True, False] * 60, "classification", (False, True)),
        ([0, 1, 2] * 40, "classification", (0, 1, 2)),
        (list(range(ROWS)), "regression", ()),
        ([0.5, 1.0] * 60, "regression", ()),
    ],
)
def test_task_is_inferred(values: list[Any], task: str, labels: tuple[Any, ...]) -> None:
    """Text, booleans and few whole numbers are classes; other numbers are not."""
    found = proposed(frame(y=values), target="y")

    assert (found.task, found.labels) == (task, labels)


def test_columns_that_cannot_be_features_are_excluded_with_a_reason() -> None:
    """Empty columns, a saved index, times and nearly unique text are left out, and the notes say so."""
    data = frame(
        empty=[None] * ROWS,
        seen=pd.date_range("2025-01-01", periods=ROWS),
        name=[f"person {n}" for n in range(ROWS)],
        **{"Unnamed: 0": range(ROWS)},
    )

    found = proposed(data)

    assert found.numbers == ("size",)
    assert found.exclude == ("empty", "seen", "name", "Unnamed: 0")
    assert [note.split(" is excluded: ")[0] for note in found.notes] == [f"column {n!r}" for n in found.exclude]


def test_timestamp_and_exclusions_are_no_features() -> None:
    """What was named by the user keeps its role."""
    data = frame(at=[f"2025-01-{n % 28 + 1:02d}" for n in range(ROWS)], leak=range(ROWS))
    data = typed(data, timestamp="at")

    found = proposed(data, timestamp="at", exclude=("leak",))

    assert (found.timestamp, found.exclude, found.numbers) == ("at", ("leak",), ("size",))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"target": None}, r"--target is needed.*size, price"),
        ({"target": "Prise"}, r"--target 'Prise' is no column of the file; did you mean 'price'\?"),
        ({"target": "zzz"}, "no column of the file; there are: size, price"),
        ({"timestamp": "sizes"}, "--timestamp 'sizes' is no column.*'size'"),
        ({"exclude": ("price2",)}, "--exclude 'price2' is no column.*'price'"),
        ({"timestamp": "price"}, "can have one role only"),
        ({"exclude": ("price",)}, "can have one role only"),
        ({"task": "classification"}, "120 different values, too many for classes: use --task regression"),
        ({"exclude": ("size", "text", "const", "gaps", "id")}, "no column is left"),
        ({"target": "text"} | {"task": "regression"}, "holds 'a', no numbers: use --task classification"),
        ({"target": "const"}, "the same value in every row"),
        ({"target": "gaps"}, "has no value in 60 of 120 rows"),
        ({"target": "id", "task": "classification"}, "too many for classes: name another target"),
        ({"timestamp": "text"}, "holds 'a', which is no time"),
    ],
)
def test_refusals_help(given: dict[str, Any], sentence: str) -> None:
    """What the data does not support is refused with the nearest names or with advice."""
    data = frame(text=["a", "b"] * 60, const=[1] * ROWS, gaps=[1.0, None] * 60, id=[f"row {n}" for n in range(ROWS)])

    with pytest.raises(ProductError, match=sentence):
        proposed(data, **given)


def test_times_are_no_target() -> None:
    """A target of times is refused with advice."""
    with pytest.raises(ProductError, match="hours until then"):
        proposed(frame(due=pd.date_range("2025-01-01", periods=ROWS)), target="due")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", "a;b\n" + "1;2\n" * 30, "not separated by commas"),
        ("a.csv", "a,b\n1,2\n", "has 1 rows: at least 20"),
        ("a.csv", "", "cannot be read"),
        ("a.txt", "a,b\n", r"rename it to end in \.csv"),
        (".a.csv", "a,b\n", "would not be picked up"),
    ],
)
def test_files_that_the_loop_could_not_use(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    """The file is refused before anything is made."""
    (tmp_path / name).write_text(content)

    with pytest.raises(ProductError, match=sentence):
        read_source(tmp_path / name, None)
    with pytest.raises(ProductError, match="is no file"):
        read_source(tmp_path / "missing.csv", None)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_example_can_be_used(task: str, tmp_path: Path) -> None:
    """The made-up file supports its task, and is the same each time."""
    path = example_file(tmp_path, target="y", task=task, timestamp="at")
    before = path.read_bytes()
    data = read_source(path, "at")

    found = propose(data, target="y", task=task, timestamp="at", exclude=())

    assert (found.numbers, found.categories) == (("temperature", "weekend"), ("city",))
    assert bool(found.labels) is (task == "classification")
    assert example_file(tmp_path, target="y", task=task, timestamp="at").read_bytes() == before
