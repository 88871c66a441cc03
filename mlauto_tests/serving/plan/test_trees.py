"""Walks down trees: both walkers, and arrays that must not be walked."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.plan import walker_file
from mlauto.serving.plan.format import PlanError, Trees
from mlauto.serving.plan.layout import WORDS
from mlauto.serving.plan.trees import sums
from mlauto_tests.serving.plan.conftest import Arrays

PLAN = Trees(2, (100.0,), "identity")


@pytest.fixture(params=["native", "numpy"])
def library(request: pytest.FixtureRequest) -> Path | None:
    """Both walkers give the same."""
    if request.param == "numpy":
        return None
    found: Path = request.getfixturevalue("walker")
    return found


def test_every_row_goes_its_way(stumps: Arrays, library: Path | None) -> None:
    """Thresholds belong to the left; missing, negative and never seen categories go where missing values go."""
    nan = np.nan
    rows = np.array([[1.0, 3.0], [1.0000001, 4.0], [nan, 5.0], [-7.0, nan], [2.0, -1.0], [2.0, 300.0], [0.0, 3.9]])

    found = sums(PLAN, stumps, library)(rows)

    assert found.ravel().tolist() == [110.5, 120.25, 110.25, 110.25, 120.25, 120.25, 110.5]


def test_leaves_may_hold_several_numbers(stumps: Arrays, library: Path | None) -> None:
    """Each leaf names its row of values, and the mean over the trees is taken."""
    stumps["values"] = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.25, 0.75]])
    for place, row in ((1, 0), (2, 1), (4, 2), (5, 3)):
        stumps["nodes"]["threshold"][place] = row

    found = sums(Trees(2, (0.0, 0.0), "shares", divide=2.0), stumps, library)(np.array([[0.0, 3.0], [9.0, 4.0]]))

    assert found.tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_the_number_of_rows_changes_nothing(stumps: Arrays, library: Path | None) -> None:
    """Any number of rows, in any chunk, gives each row what it gets alone."""
    rows = np.random.default_rng(1).normal(size=(1037, 2)) * 3
    run = sums(PLAN, stumps, library)
    alone = np.vstack([run(rows[place : place + 1]) for place in range(len(rows))])

    assert (run(rows) == alone).all()
    assert run(rows[:0]).shape == (0, 1)


def test_single_precision_rounds_and_refuses(stumps: Arrays, library: Path | None) -> None:
    """Forests see float32: what rounds to the threshold goes left, what is too large is refused."""
    run = sums(msgspec.structs.replace(PLAN, single=True), stumps, library)

    assert run(np.array([[1.00000001, 3.0]])).item() == 110.5
    with pytest.raises(RequestError, match="too large for float32") as caught:
        run(np.array([[1e39, 3.0]]))
    assert caught.value.status == 422


def _set(name: str, field: str, place: int, value: Any) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name][field][place] = value

    return change


def _replaced(name: str, value: Any) -> Callable[[Arrays], None]:
    return lambda arrays: arrays.update({name: value})


HOSTILE = {
    "a child before its parent": (_set("nodes", "left", 3, 0), "left"),
    "a node that is its own child": (_set("nodes", "right", 0, 0), "right"),
    "a child in the next tree": (_set("nodes", "right", 0, 3), "right"),
    "a child beyond the end": (_set("nodes", "right", 3, 6), "right"),
    "a negative child": (_set("nodes", "left", 0, -1), "left"),
    "a child of two parents": (_set("nodes", "left", 0, 2), "2 have no parent, or several"),
    "a leaf that leads elsewhere": (_set("nodes", "left", 1, 5), "left"),
    "a cell beyond the row": (_set("nodes", "feature", 0, 2), "features"),
    "a leaf's cell beyond the row": (_set("nodes", "feature", 1, 2), "features"),
    "a set that is not there": (_set("nodes", "threshold", 3, 1.0), "sets"),
    "half a set": (_set("nodes", "threshold", 3, 0.5), "sets"),
    "an infinite threshold": (_set("nodes", "threshold", 0, np.inf), "thresholds"),
    "unknown flags": (_set("nodes", "flags", 0, 64), "flags"),
    "roots that do not ascend": (_replaced("roots", np.array([0, 0])), "roots"),
    "roots beyond the end": (_replaced("roots", np.array([0, 6])), "roots"),
    "a first root elsewhere": (_replaced("roots", np.array([1, 3])), "roots"),
    "no trees": (_replaced("roots", np.zeros(0, dtype=np.int64)), "no trees"),
    "an output that is not there": (_replaced("outputs", np.array([0, 1], dtype=np.int32)), "outputs"),
    "a negative output": (_replaced("outputs", np.array([0, -1], dtype=np.int32)), "outputs"),
    "too few outputs": (_replaced("outputs", np.array([0], dtype=np.int32)), "outputs"),
    "values that are no numbers": (_replaced("values", np.full((1, 1), np.nan)), "values"),
    "narrow sets": (_replaced("sets", np.zeros((1, WORDS), dtype=np.uint32)), "sets"),
    "nodes of another type": (_replaced("nodes", np.zeros((6, 4))), "nodes is missing or of another type"),
    "roots of another type": (_replaced("roots", np.array([0.0, 3.0])), "roots is missing or of another type"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_unsound_arrays_are_never_walked(stumps: Arrays, what: str) -> None:
    """A walk could leave its arrays or never end: the plan is refused, and the sentence says where."""
    change, message = HOSTILE[what]
    change(stumps)

    with pytest.raises(PlanError, match=message):
        sums(PLAN, stumps, None)


def test_leaves_without_their_values_are_refused(stumps: Arrays) -> None:
    """Where leaves have several numbers, each must name a row that is there."""
    stumps["values"] = np.zeros((4, 2))

    with pytest.raises(PlanError, match="leaves"):
        sums(Trees(2, (0.0, 0.0), "shares"), stumps, None)


def test_a_mean_needs_trees(stumps: Arrays) -> None:
    """Nothing is divided by less than one, nor by what is no number."""
    for divide in (0.0, float("nan")):
        with pytest.raises(PlanError, match="divide"):
            sums(msgspec.structs.replace(PLAN, divide=divide), stumps, None)


@pytest.mark.needs("compiler")
def test_a_library_of_an_earlier_version_is_done_without(
    stumps: Arrays, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bundle answers as before, slower, and the log says why."""
    source, library = tmp_path / "old.c", tmp_path / "walker.so"
    source.write_text("void mlauto_walk(void) {}")
    subprocess.run([str(walker_file.compiler()), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)

    assert sums(PLAN, stumps, library)(np.array([[1.0, 3.0]])).item() == 110.5
    assert "is of an earlier version: trees are walked by numpy" in capsys.readouterr().err


def test_a_library_of_another_machine_is_refused(stumps: Arrays, tmp_path: Path) -> None:
    """With its path."""
    library = tmp_path / "walker.so"
    library.write_bytes(b"not for this machine")

    with pytest.raises(PlanError, match=r"walker\.so cannot be used here"):
        sums(PLAN, stumps, library)
