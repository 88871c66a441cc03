"""The C walker as a function: `walker_file` makes the library, ctypes calls it."""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.packed import CATEGORY_CODE

__all__ = ["OutdatedError", "Walk", "walker"]

# takes X, whatever its strides, and the sums, to which it adds; False when a number is too large for float32
Walk = Callable[[NDArray[np.float64], NDArray[np.float64]], bool]
ARRAYS = ("columns", "thresholds", "trees", "questions", "exits", "nodes", "values", "sets")
COUNTS = ("column_count", "first_category", "tree_count", "numbers", "width", "single")
DONE, TOO_LARGE = 0, 1


class OutdatedError(Exception):
    """A library that was compiled from other sources than these."""


class _Forest(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ARRAYS),
        *((name, ctypes.c_int64) for name in COUNTS),
    )


def walker(library: Path, arrays: Mapping[str, NDArray[Any]], width: int, *, single: bool) -> Walk:
    """The library's function for trees as `packed` makes them; `single`: numbers are rounded to float32 first.

    Raises `OSError` when the library was made for another machine, and `OutdatedError` when it lacks the function.
    """
    try:
        function = ctypes.CDLL(str(library)).mlauto_sum_leaves
    except AttributeError:
        raise OutdatedError(f"{library} is of an earlier version") from None
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer, pointer, number, number, number, pointer, number]
    function.restype = ctypes.c_int
    kept = {name: np.ascontiguousarray(arrays[name]) for name in ARRAYS}
    kinds = kept["columns"]["kind"]
    counts = (len(kinds), int((kinds != CATEGORY_CODE).sum()), len(kept["trees"]), kept["values"].shape[1], width)
    forest = _Forest(*(array.ctypes.data for array in kept.values()), *counts, int(single))
    address = ctypes.addressof(forest)

    def walk(cells: NDArray[np.float64], out: NDArray[np.float64], _kept: object = (kept, forest)) -> bool:
        row, cell = cells.strides
        # cheaper than .ctypes, which makes an object
        source, target = cells.__array_interface__["data"][0], out.__array_interface__["data"][0]
        done = function(address, source, len(cells), row >> 3, cell >> 3, target, out.shape[1])
        if done > TOO_LARGE:
            raise MemoryError
        return bool(done == DONE)

    return walk
