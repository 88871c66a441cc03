"""The C walker: compiled once per machine where there is a compiler, and then carried along with every bundle."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIBRARY", "SOURCE", "Walk", "compiled", "compiler", "loaded"]

SOURCE = Path(__file__).with_name("walker.c")
LIBRARY = "walker.so"
# No -march: a bundle may run on another machine. No contraction into fused operations: sums are those of scikit-learn.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
SECONDS = 60
# the six arrays of the trees, then X, and the sums that are added to
Walk = Callable[[NDArray[np.float64], NDArray[np.float64]], None]


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
        return target
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
    return target


def loaded(library: Path) -> Any:
    """The library's function. Raises `OSError` when it was made for another machine."""
    function = ctypes.CDLL(str(library)).mlauto_walk
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    head: list[Any] = [pointer, pointer, pointer, number, pointer, number, pointer, number]
    function.argtypes = [*head, pointer, number, number, pointer, number]
    function.restype = None
    return function
