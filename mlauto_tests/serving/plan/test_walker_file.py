"""The C walker's compilation: once per machine, brought along, or a reason where there is no compiler."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.serving.plan import walker_file
from mlauto.serving.plan.walker_file import SOURCE, brought, compiled, compiler, main


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this installation's library lies when it brings one along: it has none, and no compiler either."""
    (tmp_path / "no-programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    return tmp_path / "prefix" / "share" / "mlauto"


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


def test_without_a_compiler_there_is_a_reason(tmp_path: Path, installation: Path) -> None:
    """It says what to install, and what it costs not to."""
    assert not installation.exists()
    assert compiler() is None

    assert "apt-get install gcc" in str(compiled(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_what_was_brought_along_needs_no_compiler(tmp_path: Path, walker: Path, installation: Path) -> None:
    """It is copied into the cache, which is what containers of jobs get to see, and found there from then on."""
    installation.mkdir(parents=True)
    shutil.copy(walker, installation)

    first = compiled(tmp_path / "cache")

    assert brought() == installation / walker.name
    assert first == tmp_path / "cache" / walker.name
    assert first.read_bytes() == walker.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == [walker.name]
    shutil.rmtree(installation)
    assert compiled(tmp_path / "cache") == first


@pytest.mark.parametrize("differs", ["source", "flags", "machine", "content"])
def test_what_was_brought_along_for_something_else_is_not_taken(
    tmp_path: Path, walker: Path, installation: Path, monkeypatch: pytest.MonkeyPatch, differs: str
) -> None:
    """Other sources, other flags, another kind of machine, or a file that cannot be loaded: as if there were none."""
    installation.mkdir(parents=True)
    shutil.copy(walker, installation)
    if differs == "source":
        (tmp_path / "walker.c").write_bytes(SOURCE.read_bytes() + b"\n")
        monkeypatch.setattr(walker_file, "SOURCE", tmp_path / "walker.c")
    elif differs == "flags":
        monkeypatch.setattr(walker_file, "FLAGS", (*walker_file.FLAGS, "-g"))
    elif differs == "machine":
        monkeypatch.setattr("platform.machine", lambda: "riscv64")
    else:
        (installation / walker.name).write_bytes(b"\x7fELF of somebody else")

    assert brought() is None
    assert "there is no C compiler" in str(compiled(tmp_path / "cache"))


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
def test_a_library_of_another_machine_has_a_reason(tmp_path: Path) -> None:
    """A cache may be seen by another C library, or be damaged: nobody is given what he cannot load."""
    first = compiled(tmp_path)
    assert isinstance(first, Path), first
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / first.name).write_bytes(b"\x7fELF of somebody else")

    reason = str(compiled(tmp_path / "other"))

    assert first.name in reason
    assert "trees are walked by numpy" in reason


@pytest.mark.needs("compiler")
def test_two_files_and_a_bare_python_make_it(tmp_path: Path, walker: Path) -> None:
    """As in the image's build, where nothing of ours is installed: under the very name that is looked for later."""
    for name in ("walker_file.py", "walker.c"):
        shutil.copy(SOURCE.with_name(name), tmp_path)
    command = [sys.executable, "-I", "-S", str(tmp_path / "walker_file.py"), str(tmp_path / "made")]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'made' / walker.name}\n"), done.stderr
    assert ctypes.CDLL(str(tmp_path / "made" / walker.name)).mlauto_sum_leaves


def test_a_build_without_a_compiler_fails(
    tmp_path: Path, installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason: an image must not silently lack it."""
    assert not installation.exists()

    assert main(str(tmp_path / "made")) == 1
    assert "apt-get install gcc" in capsys.readouterr().out
