"""Verdicts from outside: what a team's own CI said of a commit, kept until the commit is on the branch.

Whoever reports gives its check a name (`command`). Under one name the newest verdict counts, so that a job that was run
again may correct itself; under different names all count, and one that is red makes the commit red. Nothing but a green
verdict under the same name takes a red one back: not silence, and not checks of our own.
"""

import re
import shlex
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mlauto.errors import SourceError
from mlauto.integration.checks import kind_of
from mlauto.integration.git import Mirror
from mlauto.integration.lock import locked
from mlauto.records import CheckResult, CiReport, Commit
from mlauto.store import Store

__all__ = [
    "OutsideVerdict",
    "OutsideVerdicts",
    "add_verdict",
    "forget_strays",
    "full_sha",
    "new_verdicts",
    "outside_report",
    "read_verdicts",
    "taken_up",
    "web_address",
]

MOST_NAMES = 50
RECENT = 1000  # newer commits of the branch than that cannot become the verified one either
STRAY = 90 * 86400.0  # as long as the mirror keeps commits that no branch holds
RECORDS, NEW = "outside", "outside_new"


@dataclass(frozen=True, kw_only=True)
class OutsideVerdict:
    """What one check outside said, when that was reported and by whom; `url` is its page."""

    command: str
    passed: bool
    at: float
    by: str
    url: str | None = None
    detail: str = ""
    tests: int | None = None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OutsideVerdicts:
    """All that was reported of one commit: one verdict for each name, in the order of the names."""

    sha: str
    verdicts: tuple[OutsideVerdict, ...]

    @property
    def passed(self) -> bool:
        """Whether no check outside is red."""
        return all(verdict.passed for verdict in self.verdicts)


def full_sha(text: str) -> str:
    """The SHA in lower case. Raises `SourceError` for a short one, which may mean another commit later."""
    sha = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", sha):
        raise SourceError(
            f"{text!r} is no full commit SHA (40 hexadecimal digits): give what `git rev-parse HEAD` says"
        )
    return sha


def web_address(text: str) -> str:
    """The address of a page. Raises `SourceError` for what is no http(s) address, or holds a password."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.username is None
    except ValueError:
        good = False
    if not good or len(text) > 1000 or re.search(r"[\s\x00-\x1f<>\"`]", text):
        raise SourceError("--url is no plain http(s) address without user and password: give the page of the CI's run")
    return text


def add_verdict(store: Store, product: str, sha: str, verdict: OutsideVerdict) -> OutsideVerdicts:
    """Keep a verdict, in place of the older one of the same name, and let the commit sensor look; all there is now.

    Nothing needs to run, and the commit need not be known yet. Raises `SourceError` at the 51st name for one commit.
    """
    with _alone(store, product):
        known = read_verdicts(store, product, sha)
        others = [other for other in (known.verdicts if known else ()) if other.command != verdict.command]
        if len(others) >= MOST_NAMES:
            raise SourceError(f"{product}: {MOST_NAMES} checks reported commit {sha[:12]}: use the same names again")
        ordered = sorted([*others, verdict], key=lambda one: one.command)
        verdicts = OutsideVerdicts(sha=sha, verdicts=tuple(ordered))
        # The mark first: killed here, a look too many is the worst that follows.
        store.write_record(product, f"{NEW}/{sha}", {"at": verdict.at})
        store.write_record(product, f"{RECORDS}/{sha}", verdicts)
    return verdicts


def read_verdicts(store: Store, product: str, sha: str) -> OutsideVerdicts | None:
    """What was reported of a commit; None when nothing was."""
    return store.read_record(product, f"{RECORDS}/{sha}", OutsideVerdicts)


def outside_report(commit: Commit, said: OutsideVerdicts) -> CiReport:
    """The commit's report, made of nothing but the verdicts from outside; the same ones give the same report."""
    people = ", ".join(sorted({verdict.by for verdict in said.verdicts}))
    return CiReport(commit=commit, results=tuple(map(_result, said.verdicts)), source=f"outside, reported by {people}")


def _result(verdict: OutsideVerdict) -> CheckResult:
    failures = () if verdict.passed else verdict.failures or (verdict.detail or "reported as failed",)
    return CheckResult(
        kind=_kind(verdict.command),
        command=verdict.command,
        passed=verdict.passed,
        seconds=0.0,
        output=verdict.detail or "\n".join(failures),
        tests=verdict.tests,
        failures=failures,
        url=verdict.url,
    )


def _kind(command: str) -> str:
    try:
        return kind_of(shlex.split(command))
    except ValueError:  # a name that is no command line
        return "tests"


def new_verdicts(store: Store, product: str, mirror: Mirror) -> tuple[str, ...]:
    """SHAs among the branch's newest 1,000, newest first, of which something was reported that was not taken up yet.

    What was reported of other commits waits until they come onto the branch. Costs one listing while nothing is new.
    """
    waiting = set(store.record_names(product, NEW))
    head = mirror.head() if waiting else None
    return tuple(sha for sha in mirror.shas(head, limit=RECENT) if sha in waiting) if head else ()


def taken_up(store: Store, product: str, sha: str, said: OutsideVerdicts | None) -> None:
    """`said` is in the commit's report now; what was reported meanwhile stays new."""
    with _alone(store, product):
        if read_verdicts(store, product, sha) == said:
            store.record_path(product, f"{NEW}/{sha}").unlink(missing_ok=True)


def forget_strays(store: Store, product: str, on_branch: Collection[str], now: float | None = None) -> Sequence[str]:
    """Forget what was reported more than 90 days ago of commits that never came onto the branch; their SHAs."""
    before = (time.time() if now is None else now) - STRAY
    strays = []
    for sha in set(store.record_names(product, NEW)) - set(on_branch):
        mark = store.record_path(product, f"{NEW}/{sha}")
        if not _older(mark, before):
            continue
        with _alone(store, product):
            if _older(mark, before):
                store.record_path(product, f"{RECORDS}/{sha}").unlink(missing_ok=True)
                mark.unlink()
                strays.append(sha)
    return strays


def _older(path: Path, moment: float) -> bool:
    return path.exists() and path.stat().st_mtime < moment


def _alone(store: Store, product: str) -> AbstractContextManager[int]:
    return locked(store.home / "products" / product / "outside.lock", timeout=60.0)
