"""The C walker's compilation: once per machine, and a reason where there is no compiler."""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest

from mlauto.serving.plan.native import SOURCE, OutdatedError, compiled, compiler, walker


@pytest.mark.needs("compiler")
def test_it_is_compiled_once(tmp_path: Path) -> None:
    """The second call finds the file of the first, and nothing else is left in the cache."""
    first = compiled(tmp_path)
    assert isinstance(first, Path), first
    made = first.stat().st_mtime_ns

    assert compiled(tmp_path) == first
    assert first.stat().st_mtime_ns == made
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert ctypes.CDLL(str(first)).mlauto_sum_leaves


def test_without_a_compiler_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and what it costs not to."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "apt-get install gcc" in str(compiled(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("script", "message"), [("echo 'no headers' >&2; exit 1", "no headers"), ("exit 3", "no message")]
)
def test_a_compiler_that_fails_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    """Its first line is the reason, and nothing is left in the cache."""
    compiler = tmp_path / "cc"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")

    found = compiled(tmp_path / "cache")

    assert f"failed ({message})" in str(found)
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_source_is_plain_c() -> None:
    """No Python headers: any compiler will do."""
    included = [line for line in SOURCE.read_text().splitlines() if line.startswith("#include")]

    assert included == ["#include <stdint.h>", "#include <stdlib.h>"]


@pytest.mark.needs("compiler")
def test_a_library_of_an_earlier_version_is_told_apart(tmp_path: Path) -> None:
    """Its bundle is still good: whoever asks walks by other means."""
    source, library = tmp_path / "old.c", tmp_path / "old.so"
    source.write_text("void mlauto_walk(void) {}")
    subprocess.run([str(compiler()), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)

    with pytest.raises(OutdatedError, match=r"old\.so is of an earlier version"):
        walker(library, {}, 1, single=False)


@pytest.mark.needs("compiler")
def test_a_library_of_another_machine_has_a_reason(tmp_path: Path) -> None:
    """A cache may be seen by another C library, or be damaged: nobody is given what he cannot load."""
    first = compiled(tmp_path)
    assert isinstance(first, Path), first
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / first.name).write_bytes(b"\x7fELF of somebody else")

    reason = str(compiled(tmp_path / "other"))

    assert first.name in reason
    assert "trees are walked by numpy" in reason
