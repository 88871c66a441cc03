"""Verdicts from outside: which one counts, what is kept until a commit is known, and for how long."""

import os
import threading
import time

import pytest

from mlauto.errors import SourceError
from mlauto.integration import outside
from mlauto.integration.git import Mirror
from mlauto.integration.outside import (
    OutsideVerdict,
    OutsideVerdicts,
    add_verdict,
    forget_strays,
    full_sha,
    new_verdicts,
    outside_report,
    read_verdicts,
    taken_up,
    web_address,
)
from mlauto.records import Commit
from mlauto.store import Store
from mlauto_tests.integration.conftest import Origin

SHA = "a" * 40
COMMIT = Commit(sha=SHA, tree="t", subject="s", author="Ada", time=1.0)


def said(command: str = "jenkins", *, passed: bool = True, at: float = 1.0, **more: object) -> OutsideVerdict:
    return OutsideVerdict(command=command, passed=passed, at=at, by="ci", **more)  # type: ignore[arg-type]


def test_the_newest_of_a_name_counts(store: Store) -> None:
    """A job that was run again corrects itself, in both directions."""
    add_verdict(store, "bike", SHA, said(passed=False))
    again = add_verdict(store, "bike", SHA, said(passed=True, at=2.0))
    worse = add_verdict(store, "bike", SHA, said(passed=False, at=3.0))

    assert (again.passed, worse.passed) == (True, False)
    assert read_verdicts(store, "bike", SHA) == worse
    assert len(worse.verdicts) == 1


def test_a_red_name_is_not_overridden_by_a_green_one(store: Store) -> None:
    """Whichever comes last: every name has to be green."""
    add_verdict(store, "bike", SHA, said("travis", passed=False))
    both = add_verdict(store, "bike", SHA, said("jenkins", passed=True, at=2.0))
    fixed = add_verdict(store, "bike", SHA, said("travis", passed=True, at=3.0))

    assert not both.passed
    assert [verdict.command for verdict in both.verdicts] == ["jenkins", "travis"]
    assert fixed.passed


def test_nothing_was_said(store: Store) -> None:
    """Silence is no verdict, of another product either."""
    add_verdict(store, "tides", SHA, said())

    assert read_verdicts(store, "bike", SHA) is None


def test_reports_at_once_are_all_kept(store: Store) -> None:
    """Sixteen jobs end in the same moment."""
    jobs = [
        threading.Thread(target=add_verdict, args=(store, "bike", SHA, said(f"job {number}"))) for number in range(16)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()

    found = read_verdicts(store, "bike", SHA)
    assert found is not None
    assert len(found.verdicts) == 16


def test_names_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that invents a new name each time is told, and a known name may still report."""
    monkeypatch.setattr(outside, "MOST_NAMES", 2)
    add_verdict(store, "bike", SHA, said("a"))
    add_verdict(store, "bike", SHA, said("b"))

    with pytest.raises(SourceError, match="2 checks reported commit aaaaaaaaaaaa: use the same names again"):
        add_verdict(store, "bike", SHA, said("c"))
    assert not add_verdict(store, "bike", SHA, said("b", passed=False)).passed


def test_the_report_is_made_of_the_verdicts() -> None:
    """Kinds follow the commands; a red one has a failure whatever was left out; it says who reported."""
    verdicts = OutsideVerdicts(
        sha=SHA,
        verdicts=(
            said("ruff check .", passed=True),
            said("pytest -q", passed=False, tests=3, failures=("test_a: no",), url="https://ci.example/7"),
            said("it's odd", passed=False),
            said("slow", passed=False, detail="out of memory"),
        ),
    )

    report = outside_report(COMMIT, verdicts)

    assert report == outside_report(COMMIT, verdicts)
    assert not report.passed
    assert report.source == "outside, reported by ci"
    assert [(r.kind, r.passed, r.tests) for r in report.results] == [
        ("lint", True, None),
        ("tests", False, 3),
        ("tests", False, None),
        ("tests", False, None),
    ]
    assert [r.failures for r in report.results] == [(), ("test_a: no",), ("reported as failed",), ("out of memory",)]
    assert [r.url for r in report.results] == [None, "https://ci.example/7", None, None]
    assert all(r.output for r in report.results if not r.passed)


@pytest.mark.parametrize("text", ["a" * 40, "A" * 40, f" {'b' * 64}\n"])
def test_full_shas(text: str) -> None:
    """SHA-1 and SHA-256, in either case."""
    assert full_sha(text) == text.strip().lower()


@pytest.mark.parametrize(
    "text", ["", "abc1234", "main", "HEAD", "g" * 40, "a" * 41, "../" + "a" * 40, "a" * 40 + "\n-x"]
)
def test_what_is_no_full_sha(text: str) -> None:
    """Nothing is guessed, and no path is made of it."""
    with pytest.raises(SourceError, match="is no full commit SHA"):
        full_sha(text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://x/1",
        "ci/7",
        "https://",
        "https://ada:secret@ci.example/7",
        "javascript:alert(1)",
        "http://[",
        "http://a b",
    ],
)
def test_what_is_no_page(text: str) -> None:
    """It becomes a link in a UI; the message repeats none of it, for it may hold a password."""
    with pytest.raises(SourceError, match="no plain http") as caught:
        web_address(text)

    assert "secret" not in str(caught.value)
    assert web_address("https://ci.example/job/7?x=1") == "https://ci.example/job/7?x=1"


def test_a_verdict_waits_for_its_commit(store: Store, origin: Origin, mirror: Mirror) -> None:
    """Reported before the mirror exists, before the fetch, and of a side branch: it is new once the branch has it."""
    first = origin.commit("first")
    origin.git("checkout", "-q", "-b", "side")
    second = origin.commit("second")
    for sha in (first, second, SHA):
        add_verdict(store, "bike", sha, said())

    unknown = new_verdicts(store, "bike", mirror)
    mirror.fetch()
    fetched = new_verdicts(store, "bike", mirror)
    origin.git("checkout", "-q", "main")
    origin.git("merge", "-q", "--ff-only", "side")
    mirror.fetch()

    assert unknown == ()
    assert fetched == (first,)
    assert new_verdicts(store, "bike", mirror) == (second, first)


def test_taken_up_is_new_no_more(store: Store, origin: Origin, mirror: Mirror) -> None:
    """Unless something else was reported meanwhile; the verdicts themselves stay."""
    sha = origin.commit("first")
    mirror.fetch()
    first = add_verdict(store, "bike", sha, said())
    second = add_verdict(store, "bike", sha, said(passed=False, at=2.0))

    taken_up(store, "bike", sha, first)
    between = new_verdicts(store, "bike", mirror)
    taken_up(store, "bike", sha, second)

    assert between == (sha,)
    assert new_verdicts(store, "bike", mirror) == ()
    assert read_verdicts(store, "bike", sha) == second


def test_strays_are_forgotten_after_90_days(store: Store) -> None:
    """What never came onto the branch; neither younger ones, nor those of the branch."""
    old, branch, young = "1" * 40, "2" * 40, "3" * 40
    for sha in (old, branch, young):
        add_verdict(store, "bike", sha, said())
    for sha in (old, branch):
        os.utime(store.record_path("bike", f"outside_new/{sha}"), (time.time() - 91 * 86400,) * 2)

    assert forget_strays(store, "bike", [branch]) == [old]

    assert read_verdicts(store, "bike", old) is None
    assert read_verdicts(store, "bike", branch) is not None
    assert read_verdicts(store, "bike", young) is not None
    assert set(store.record_names("bike", "outside_new")) == {branch, young}
    assert forget_strays(store, "bike", []) == [branch]
