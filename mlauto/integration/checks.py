"""A commit's own checks: its linters and tests, run on a copy of its tree with nothing of ours in the environment.

A command is a program and its arguments, never a shell line. Whatever goes wrong with one (a time limit, a program that
is not there, no tests at all) is a failed result with a sentence, for it is a verdict on the commit.
"""

import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mlauto.integration.junit import read_junit
from mlauto.records import CheckResult, CiReport, Commit
from mlauto.runtime.process import Finished, run_command, scrubbed_environment

__all__ = ["LINTERS", "kind_of", "refused", "run_checks"]

FORMATTERS = {"black", "codespell", "isort", "pre-commit", "pycodestyle", "pydocstyle", "ruff", "yamllint"}
LINTERS = frozenset(FORMATTERS | {"bandit", "flake8", "mypy", "pyflakes", "pylint", "pyright", "ty", "vulture"})
NO_TESTS = 5  # pytest's exit code
OUTPUT_LIMIT = 64_000


def run_checks(
    commit: Commit,
    tree: Path,
    commands: Sequence[str],
    *,
    timeout: float,
    on_line: Callable[[str], None] | None = None,
) -> CiReport:
    """Run every command, also after a failed one, in a copy of `tree`; `timeout` is in seconds, for each.

    `python`, `pytest`, `ruff` and the like are those of the environment that runs this. `PYTHONPATH` is the tree's
    `src` if there is one, else the tree. `on_line` gets each line of output as it comes.
    """
    with tempfile.TemporaryDirectory(prefix="mlauto-ci-") as scratch:
        sandbox = _Sandbox(Path(scratch), timeout, on_line)
        shutil.copytree(tree, sandbox.tree, symlinks=True)
        return CiReport(commit=commit, results=tuple(sandbox.run(command) for command in commands))


def refused(commit: Commit, problem: str) -> CiReport:
    """The red report of a commit whose tree cannot even be exported; `problem` says why."""
    result = CheckResult(kind="tests", command="export", passed=False, seconds=0.0, output=problem, failures=(problem,))
    return CiReport(commit=commit, results=(result,))


def kind_of(argv: Sequence[str]) -> str:
    """`lint` for linters, formatters and type checkers, also as `python -m ruff`; otherwise `tests`."""
    return "lint" if _program(argv) in LINTERS else "tests"


def _program(argv: Sequence[str]) -> str:
    """What really runs: the program's name without its folder, or the module of `python -m module`."""
    name = Path(argv[0]).name if argv else ""
    if name.startswith("python") and len(argv) > 2 and argv[1] == "-m":
        return argv[2]
    return name


class _Sandbox:
    """One copy of a tree, and how commands run in it."""

    def __init__(self, scratch: Path, timeout: float, on_line: Callable[[str], None] | None) -> None:
        self.tree = scratch / "tree"
        self.scratch = scratch
        self.timeout = timeout
        self.on_line = on_line

    def run(self, command: str) -> CheckResult:
        try:
            argv = shlex.split(command)
        except ValueError as error:
            return _not_run(command, f"{command!r} cannot be split into words ({error}): correct code.checks")
        program = self._find(argv[0]) if argv else None
        if program is None:
            return _not_run(command, f"{command!r}: no such program here: install it, or correct code.checks", argv)
        self._say(f"$ {command}")
        report = self.scratch / "junit.xml"
        report.unlink(missing_ok=True)
        tested = _program(argv) in {"pytest", "py.test"}
        extra = [f"--junitxml={report}", "-p", "no:cacheprovider"] if tested else []
        at = 3 if _program(argv) != Path(argv[0]).name else 1
        finished = run_command(
            [program, *argv[1:at], *extra, *argv[at:]],
            cwd=self.tree,
            env=self._environment(),
            timeout=self.timeout,
            on_line=self.on_line,
            limit=OUTPUT_LIMIT,
        )
        result = self._result(command, kind_of(argv), finished)
        return _with_tests(result, report) if tested else result

    def _find(self, program: str) -> str | None:
        if "/" in program:
            return shutil.which(str(self.tree / program))
        return shutil.which(program, path=self._environment()["PATH"])

    def _environment(self) -> dict[str, str]:
        home = self.scratch / "home"
        home.mkdir(exist_ok=True)
        source = self.tree / "src"
        return scrubbed_environment(
            HOME=str(home),
            TMPDIR=str(home),
            PYTHONPATH=str(source if source.is_dir() else self.tree),
        )

    def _result(self, command: str, kind: str, finished: Finished) -> CheckResult:
        failures: tuple[str, ...] = ()
        if finished.timed_out:
            failures = (f"{command!r} was stopped at its time limit of {self.timeout:g} s (code.timeout)",)
        elif finished.exit_code != 0:
            failures = (f"{command!r} ended with exit code {finished.exit_code}",)
        return CheckResult(
            kind=kind,
            command=command,
            passed=finished.exit_code == 0,
            seconds=finished.seconds,
            # The scratch folder's name is new each time, and tells a reader nothing.
            output=finished.output.replace(f"{self.tree}/", "").replace(str(self.scratch), "<scratch>"),
            exit_code=finished.exit_code,
            failures=failures,
        )

    def _say(self, line: str) -> None:
        if self.on_line is not None:
            self.on_line(line)


def _not_run(command: str, problem: str, argv: Sequence[str] = ()) -> CheckResult:
    return CheckResult(
        kind=kind_of(argv), command=command, passed=False, seconds=0.0, output=problem, failures=(problem,)
    )


def _with_tests(result: CheckResult, report: Path) -> CheckResult:
    """The result of a pytest command with what its JUnit report says: how many tests, and which failed."""
    if result.exit_code == NO_TESTS:
        sentence = "pytest found no tests: a commit without tests is not verified; add some (tests/test_*.py)"
        return replace(result, tests=0, failures=(sentence,))
    junit = read_junit(report)
    if junit is None:
        return result
    return replace(result, tests=junit.tests, failures=junit.failures if junit.failures else result.failures)
