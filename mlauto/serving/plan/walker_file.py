"""The C walker as a file: compiled once per machine where there is a compiler, and carried along with every bundle.

An installation without a compiler may bring the file along: `python walker_file.py FOLDER` makes it, with nothing but
Python, `walker.c` and a compiler, under a name that says what it was made from. It is looked for in `share/mlauto` of
the environment that Python runs in.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["LIBRARY", "SOURCE", "brought", "compiled", "compiler", "main"]

SOURCE = Path(__file__).with_name("walker.c")
LIBRARY = "walker.so"
# No -march: a bundle may run on another machine. No contraction into fused operations: sums are those of scikit-learn.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-shared", "-fPIC")
SECONDS = 60
SLOWER = "trees are walked by numpy, several times slower"


def compiler() -> str | None:
    """The C compiler's path; None when there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def brought() -> Path | None:
    """The library that this installation brings along; None when there is none for this source and this machine."""
    path = Path(sys.prefix, "share", "mlauto", _name())
    return path if path.is_file() and isinstance(_loadable(path), Path) else None


def compiled(cache: Path) -> Path | str:
    """The library in `cache`, copied or compiled unless it is there; or why there is none, as a sentence."""
    target = cache / _name()
    if target.is_file():
        return _loadable(target)
    ready, found = brought(), compiler()
    if ready is None and found is None:
        return f"there is no C compiler (apt-get install gcc): {SLOWER}"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / LIBRARY
        if ready is not None:
            shutil.copyfile(ready, made)
        elif found is not None:
            problem = _compile(found, made)
            if problem:
                return f"{found} {problem}: {SLOWER}"
        os.replace(made, target)
    return _loadable(target)


def _name() -> str:
    """What the library of this source, for this kind of machine, is called."""
    parts = [SOURCE.read_bytes(), *(flag.encode() for flag in FLAGS)]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return f"walker-{platform.machine()}-{key}.so"


def _compile(program: str, made: Path) -> str:
    """Why that compiler could not make the file; "" when it did."""
    command = [program, *FLAGS, "-o", str(made), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not work ({error})"
    return f"failed ({(done.stderr.strip().splitlines() or ['no message'])[0]})" if done.returncode != 0 else ""


def _loadable(library: Path) -> Path | str:
    """The library; or why not, for it may have been compiled for another C library or kind of machine."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return f"{error} (delete the file to have it compiled anew): {SLOWER}"
    return library


def main(folder: str) -> int:
    """Make the library in that folder; the exit code."""
    made = compiled(Path(folder))
    print(made)
    return 0 if isinstance(made, Path) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
