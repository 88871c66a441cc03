"""The C walker: compiled once per machine where there is a compiler, and then carried along with every bundle."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.packed import CATEGORY_CODE

__all__ = ["LIBRARY", "SOURCE", "OutdatedError", "Walk", "compiled", "compiler", "walker"]

SOURCE = Path(__file__).with_name("walker.c")
LIBRARY = "walker.so"
# No -march: a bundle may run on another machine. No contraction into fused operations: sums are those of scikit-learn.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
SECONDS = 60
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


def compiler() -> str | None:
    """The C compiler's path; None when there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(cache: Path) -> Path | str:
    """The library, compiled into `cache` unless it is there already; or why there is none, as a sentence."""
    found = compiler()
    source = SOURCE.read_bytes()
    key = hashlib.sha256(b"\0".join([source, *(flag.encode() for flag in FLAGS)])).hexdigest()[:16]
    target = cache / f"walker-{platform.machine()}-{key}.so"
    if target.is_file():
        return _loadable(target)
    if found is None:
        return "there is no C compiler (apt-get install gcc): trees are walked by numpy, several times slower"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / LIBRARY
        command = [found, *FLAGS, "-o", str(made), str(SOURCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{found} does not work ({error}): trees are walked by numpy, several times slower"
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            return f"{found} failed ({reason}): trees are walked by numpy, several times slower"
        os.replace(made, target)
    return _loadable(target)


def _loadable(library: Path) -> Path | str:
    """The library; or why not, for it may have been compiled for another C library or kind of machine."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error} (delete the file to have it compiled anew): trees are walked by numpy, several times slower"
    return library


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
