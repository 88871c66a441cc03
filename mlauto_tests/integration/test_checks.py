"""Real linters and tests on small trees."""

import os
from pathlib import Path

import pytest

from mlauto.integration.checks import kind_of, refused, run_checks
from mlauto.records import CheckResult, CiReport, Commit
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop

COMMIT = Commit(sha="a" * 40, tree="t", subject="s", author="Ada", time=0.0)


def check(tree: Path, *commands: str, timeout: float = 60, lines: list[str] | None = None) -> CiReport:
    workshop = LocalWorkshop(WarmProcess(tree / "warm.sock"))
    on_line = None if lines is None else lines.append
    return run_checks(COMMIT, tree, commands, workshop=workshop, timeout=timeout, on_line=on_line)


def only(report: CiReport) -> CheckResult:
    (result,) = report.results
    return result


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package below src with one passing test."""
    (tmp_path / "tree" / "src" / "pack").mkdir(parents=True)
    (tmp_path / "tree" / "tests").mkdir()
    (tmp_path / "tree" / "src" / "pack" / "__init__.py").write_text('"""A package."""\n\nVALUE = 1\n')
    (tmp_path / "tree" / "tests" / "test_pack.py").write_text(
        "import pack\n\n\ndef test_value():\n    assert pack.VALUE == 1\n"
    )
    return tmp_path / "tree"


def test_green_commit(tree: Path) -> None:
    """Linters and tests of the project's own environment pass; the package below src is found."""
    lines: list[str] = []

    report = check(tree, "ruff check .", "pytest -q", lines=lines)

    lint, tests = report.results
    assert report.passed, report
    assert (lint.kind, lint.exit_code, lint.failures) == ("lint", 0, ())
    assert (tests.kind, tests.tests, tests.failures) == ("tests", 1, ())
    assert tests.seconds > 0
    assert lines[0] == "$ ruff check ."
    assert any("1 passed" in line for line in lines)
    assert "1 passed" in tests.output


def test_exported_tree_is_not_touched(tree: Path) -> None:
    """Checks work on a copy: neither caches nor what a test writes reach the export."""
    (tree / "tests" / "test_write.py").write_text("def test_w():\n    open('dropped.txt', 'w').close()\n")
    before = sorted(p.relative_to(tree) for p in tree.rglob("*"))

    assert check(tree, "pytest -q").passed
    assert sorted(p.relative_to(tree) for p in tree.rglob("*")) == before


def test_red_tests_are_named(tree: Path) -> None:
    """Every failing test is named with its message; linters run nevertheless."""
    (tree / "tests" / "test_bad.py").write_text(
        "import os\n\n\ndef test_bad():\n    assert 1 == 2, 'numbers differ'\n\n\ndef test_broken(nothing):\n    pass\n"
    )

    report = check(tree, "ruff check .", "python -m pytest -q")

    lint, tests = report.results
    assert not lint.passed
    assert "F401" in lint.output
    assert lint.failures == ("'ruff check .' ended with exit code 1",)
    assert (tests.tests, tests.exit_code) == (3, 1)
    assert [line.split(": ")[0] for line in tests.failures] == [
        "tests.test_bad::test_bad",
        "tests.test_bad::test_broken",
    ]
    assert "numbers differ" in tests.failures[0]
    assert "/tmp" not in tests.output.replace(str(tree), "")


def test_commit_without_tests_is_red(tree: Path) -> None:
    """No tests is no proof."""
    (tree / "tests" / "test_pack.py").unlink()

    result = only(check(tree, "pytest -q"))

    assert not result.passed
    assert (result.tests, result.exit_code) == (0, 5)
    assert "found no tests" in result.failures[0]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("no-such-program --x", "no such program"),
        ("", "no such program"),
        ("pytest 'unclosed", "cannot be split into words"),
        ("./missing.sh", "no such program"),
        ("./data.sh", "ended with exit code 127"),
    ],
)
def test_commands_that_cannot_run_are_failures(tree: Path, command: str, sentence: str) -> None:
    """A wrong command is a red result that names itself, not an exception."""
    (tree / "data.sh").write_bytes(b"\x00\x01\x02 no program")
    (tree / "data.sh").chmod(0o755)

    result = only(check(tree, command))

    assert not result.passed
    assert sentence in result.failures[0]
    assert result.exit_code in {None, 127}


def test_time_limit(tree: Path) -> None:
    """A check that hangs is stopped, with what it wrote so far."""
    result = only(check(tree, "python -c \"import time; print('begun'); time.sleep(60)\"", timeout=1.5))

    assert not result.passed
    assert result.seconds < 20
    assert "begun" in result.output
    assert "time limit of 1.5 s" in result.failures[0]


def test_nothing_of_ours_is_in_the_environment(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets and settings of this process do not reach other people's code; its home is empty and its own."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("MLAUTO_HOME", "hidden")
    monkeypatch.setenv("PYTHONPATH", "hidden")

    (tree / "show.py").write_text("import os, pack\nprint(dict(os.environ), os.listdir(os.environ['HOME']))\n")

    result = only(check(tree, "python show.py"))

    assert result.passed, result.output
    assert "hidden" not in result.output
    assert f"'HOME': '{os.environ['HOME']}'" not in result.output
    assert result.output.rstrip().endswith("[]")


def test_commands_are_no_shell_lines(tree: Path, tmp_path: Path) -> None:
    """Separators and substitutions are plain arguments."""
    result = only(check(tree, f"python -c pass ; touch {tmp_path}/evil $(touch {tmp_path}/evil)"))

    assert result.passed
    assert not (tmp_path / "evil").exists()


def test_long_output_is_cut_in_the_middle(tree: Path) -> None:
    """Beginning and end are kept."""
    (tree / "talk.py").write_text("print('first')\nfor n in range(9999):\n    print(n, 'y' * 99)\nprint('last')\n")

    result = only(check(tree, "python talk.py"))

    assert len(result.output) < 70_000
    assert result.output.startswith("first")
    assert result.output.rstrip().endswith("last")


def test_package_at_the_root(tmp_path: Path) -> None:
    """Without src the tree itself is the import root, also with pytest's importlib mode."""
    (tmp_path / "pack.py").write_text("VALUE = 1\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_pack.py").write_text("import pack\n\n\ndef test_v():\n    assert pack.VALUE\n")

    assert check(tmp_path, "pytest -q --import-mode=importlib").passed


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        (["ruff", "check", "."], "lint"),
        (["python", "-m", "mypy", "src"], "lint"),
        (["/usr/bin/black", "--check", "."], "lint"),
        (["pytest"], "tests"),
        (["python", "-m", "pytest"], "tests"),
        (["make", "test"], "tests"),
        ([], "tests"),
    ],
)
def test_kind_of_a_command(argv: list[str], kind: str) -> None:
    """Linters, formatters and type checkers are lint; everything else tests."""
    assert kind_of(argv) == kind


def test_refused_commit_is_red() -> None:
    """A tree that cannot be exported gives a report all the same, so that it is not tried for ever."""
    report = refused(COMMIT, "link 'x' points outside")

    assert not report.passed
    assert report.results[0].failures == ("link 'x' points outside",)
