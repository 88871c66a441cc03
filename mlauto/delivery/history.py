"""Who answered a product's users, and since when: the newest two thousand changes, oldest first."""

from bisect import bisect_right
from dataclasses import dataclass, replace

from mlauto.store import Store

__all__ = ["Served", "changes", "note", "served_at"]

MOST = 2000


@dataclass(frozen=True, kw_only=True)
class Served:
    """From `at` (seconds since the epoch) on: the champion, a canary with its percentage, a shadow; and why."""

    at: float
    champion: str
    canary: str | None = None
    percent: float = 0.0
    shadow: str | None = None
    why: str = ""


def note(store: Store, product: str, served: Served) -> None:
    """Remember a change; one that changes nothing, or was noted before, is not noted (again)."""
    known = changes(store, product)
    if known and _same(known[-1], served):
        return
    store.write_record(product, "history", (*known, served)[-MOST:])


def changes(store: Store, product: str) -> tuple[Served, ...]:
    """All that is remembered, oldest first."""
    return store.read_record(product, "history", tuple[Served, ...]) or ()


def served_at(store: Store, product: str, when: float) -> Served | None:
    """Who answered at that time; None before the first change that is remembered."""
    known = changes(store, product)
    place = bisect_right(known, when, key=lambda served: served.at)
    return known[place - 1] if place else None


def _same(one: Served, other: Served) -> bool:
    return replace(one, at=0.0, why="") == replace(other, at=0.0, why="")
