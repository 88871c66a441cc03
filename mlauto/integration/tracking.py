"""Following a branch: which commits are to be tested now, and which one is verified.

A commit counts as done when it is *settled* (its report exists), not when it was asked for, so that a lost run is asked
for again. What a product remembers between two looks is a `Cursor`; losing it costs one look at the whole branch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlauto.integration.git import Mirror
from mlauto.integration.lock import locked
from mlauto.integration.verdict import newest_green, pending
from mlauto.records import CiReport, VerifiedCommit
from mlauto.store import Store

__all__ = ["Cursor", "Plan", "has_report", "plan", "read_report", "track", "verify", "write_report"]

WINDOW = 10_000
RECENT = 1000


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """`tip`: the branch's newest SHA at the last look. `base`: everything below it in branch order is settled."""

    tip: str | None = None
    base: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do now: SHAs to test, newest first; the cursor to keep; whether the branch's tip is another one.

    `waiting` counts the commits that are to be tested in later looks.
    """

    test: tuple[str, ...]
    cursor: Cursor
    moved: bool = False
    waiting: int = 0


def plan(tip: str, cursor: Cursor, fresh: Sequence[str], settled: Callable[[str], bool], *, limit: int) -> Plan:
    """The plan for a branch at `tip`, of which `fresh` (newest first) may have to be tested. Pure.

    At most `limit` commits are to be tested; the rest waits for later looks, and none is lost: `base` is the oldest one
    that is not settled. The tip is always among the candidates, also after a rewind.
    """
    order = fresh if tip in fresh else (tip, *fresh)
    missing = pending(order, settled)
    return Plan(
        test=missing[:limit],
        cursor=Cursor(tip=tip, base=missing[-1] if missing else tip),
        moved=tip != cursor.tip,
        waiting=max(0, len(missing) - limit),
    )


def track(mirror: Mirror, cursor: Cursor, settled: Callable[[str], bool], *, limit: int = 20) -> Plan:
    """Look at the repository, fetch if the branch moved, and plan.

    At first sight only the tip is tested, as a baseline; so it is when the branch's history has nothing in common with
    what was seen. Later every commit that came onto the branch is tested once, of up to 10,000 at a time. A branch that
    is gone (or empty) asks for nothing and keeps the cursor. `settled`: whether a SHA needs no test any more. A branch
    at rest costs one `git ls-remote`. Raises `SourceError` when the repository cannot be read.
    """
    tip = mirror.tip()
    if tip is None or (tip == cursor.tip == cursor.base and mirror.path.exists() and settled(tip)):
        return Plan(test=(), cursor=cursor)
    if tip != mirror.head():
        mirror.fetch()
        tip = mirror.head()  # the branch may have moved again since
        if tip is None:
            return Plan(test=(), cursor=cursor)
    return plan(tip, cursor, _fresh(mirror, tip, cursor), settled, limit=limit)


def _fresh(mirror: Mirror, tip: str, cursor: Cursor) -> tuple[str, ...]:
    base = cursor.base
    if base is None or not mirror.related(base, tip):
        return (tip,)
    newer = mirror.shas(tip, after=base, limit=WINDOW)
    return (*newer, base) if mirror.is_ancestor(base, tip) else newer


def has_report(store: Store, product: str, sha: str) -> bool:
    """Whether a commit was tested."""
    return store.record_path(product, f"reports/{sha}").exists()


def read_report(store: Store, product: str, sha: str) -> CiReport | None:
    """The report of a commit; None before it was tested."""
    return store.read_record(product, f"reports/{sha}", CiReport)


def write_report(store: Store, product: str, report: CiReport) -> None:
    """Keep a report; the one of an earlier attempt is replaced."""
    store.write_record(product, f"reports/{report.commit.sha}", report)


def verify(store: Store, product: str, mirror: Mirror) -> VerifiedCommit | None:
    """The newest green commit among the branch's newest 1,000, recorded as `verified_commit` when it is another one.

    Reads the mirror as of its last fetch. After a rewind the verified commit goes back with the branch. While no commit
    of the branch is green, or the branch is gone, what was verified last stays, unless it was called red since. None
    before the first green commit.
    """
    # One at a time: a slower process that saw fewer reports must not overwrite the newer answer.
    with locked(mirror.path.with_suffix(".verify.lock"), timeout=60.0):
        known = store.read_record(product, "verified_commit", VerifiedCommit)
        head = mirror.head()
        if head is None:
            return known
        commit = newest_green(mirror.shas(head, limit=RECENT), lambda sha: read_report(store, product, sha))
        if commit is None:
            report = read_report(store, product, known.commit.sha) if known else None
            if report is None or report.passed:
                return known
            store.record_path(product, "verified_commit").unlink(missing_ok=True)
            return None
        verified = VerifiedCommit(commit=commit, branch=mirror.branch)
        if verified != known:
            store.write_record(product, "verified_commit", verified)
        return verified
