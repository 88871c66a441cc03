"""The C walker's function, and libraries that lack it; what it answers is in `test_trees.py`."""

import subprocess
from pathlib import Path

import pytest

from mlauto.serving.plan.native import OutdatedError, walker
from mlauto.serving.plan.walker_file import compiler


@pytest.mark.needs("compiler")
def test_a_library_of_an_earlier_version_is_told_apart(tmp_path: Path) -> None:
    """Its bundle is still good: whoever asks walks by other means."""
    source, library = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text("void mlauto_walk(void) {}")
    subprocess.run([str(compiler()), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)

    with pytest.raises(OutdatedError, match=r"old\.so is of an earlier version"):
        walker(library, {}, 1, single=False)


def test_what_is_no_library_is_an_error(tmp_path: Path) -> None:
    """That of the system, which names the file."""
    (tmp_path / "walker.so").write_bytes(b"\x7fELF of somebody else")

    with pytest.raises(OSError, match=r"walker\.so"):
        walker(tmp_path / "walker.so", {}, 1, single=False)
