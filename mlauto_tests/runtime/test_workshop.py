"""The workshop that is the machine itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop, Workshop, bench_environment, environment_digest


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """One without a warm process."""
    return LocalWorkshop(WarmProcess(tmp_path / "warm.sock"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one file."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "here").write_text("here")
    return tmp_path / "tree"


def test_a_bench_is_a_copy_that_goes_away(workshop: Workshop, tree: Path) -> None:
    """Commands share it, and its tree stays as it is; a report lies where it is said to."""
    lines: list[str] = []
    with workshop.bench(tree) as bench:
        first = bench.run(
            ["sh", "-c", f"rm here; echo made > made; echo report > {bench.scratch}/report; echo said"],
            timeout=20,
            on_line=lines.append,
            limit=1000,
            report="report",
        )
        second = bench.run(["cat", "made"], timeout=20, on_line=None, limit=1000)
        assert bench.file("report").read_text() == "report\n"
        assert not bench.file("other").exists()

    assert (first.exit_code, lines, second.output) == (0, ["said"], "made\n")
    assert [path.name for path in tree.iterdir()] == ["here"]
    assert not Path(bench.scratch).exists()
    assert bench.image == workshop.image() == ""


def test_a_program_that_is_not_there_is_told(workshop: Workshop, tree: Path) -> None:
    """In words that fit a command of a product."""
    with workshop.bench(tree) as bench:
        ended = bench.run(["no-such-program"], timeout=20, on_line=None, limit=1000)

    assert (ended.exit_code, ended.why) == (127, "no such program here: install it, or correct code.checks")


def test_python_runs_beside_us(workshop: Workshop, tree: Path, tmp_path: Path) -> None:
    """With the files of this machine; what it writes lies where it wrote it."""
    (tree / "module.py").write_text("import sys\nopen('out', 'w').write(open(sys.argv[1]).read())\n")

    ended = workshop.python(tree)(
        "module",
        tree / "here",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tree)},
        timeout=20,
        reads=[tree],
        fetch=["out"],
    )

    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "out").read_text() == "here"


def test_the_trees_sources_come_first(tree: Path) -> None:
    """`src` where there is one, else the tree; as the command sees the copy."""
    assert bench_environment(tree, "/copy", "/scratch")["PYTHONPATH"] == "/copy"
    (tree / "src").mkdir()
    assert bench_environment(tree, "/copy", "/scratch") == {
        "HOME": "/scratch/home",
        "TMPDIR": "/scratch/home",
        "PYTHONPATH": "/copy/src",
    }


def test_asking_for_the_environment_loads_no_library() -> None:
    """Sensors ask for its digest: neither scikit-learn nor pandas nor MLflow may come with it."""
    code = (
        "import sys, mlauto.training.train\nfrom mlauto.runtime.workshop import environment_digest\n"
        "environment_digest()\n"
        "print(sorted({'mlflow', 'sklearn', 'pandas', 'scipy', 'matplotlib', 'pyarrow', 'docker'} & set(sys.modules)))"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"


def test_nothing_is_left_to_tidy_up(workshop: Workshop, tree: Path) -> None:
    """On this machine a job is gone at its end."""
    with workshop.bench(tree):
        assert workshop.tidy() == ()
    assert workshop.tidy() == ()


def test_the_environment_digest_is_stable(workshop: Workshop) -> None:
    """Two calls agree: it holds versions, no times."""
    assert environment_digest() == environment_digest() == workshop.environment()
    assert len(environment_digest()) == 64
