"""Which commit is the last known good one. Pure: no git, no store, no clock."""

from collections.abc import Callable, Iterable, Sequence

from mlauto.records import CiReport, Commit

__all__ = ["newest_green", "pending"]


def newest_green(order: Iterable[str], report: Callable[[str], CiReport | None]) -> Commit | None:
    """The commit of the first SHA of `order` (newest first) whose report passed; SHAs without one are passed over.

    Reports may finish in any order: the answer depends on the branch's order only. No report older than the answer's
    is asked for.
    """
    reports = (report(sha) for sha in order)
    return next((found.commit for found in reports if found is not None and found.passed), None)


def pending(order: Sequence[str], settled: Callable[[str], bool]) -> tuple[str, ...]:
    """Those of the SHAs that are not settled, in the same order."""
    return tuple(sha for sha in order if not settled(sha))
