"""Trees as flat arrays, and the walk down all of them.

| array     | shape and type          | what it is                                                             |
|-----------|-------------------------|------------------------------------------------------------------------|
| `nodes`   | (nodes,) of `NODE`      | all trees' nodes, tree after tree, children after their parents        |
| `roots`   | (trees,) int64          | where each tree begins                                                 |
| `outputs` | (trees,) int32          | the (first) output that a tree's values are added to                   |
| `values`  | (leaves, depth) float64 | what leaves add where that is more than one number; else (0, 1)        |
| `sets`    | (sets, 16) uint32       | of a categorical node: 256 bits that go left, and 256 that are known   |

A leaf holds its one number, or the number of its row of values, in `threshold`, and is its own children; a categorical
node holds the number of its set in `threshold`. The C library, which takes the arrays packed, and numpy where there is
none give the same sums bit by bit.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.errors import RequestError
from mlauto.serving.plan import native
from mlauto.serving.plan.format import PlanError, Trees
from mlauto.serving.plan.layout import CATEGORY, LEAF, MISSING_LEFT, NODE, WORDS
from mlauto.serving.plan.packed import packed
from mlauto.serving.plan.prepare import Matrix

__all__ = ["sums"]

CHUNK = 1 << 18  # rows times trees that numpy walks at once: bounds memory
Arrays = Mapping[str, NDArray[Any]]
KINDS = {
    "nodes": (NODE, 1),
    **{name: (np.dtype(kind), 1) for name, kind in (("roots", "<i8"), ("outputs", "<i4"))},
    **{name: (np.dtype(kind), 2) for name, kind in (("values", "<f8"), ("sets", "<u4"))},
}


def sums(plan: Trees, arrays: Arrays, library: Path | None) -> Callable[[Matrix], Matrix]:
    """A function from prepared rows to each output's sum, (rows, outputs). Raises `PlanError` for unsound arrays.

    The function raises `RequestError` (422) for numbers that scikit-learn refuses as too large for float32.
    """
    _check(plan, arrays)
    add = _numpy_walk(arrays, single=plan.single) if library is None else _native_walk(plan, arrays, library)
    start, divide = np.array(plan.baseline, dtype=np.float64), plan.divide

    def run(cells: Matrix) -> Matrix:
        out = np.empty((len(cells), len(start)))
        out[:] = start
        if not add(cells, out):
            raise RequestError("the model refuses these values: one is too large for float32", 422)
        if divide != 1.0:
            out /= divide
        return out

    return run


def _check(plan: Trees, arrays: Arrays) -> None:
    for name, (kind, dimensions) in KINDS.items():
        found = arrays.get(name)
        if found is None or found.dtype != kind or found.ndim != dimensions:
            raise PlanError(f"the plan's array {name} is missing or of another type")
    nodes, roots, sets = arrays["nodes"], arrays["roots"], arrays["sets"]
    depth = arrays["values"].shape[1]
    ends = np.append(roots[1:], len(nodes))
    problems = {
        "no trees": not len(roots),
        "roots": len(roots) and (roots[0] != 0 or (roots >= ends).any()),
        "outputs": len(arrays["outputs"]) != len(roots)
        or (arrays["outputs"] < 0).any()
        or (arrays["outputs"] + depth > len(plan.baseline)).any(),
        "values": depth < 1 or not np.isfinite(arrays["values"]).all(),
        "sets": sets.shape[1] != 2 * WORDS,
        "thresholds": not np.isfinite(nodes["threshold"]).all(),
        "divide": not plan.divide >= 1,
    }
    bad = [name for name, found in problems.items() if found]
    if bad:
        raise PlanError(f"the plan's trees are not sound: {', '.join(bad)}")
    _check_nodes(plan, arrays, np.repeat(ends, ends - roots))


def _check_nodes(plan: Trees, arrays: Arrays, ends: NDArray[Any]) -> None:
    """Every walk goes forward and stays in its tree, which ends before `ends`, so that it ends."""
    nodes, (leaves, depth), sets = arrays["nodes"], arrays["values"].shape, len(arrays["sets"])
    places = np.arange(len(nodes))
    leaf = (nodes["flags"] & LEAF) != 0
    inner, category = ~leaf, ~leaf & ((nodes["flags"] & CATEGORY) != 0)
    threshold = nodes["threshold"]
    problems = {
        "flags": (nodes["flags"] > (LEAF | MISSING_LEFT | CATEGORY)).any(),
        "features": ((nodes["feature"] < 0) | (nodes["feature"] >= plan.width)).any(),
        "sets": (category & ((threshold < 0) | (threshold >= sets) | (threshold != np.floor(threshold)))).any(),
        "leaves": depth > 1
        and (leaf & ((threshold < 0) | (threshold >= leaves) | (threshold != np.floor(threshold)))).any(),
    }
    for side in ("left", "right"):
        problems[side] = (
            inner & ((nodes[side] <= places) | (nodes[side] >= ends)) | leaf & (nodes[side] != places)
        ).any()
    bad = [name for name, found in problems.items() if found]
    if bad:
        raise PlanError(f"the plan's nodes are not sound: {', '.join(bad)}")
    _check_parents(arrays)


def _check_parents(arrays: Arrays) -> None:
    """All of a tree is below its root, in one way only."""
    nodes = arrays["nodes"]
    inner = nodes[(nodes["flags"] & LEAF) == 0]
    parents = np.bincount(np.concatenate([inner["left"], inner["right"]]), minlength=len(nodes))
    parents[arrays["roots"]] += 1
    if (parents != 1).any():
        raise PlanError(f"the plan's nodes are not sound: {int((parents != 1).sum())} have no parent, or several")


def _native_walk(plan: Trees, arrays: Arrays, library: Path) -> native.Walk:
    try:
        return native.walker(library, packed(arrays), plan.width, single=plan.single)
    except OSError as error:
        raise PlanError(f"{library} cannot be used here ({error}): build the bundle on this kind of machine") from error
    except native.OutdatedError as error:
        print(f"{error}: trees are walked by numpy, several times slower; train again", file=sys.stderr, flush=True)
        return _numpy_walk(arrays, single=plan.single)


def _numpy_walk(arrays: Arrays, *, single: bool) -> native.Walk:
    nodes, roots, outputs, values = (arrays[name] for name in ("nodes", "roots", "outputs", "values"))
    fields = {name: np.ascontiguousarray(nodes[name]) for name in NODE.names or ()}
    leaf = (fields["flags"] & LEAF) != 0
    some = max(1, CHUNK // len(roots))

    def walk(cells: Matrix, out: Matrix) -> bool:
        if single:
            with np.errstate(over="ignore"):
                cells = cells.astype(np.float32).astype(np.float64)
            if np.isinf(cells).any():
                return False
        for first in range(0, len(cells), some):
            part = cells[first : first + some]
            ends = _ends(fields, leaf, roots, arrays["sets"], part)
            for tree, output in enumerate(outputs):
                if values.shape[1] == 1:
                    out[first : first + some, output] += fields["threshold"][ends[:, tree]]
                else:
                    rows = values[fields["threshold"][ends[:, tree]].astype(np.intp)]
                    out[first : first + some, output : output + values.shape[1]] += rows
        return True

    return walk


def _ends(fields: Arrays, leaf: NDArray[Any], roots: NDArray[Any], sets: NDArray[Any], cells: Matrix) -> NDArray[Any]:
    """The leaf of each row in each tree, (rows, trees): all walk in step, those that have arrived drop out."""
    at = np.tile(roots, (len(cells), 1)).ravel()
    row = np.repeat(np.arange(len(cells)), len(roots))
    active = np.flatnonzero(~leaf[at])
    while len(active):
        here = at[active]
        x = cells[row[active], fields["feature"][here]]
        flags, threshold = fields["flags"][here], fields["threshold"][here]
        left = (x <= threshold) | (np.isnan(x) & ((flags & MISSING_LEFT) != 0))
        category = np.flatnonzero(flags & CATEGORY)
        if len(category):
            left[category] = _category_left(sets, threshold[category], x[category], flags[category])
        at[active] = np.where(left, fields["left"][here], fields["right"][here])
        active = active[~leaf[at[active]]]
    return at.reshape(len(cells), len(roots))


def _category_left(sets: NDArray[Any], which: Matrix, x: Matrix, flags: NDArray[Any]) -> NDArray[np.bool_]:
    """As scikit-learn's boosted trees ask: what is negative or was never seen counts as missing."""
    real = (x >= 0) & (x < 32 * WORDS)  # False for NaN
    code = np.where(real, x, 0.0).astype(np.uint32)
    rows = sets[which.astype(np.intp)]
    word, bit = code >> 5, code & 31
    place = np.arange(len(code))
    known_left = (rows[place, word] >> bit) & 1 == 1
    known = (rows[place, WORDS + word] >> bit) & 1 == 1
    missing = (flags & MISSING_LEFT) != 0
    return np.asarray(np.where(real & (known_left | known), known_left, missing))
