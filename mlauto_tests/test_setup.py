"""The set-up script: instant when nothing changed, and a clear sentence where a machine lacks something."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TOOLS = ("bash", "cat", "chmod", "cut", "dirname", "env", "grep", "rm", "sed", "sha256sum")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the script and its locks, and a PATH with nothing but what the script calls."""
    (tmp_path / "scripts").mkdir()
    shutil.copy2(CHECKOUT / "scripts" / "setup", tmp_path / "scripts")
    shutil.copy2(CHECKOUT / "requirements-dev.lock", tmp_path)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / "bin" / tool).symlink_to(found)
    return tmp_path


def program(checkout: Path, name: str, body: str) -> None:
    """A program on the checkout's PATH."""
    path = checkout / "bin" / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the script there."""
    return subprocess.run(
        [checkout / "scripts" / "setup"],
        env={"PATH": str(checkout / "bin"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_without_python_the_next_step_is_named(checkout: Path) -> None:
    """Neither Python nor uv: both ways out are offered."""
    ran = setup(checkout)

    assert ran.returncode == 1
    assert "no Python 3.11 to 3.14 found" in ran.stderr
    assert "apt-get install python3 python3-venv" in ran.stderr
    assert "install uv" in ran.stderr


def test_a_python_that_is_too_old_is_none(checkout: Path) -> None:
    """The version is asked of the interpreter, not read from its name."""
    program(checkout, "python3.12", "exit 1")

    assert "no Python 3.11 to 3.14 found" in setup(checkout).stderr


def test_debian_without_venv_says_what_to_install(checkout: Path) -> None:
    """A Python without ensurepip cannot make an environment; nothing half-made is left."""
    program(checkout, "python3", 'case "$2" in *ensurepip*) exit 1 ;; esac')

    ran = setup(checkout)

    assert ran.returncode == 1
    assert "apt-get install python3-venv" in ran.stderr
    assert not (checkout / ".venv").exists()


def test_a_complete_python_is_preferred(checkout: Path) -> None:
    """Of two interpreters, the one that can make environments is taken."""
    program(checkout, "python3.11", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    program(checkout, "python3.13", '[ "$2" = venv ] && echo "venv by 3.13" >&2 && exit 3; exit 0')

    ran = setup(checkout)

    assert "with python3.13, by venv and pip" in ran.stderr
    assert "venv by 3.13" in ran.stderr
    assert ran.returncode == 3


def test_a_chosen_python_must_do(checkout: Path) -> None:
    """PYTHON is not silently replaced by another one."""
    program(checkout, "python3.12", "exit 0")
    program(checkout, "mine", "exit 1")

    ran = setup(checkout, PYTHON="mine")

    assert ran.returncode == 1
    assert "PYTHON=mine is no Python 3.11 to 3.14" in ran.stderr


def test_a_failing_install_is_not_remembered_as_done(checkout: Path) -> None:
    """An interrupted download leaves no stamp: the next call tries again."""
    program(checkout, "uv", 'echo "uv $*" >&2; [ "$1" = venv ] && exit 0; exit 7')
    program(checkout, "python3", "exit 0")

    first, second = setup(checkout), setup(checkout)

    assert (first.returncode, second.returncode) == (7, 7)
    assert "--require-hashes --only-binary :all: --compile-bytecode" in second.stderr
    assert not (checkout / ".venv" / ".mlauto-setup").exists()


def test_the_second_time_is_instant_until_the_lock_changes(checkout: Path) -> None:
    """The stamp is keyed by content: touching the lock does nothing, changing it sets up again."""
    log = checkout / "calls"
    inner = f'#!/bin/sh\ncase "$*" in *sysconfig*) echo {checkout}/.venv/site ;; esac\nexit 0\n'.replace("\n", "\\n")
    program(
        checkout,
        "uv",
        f'echo "$1" >>{log}\n'
        'if [ "$1" = venv ]; then\n'
        f"  /bin/mkdir -p {checkout}/.venv/bin {checkout}/.venv/site\n"
        f"  printf '{inner}' >{checkout}/.venv/bin/python\n"
        f"  chmod +x {checkout}/.venv/bin/python\n"
        f"  echo VIRTUAL_ENV={checkout}/.venv >{checkout}/.venv/bin/activate\n"
        "fi",
    )
    program(checkout, "python3", "exit 0")
    lock = checkout / "requirements-dev.lock"

    first = setup(checkout)
    lock.touch()
    second = setup(checkout)
    lock.write_text(lock.read_text() + "# changed\n")
    third = setup(checkout)

    assert [ran.returncode for ran in (first, second, third)] == [0, 0, 0], first.stderr
    assert "ready in" in first.stderr
    assert second.stderr == ""
    assert "bringing it up to date" in third.stderr
    assert log.read_text().split() == ["venv", "pip", "pip"]
    assert (checkout / ".venv" / "site" / "mlauto.pth").read_text().strip() == str(checkout)
    assert (checkout / ".venv" / "bin" / "mlauto").stat().st_mode & 0o111


def test_make_lists_its_targets() -> None:
    """`make` alone shows every documented target with its line of help."""
    ran = subprocess.run(["make", "-C", CHECKOUT], capture_output=True, text=True, check=True)

    listed = {line.split()[1] for line in ran.stdout.splitlines() if line.startswith("  make ")}
    assert listed == {"help", "setup", "demo", "test", "check", "dev", "bench", "images", "push", "lock", "clean"}


@pytest.mark.parametrize("script", [".ci/run", "scripts/setup", "scripts/lock"])
def test_scripts_are_strict_and_parse(script: str) -> None:
    """Executable, without syntax errors, and ended by the first command that fails."""
    path = CHECKOUT / script

    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text()
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
