"""Who answered users, and when."""

import pytest

from mlauto.delivery.history import MOST, Served, changes, note, served_at
from mlauto.store import Store

ONE = Served(at=100.0, champion="1", why="version 1 went live")
CANARY = Served(at=200.0, champion="1", canary="2", percent=5.0, why="verified")
TWO = Served(at=300.0, champion="2", why="version 2 replaced 1")


@pytest.mark.parametrize(
    ("when", "expected"), [(99.9, None), (100.0, ONE), (199.0, ONE), (200.0, CANARY), (300.0, TWO), (1e12, TWO)]
)
def test_who_answered_at_a_time(store: Store, when: float, expected: Served | None) -> None:
    """From each change on until the next; nobody before the first."""
    assert served_at(store, "bikes", when) is None
    for served in (ONE, CANARY, TWO):
        note(store, "bikes", served)

    assert served_at(store, "bikes", when) == expected


def test_what_changes_nothing_is_not_noted(store: Store) -> None:
    """A step that is done again leaves one trace."""
    note(store, "bikes", ONE)
    note(store, "bikes", Served(at=150.0, champion="1", why="again"))

    assert changes(store, "bikes") == (ONE,)


def test_the_newest_are_kept(store: Store) -> None:
    """The record has a bound."""
    store.write_record("bikes", "history", [Served(at=float(n), champion=str(n)) for n in range(MOST)])
    note(store, "bikes", Served(at=float(MOST), champion="new"))

    found = changes(store, "bikes")
    assert len(found) == MOST
    assert (found[0].champion, found[-1].champion) == ("1", "new")
