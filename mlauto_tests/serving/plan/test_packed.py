"""Packed trees: what the C library is given, and that it sums up to the same bits as numpy, on trees of every shape."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlauto.serving.plan.format import Trees
from mlauto.serving.plan.layout import CATEGORY, LEAF, MISSING_LEFT, NODE, WORDS
from mlauto.serving.plan.packed import COLUMN, QUESTION, STEP, TREE, UPPER, packed
from mlauto.serving.plan.trees import sums
from mlauto_tests.serving.plan.conftest import Arrays

WIDTH = 5
THRESHOLDS = (-1.0, -0.0, 0.0, 0.5, np.nextafter(0.5, 1), 1.0, 1e300, 1e-310)


def grown(chance: Any, leaves: int, first: int, *, chain: bool, categories: float) -> list[tuple[Any, ...]]:
    """A tree's nodes from place `first` on, children somewhere behind their parents; `chain`: as deep as can be."""
    nodes: list[list[Any]] = [[0.0, 0, 0, 0, LEAF]]
    ends = [0]
    for _ in range(leaves - 1):
        place = ends.pop(-1 if chain else int(chance.integers(len(ends))))
        sides = [len(nodes), len(nodes) + 1]
        chance.shuffle(sides)
        flags = MISSING_LEFT * int(chance.integers(2))
        threshold = chance.choice(THRESHOLDS)
        if chance.random() < categories:
            flags, threshold = flags | CATEGORY, float(chance.integers(3))
        nodes[place] = [threshold, first + sides[0], first + sides[1], int(chance.integers(WIDTH)), flags]
        nodes += [[0.0, 0, 0, 0, LEAF], [0.0, 0, 0, 0, LEAF]]
        ends += sides
    for place in ends:
        nodes[place] = [chance.normal(), first + place, first + place, 0, LEAF]
    return [tuple(node) for node in nodes]


def forest(seed: int, sizes: list[int], *, depth: int = 1, chain: bool = False, categories: float = 0.0) -> Arrays:
    """Trees with so many leaves; with a `depth`, leaves of several numbers."""
    chance = np.random.default_rng(seed)
    nodes: list[tuple[Any, ...]] = []
    roots = []
    for leaves in sizes:
        roots.append(len(nodes))
        nodes += grown(chance, leaves, len(nodes), chain=chain, categories=categories)
    array = np.array(nodes, dtype=NODE)
    leaf = (array["flags"] & LEAF) != 0
    values = np.zeros((0, 1))
    if depth > 1:
        values = chance.normal(size=(int(leaf.sum()), depth))
        array["threshold"][leaf] = chance.permutation(int(leaf.sum()))
    return {
        "nodes": array,
        "roots": np.array(roots),
        "outputs": np.zeros(len(sizes), dtype=np.int32),
        "values": values,
        "sets": chance.integers(0, 1 << 32, (3, 2 * WORDS), dtype=np.uint32),
    }


def rows(count: int) -> Any:
    """Cells at thresholds and beside them, categories, missing and infinite ones."""
    chance = np.random.default_rng(count)
    around = [np.nextafter(value, way) for value in THRESHOLDS for way in (-np.inf, np.inf)]
    odd = [np.nan, np.inf, -np.inf, -3.0, 255.0, 255.5, 256.0, 1e12]
    return chance.choice([*THRESHOLDS, *around, *odd, *range(0, 256, 5)], (count, WIDTH))


SHAPES: dict[str, dict[str, Any]] = {
    "single leaves": {"sizes": [1, 1]},
    "small trees": {"sizes": [2, 3, 31, 32, 7]},
    "just beyond the upper part": {"sizes": [33, 34, 1]},
    "large trees": {"sizes": [100, 500, 40, 64]},
    "chains": {"sizes": [20, 33, 90, 2], "chain": True},
    "categories": {"sizes": [30, 200, 3], "categories": 0.4},
    "nothing but categories": {"sizes": [20, 100], "categories": 1.0},
    "leaves of two numbers": {"sizes": [12, 120], "depth": 2},
    "leaves of three numbers": {"sizes": [12, 120, 1], "depth": 3, "categories": 0.1},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200])
def test_sums_are_those_of_numpy(walker: Path, shape: str, count: int) -> None:
    """To the last bit, whatever the trees' shape and the number of rows, in rows or columns that lie side by side."""
    arrays = forest(len(shape) + count, **SHAPES[shape])
    plan = Trees(WIDTH, (0.1,) * arrays["values"].shape[1], "identity", divide=3.0)
    given = rows(count)
    wanted = sums(plan, arrays, None)(given)

    found = sums(plan, arrays, walker)
    assert found(given).tobytes() == wanted.tobytes()
    assert found(np.asfortranarray(given)).tobytes() == wanted.tobytes()
    assert found(np.repeat(given, 2, axis=0)[::2]).tobytes() == wanted.tobytes()


def test_trees_add_to_their_own_outputs(walker: Path) -> None:
    """One output for each class."""
    arrays = forest(3, [5, 50, 9])
    arrays["outputs"][:] = [2, 0, 2]
    plan = Trees(WIDTH, (0.0, 1.0, -1.0), "softmax")

    assert sums(plan, arrays, walker)(rows(70)).tobytes() == sums(plan, arrays, None)(rows(70)).tobytes()


def test_every_exit_has_its_bit() -> None:
    """A tree's upper part ends in one exit more than it has questions, and each question strikes out its left ones."""
    found = packed(forest(1, [3, 40, 1]))
    trees, questions = found["trees"], found["questions"]

    assert trees["numbers"].tolist() == [2, UPPER, 0]
    assert (np.diff([*trees["exit"], len(found["exits"])]) == trees["numbers"] + 1).all()
    assert trees["depth"][0] == trees["depth"][2] == 0 < trees["depth"][1]
    assert (questions["mask"] != 0xFFFFFFFF).all()
    assert (found["exits"] >= 0).all()


def test_thresholds_become_ranks() -> None:
    """Ascending within each cell, none of them twice, and every question names one of its column."""
    found = packed(forest(2, [60, 60]))
    columns = found["columns"]

    for column in columns:
        part = found["thresholds"][column["first"] : column["first"] + column["count"]]
        assert (np.diff(part) > 0).all()
    questions = found["questions"]
    assert (questions["threshold"] < columns["count"][questions["column"]]).all()
    assert (questions["threshold"] >= 0).all()


def test_records_have_the_layout_of_the_c_code() -> None:
    """As the compiler lays out the same structs."""
    assert [kind.itemsize for kind in (COLUMN, QUESTION, STEP, TREE)] == [24, 12, 16, 24]
