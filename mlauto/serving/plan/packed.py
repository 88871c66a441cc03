"""Trees in the form that the C library takes, made from a plan's checked arrays when it is loaded.

Thresholds become ranks among all thresholds of their cell; a tree's nodes are put level by level, the two children of a
node side by side; and of the upper part of each tree (its first 31 questions in that order) each question gets the
bits of the exits that remain when it is answered with no. `walker.c` says what it does with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.layout import CATEGORY, LEAF, MISSING_LEFT, WORDS

__all__ = ["CATEGORY_CODE", "COLUMN", "QUESTION", "STEP", "TREE", "UPPER", "packed"]

Array = NDArray[Any]
UPPER = 31  # questions, so that a tree's exits fit 32 bits
COLUMN = np.dtype([("cell", "<i4"), ("kind", "<i4"), ("first", "<i8"), ("count", "<i8")])
QUESTION = np.dtype([("column", "<i4"), ("threshold", "<i4"), ("mask", "<u4")])
STEP = np.dtype([(name, "<i4") for name in ("column", "threshold", "child", "leaf")])
TREE = np.dtype([(name, "<i4") for name in ("question", "numbers", "categories", "exit", "depth", "output")])
# kinds of columns: where a missing number goes, or a category
NUMBER_LEFT, NUMBER_RIGHT = 0, 1
CATEGORY_CODE = 2
LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class _Shape:
    """Nodes level by level within their trees. All fields count in this order; `order` holds their old places."""

    order: Array
    tree: Array
    inner: Array
    left: Array  # of inner nodes; the right child is the next one
    levels: list[Array]

    @property
    def pairs(self) -> list[tuple[Array, Array]]:
        """The inner nodes of each level, and their left children."""
        inner = [level[self.inner[level]] for level in self.levels]
        return [(places, self.left[places]) for places in inner]


def packed(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The library's arrays by name. The plan's are sound: every node but a root is the child of one node."""
    shape = _shape(arrays["nodes"], arrays["roots"])
    nodes = arrays["nodes"][shape.order]
    columns, thresholds, column, rank, sets = _questions(nodes, arrays["sets"])
    leaf = ~shape.inner
    number = np.where(leaf, np.cumsum(leaf) - 1, 0)
    steps = np.zeros(len(nodes), dtype=STEP)
    steps["column"], steps["threshold"] = np.where(leaf, 0, column), np.where(leaf, LARGEST, rank)
    steps["child"], steps["leaf"] = shape.left, number
    values, found = arrays["values"], nodes["threshold"][leaf]
    trees, questions, exits = _uppers(shape, steps, (nodes["flags"] & CATEGORY) != 0)
    trees["output"] = arrays["outputs"]
    return {
        "columns": columns,
        "thresholds": thresholds,
        "trees": trees,
        "questions": questions,
        "exits": exits,
        "nodes": steps,
        "values": np.ascontiguousarray(found[:, None] if values.shape[1] == 1 else values[found.astype(np.intp)]),
        "sets": sets,
    }


def _shape(nodes: Array, roots: Array) -> _Shape:
    inner = (nodes["flags"] & LEAF) == 0
    at, tree = roots.astype(np.intp), np.arange(len(roots))
    levels, trees = [], []
    while len(at):
        levels.append(at)
        trees.append(tree)
        parents = inner[at]
        at = np.stack([nodes["left"][at[parents]], nodes["right"][at[parents]]], axis=1).ravel().astype(np.intp)
        tree = np.repeat(tree[parents], 2)
    every, of_tree = np.concatenate(levels), np.concatenate(trees)
    sorting = np.argsort(of_tree, kind="stable")
    order = every[sorting]
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    left = np.where(inner[order], place[nodes["left"][order]], np.arange(len(order)))
    return _Shape(order, of_tree[sorting], inner[order], left, [place[level] for level in levels])


def _questions(nodes: Array, sets: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Columns of ranks, all thresholds, each node's column and rank (a category: its set's number), and the sets."""
    inner = (nodes["flags"] & LEAF) == 0
    category = inner & ((nodes["flags"] & CATEGORY) != 0)
    number = inner & ~category
    thresholds, rank, starts, counts = _ranks(nodes, number)
    kind = np.where(category, CATEGORY_CODE, np.where(nodes["flags"] & MISSING_LEFT, NUMBER_LEFT, NUMBER_RIGHT))
    # numbers first, and both kinds of one cell side by side
    key = np.where(category, 1 << 40, 0) + 2 * nodes["feature"].astype(np.int64) + (kind == NUMBER_RIGHT)
    keys, column = np.unique(key[inner], return_inverse=True)
    if not number.any():  # leaves ask the first column, which has to be one of numbers
        keys, column = np.insert(keys, 0, 0), column + 1
    columns = np.zeros(len(keys), dtype=COLUMN)
    of_category = keys >= 1 << 40
    columns["cell"] = (keys & ((1 << 40) - 1)) >> 1
    columns["kind"] = np.where(of_category, CATEGORY_CODE, keys & 1)
    columns["first"] = np.where(of_category, 0, starts[columns["cell"]])
    columns["count"] = np.where(of_category, 0, counts[columns["cell"]])
    all_columns = np.zeros(len(nodes), dtype=np.int64)
    all_columns[inner] = column
    rank[category] = np.arange(int(category.sum()))
    return columns, thresholds, all_columns, rank, _sets(nodes[category], sets)


def _ranks(nodes: Array, number: Array) -> tuple[Array, Array, Array, Array]:
    """Each cell's thresholds, ascending, cell after cell; each node's place among them; starts and counts by cell."""
    cell, threshold = nodes["feature"][number], nodes["threshold"][number] + 0.0  # no negative zero
    sorting = np.lexsort((threshold, cell))
    cell, threshold = cell[sorting], threshold[sorting]
    first = np.ones(len(cell), dtype=bool)
    first[1:] = (cell[1:] != cell[:-1]) | (threshold[1:] != threshold[:-1])
    counts = np.bincount(cell[first], minlength=int(nodes["feature"].max()) + 1)
    starts = np.cumsum(counts) - counts
    rank = np.zeros(len(nodes), dtype=np.int64)
    rank[np.flatnonzero(number)[sorting]] = np.cumsum(first) - 1 - starts[cell]
    return threshold[first], rank, starts, counts


def _sets(nodes: Array, sets: Array) -> Array:
    """For each node of categories a bit for each code that goes left, and one more for what counts as missing."""
    given = sets[nodes["threshold"].astype(np.intp)]
    missing = (nodes["flags"] & MISSING_LEFT) != 0
    found = np.zeros((len(nodes), WORDS + 1), dtype=np.uint32)
    found[:, :WORDS] = given[:, :WORDS] | np.where(missing[:, None], ~given[:, WORDS:], 0)
    found[:, WORDS] = missing
    return found


def _uppers(shape: _Shape, steps: Array, category: Array) -> tuple[Array, Array, Array]:
    """The trees, the questions of their upper parts (categories last), and the exits: leaves, or where to walk on."""
    count = int(shape.tree[-1]) + 1
    upper = _upper(shape)
    exits, below = np.zeros(len(steps), dtype=np.int64), np.full(len(steps), -1)
    below[shape.levels[0]] = np.where(upper[shape.levels[0]], -1, 0)  # -1 in the upper part, 0 at exits
    for places, left in shape.pairs:
        for child in (left, left + 1):
            below[child] = np.where(upper[child], -1, below[places] + 1)
    exits[below == 0] = 1
    for places, left in reversed(shape.pairs):
        exits[places] += np.where(upper[places], exits[left] + exits[left + 1], 0)
    first = np.zeros(len(steps), dtype=np.int64)
    for places, left in shape.pairs:
        first[left], first[left + 1] = first[places], first[places] + exits[left]
    asked = np.flatnonzero(upper)
    asked = asked[np.lexsort((category[asked], shape.tree[asked]))]
    struck = (np.uint64(1) << exits[shape.left[asked]].astype(np.uint64)) - np.uint64(1)
    questions = np.zeros(len(asked), dtype=QUESTION)
    questions["column"], questions["threshold"] = steps["column"][asked], steps["threshold"][asked]
    questions["mask"] = ~(struck << first[asked].astype(np.uint64)) & np.uint64(0xFFFFFFFF)
    trees = np.zeros(count, dtype=TREE)
    categories = np.bincount(shape.tree[asked][category[asked]], minlength=count)
    number = np.bincount(shape.tree[asked], minlength=count)
    trees["question"], trees["categories"] = np.cumsum(number) - number, categories
    trees["numbers"] = number - categories
    np.maximum.at(trees["depth"], shape.tree, below.astype(np.int32))
    out = np.flatnonzero(below == 0)
    out = out[np.lexsort((first[out], shape.tree[out]))]
    number = np.bincount(shape.tree[out], minlength=count)
    trees["exit"] = np.cumsum(number) - number
    walked = trees["depth"][shape.tree[out]] > 0
    return trees, questions, np.where(walked, out, steps["leaf"][out]).astype(np.int32)


def _upper(shape: _Shape) -> Array:
    """The first questions of each tree; with a node, all above it."""
    before = np.cumsum(shape.inner) - shape.inner
    root = np.searchsorted(shape.tree, shape.tree)
    return np.asarray(shape.inner & (before - before[root] < UPPER))
