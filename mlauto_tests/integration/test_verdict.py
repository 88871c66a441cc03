"""The last known good commit."""

import itertools

import pytest

from mlauto.integration.verdict import newest_green, pending
from mlauto.records import CheckResult, CiReport, Commit


def report(sha: str, *, passed: bool) -> CiReport:
    commit = Commit(sha=sha, tree=f"tree of {sha}", subject="", author="", time=0.0)
    result = CheckResult(kind="tests", command="pytest", passed=passed, seconds=0.1, output="")
    return CiReport(commit=commit, results=(result,))


def test_newest_green_is_the_same_however_reports_finish() -> None:
    """Reports come in any order; the branch's order decides."""
    verdicts = {"c": False, "b": True, "a": True}
    for order in itertools.permutations(verdicts):
        reports = {}
        for sha in order:
            reports[sha] = report(sha, passed=verdicts[sha])
        found = newest_green(["c", "b", "a"], reports.get)
        assert found is not None
        assert found.sha == "b"


def test_nothing_older_than_the_answer_is_read() -> None:
    """The search ends at the first green report."""
    asked = []

    def read(sha: str) -> CiReport | None:
        asked.append(sha)
        return {"b": report("b", passed=True)}.get(sha)

    found = newest_green(iter("cba"), read)

    assert found == report("b", passed=True).commit
    assert asked == ["c", "b"]


@pytest.mark.parametrize("reports", [{}, {"a": report("a", passed=False)}], ids=["untested", "red"])
def test_no_green_commit(reports: dict[str, CiReport]) -> None:
    """Without a green report there is no answer."""
    assert newest_green(["a"], reports.get) is None


def test_pending_keeps_order() -> None:
    """What is not settled, newest first."""
    assert pending(["c", "b", "a"], {"b"}.__contains__) == ("c", "a")
