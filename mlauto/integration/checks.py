"""A commit's own checks: its linters and tests, run in a workshop on a copy of its tree, with nothing of ours about.

A command is a program and its arguments, never a shell line. Whatever goes wrong with one (a time limit, a program that
is not there, no tests at all) is a failed result with a sentence, for it is a verdict on the commit.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlauto.integration.junit import read_junit
from mlauto.records import CheckResult, CiReport, Commit
from mlauto.runtime.process import Finished
from mlauto.runtime.workshop import Bench, OnLine, Workshop

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
    workshop: Workshop,
    timeout: float,
    on_line: OnLine | None = None,
) -> CiReport:
    """Run every command, also after a failed one, in one copy of `tree`; `timeout` is in seconds, for each.

    `python`, `pytest`, `ruff` and the like are those of the workshop. `PYTHONPATH` is the tree's `src` if there is one,
    else the tree. `on_line` gets each line of output as it comes. Raises `MlautoError` when the workshop is amiss.
    """
    with workshop.bench(tree) as bench:
        checks = _Checks(bench, timeout, on_line)
        return CiReport(commit=commit, results=tuple(checks.run(command) for command in commands), image=bench.image)


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


@dataclass
class _Checks:
    """How commands run on a bench."""

    bench: Bench
    timeout: float
    on_line: OnLine | None
    count: int = 0

    def run(self, command: str) -> CheckResult:
        try:
            argv = shlex.split(command)
        except ValueError as error:
            return _not_run(command, f"{command!r} cannot be split into words ({error}): correct code.checks")
        if not argv:
            return _not_run(command, f"{command!r}: no such program: correct code.checks")
        if self.on_line is not None:
            self.on_line(f"$ {command}")
        self.count += 1
        report = f"junit-{self.count}.xml"
        tested = _program(argv) in {"pytest", "py.test"}
        extra = [f"--junitxml={self.bench.scratch}/{report}", "-p", "no:cacheprovider"] if tested else []
        at = 3 if _program(argv) != Path(argv[0]).name else 1
        finished = self.bench.run(
            [*argv[:at], *extra, *argv[at:]],
            timeout=self.timeout,
            on_line=self.on_line,
            limit=OUTPUT_LIMIT,
            report=report if tested else "",
        )
        result = self._result(command, kind_of(argv), finished)
        return _with_tests(result, self.bench.file(report), finished.why) if tested else result

    def _result(self, command: str, kind: str, finished: Finished) -> CheckResult:
        failures: tuple[str, ...] = ()
        why = f": {finished.why}" if finished.why else ""
        if finished.timed_out:
            failures = (f"{command!r} was stopped at its time limit of {self.timeout:g} s (code.timeout){why}",)
        elif finished.exit_code != 0:
            failures = (f"{command!r}{why or f' ended with exit code {finished.exit_code}'}",)
        return CheckResult(
            kind=kind,
            command=command,
            passed=finished.exit_code == 0,
            seconds=finished.seconds,
            # The scratch folder's name is new each time, and tells a reader nothing.
            output=(finished.output or finished.why)
            .replace(f"{self.bench.tree}/", "")
            .replace(self.bench.scratch, "<scratch>"),
            exit_code=finished.exit_code,
            failures=failures,
        )


def _not_run(command: str, problem: str, argv: Sequence[str] = ()) -> CheckResult:
    return CheckResult(
        kind=kind_of(argv), command=command, passed=False, seconds=0.0, output=problem, failures=(problem,)
    )


def _with_tests(result: CheckResult, report: Path, why: str) -> CheckResult:
    """The result of a pytest command with what its JUnit report says: how many tests, and which failed.

    `why`, where there is one, comes first: what was met, for instance that there is no network.
    """
    if result.exit_code == NO_TESTS:
        sentence = "pytest found no tests: a commit without tests is not verified; add some (tests/test_*.py)"
        return replace(result, tests=0, failures=(sentence,))
    junit = read_junit(report)
    if junit is None:
        return result
    if not junit.failures:
        return replace(result, tests=junit.tests)
    return replace(result, tests=junit.tests, failures=(*(result.failures if why else ()), *junit.failures))
