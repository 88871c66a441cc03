"""Which version answered users at a time."""

import pytest
from rich.console import Console

from mlauto.commands.live import live_at, render, when
from mlauto.delivery.history import Served, note
from mlauto.errors import MlautoError
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.commands.conftest import COMMIT


@pytest.fixture
def served(history: Store) -> Store:
    """Version 1, then 2 as a canary with copies, then 2 alone."""
    for change in (
        Served(at=1000.0, champion="1", why="version 1 went live"),
        Served(at=2000.0, champion="1", canary="2", percent=5.0, shadow="2", why="version 2 canary of 5 %"),
        Served(at=3000.0, champion="2", why="version 2 replaced 1"),
    ):
        note(history, "bike", change)
    return history


@pytest.mark.parametrize(
    ("at", "shares", "since", "until"),
    [
        (1000.0, [("1", 100.0)], 1000.0, 2000.0),
        (2999.0, [("1", 95.0), ("2", 5.0)], 2000.0, 3000.0),
        (9e9, [("2", 100.0)], 3000.0, None),
    ],
)
def test_a_time_has_its_versions(
    settings: Settings, served: Store, at: float, shares: list[tuple[str, float]], since: float, until: float | None
) -> None:
    """Each with its share of the requests, its commit, its data and its run."""
    found = live_at(settings, "bike", at)

    assert [(one.version, one.percent) for one in found.answered] == shares
    assert (found.since, found.until) == (since, until)
    first = found.answered[0]
    assert (first.commit, first.data_digest, first.batches, first.newest_batch) == (COMMIT, "d" * 64, 12, "b011")
    assert first.mlflow_run == f"mlflow-run-{first.version}"


def test_what_people_read(settings: Settings, served: Store) -> None:
    """Shares, commit, data, shadow and reason."""
    console = Console(width=120, record=True, highlight=False)
    console.print(render(live_at(settings, "bike", 2500.0)))
    text = console.export_text()

    for part in ("1, 95 % of the requests", "2, 5 % of the requests", "Use the hour", "12 batches, newest b011"):
        assert part in text
    assert "so since 1970-01-01 00:33:20 UTC until 1970-01-01 00:50:00 UTC" in text


def test_a_version_whose_records_are_gone(settings: Settings, served: Store) -> None:
    """It is named all the same."""
    note(served, "bike", Served(at=4000.0, champion="3"))
    found = live_at(settings, "bike", 4000.0)

    assert [(one.version, one.commit, one.batches) for one in found.answered] == [("3", None, None)]


@pytest.mark.parametrize(
    ("product", "at", "sentence"),
    [("bike", 999.0, "the first change that is remembered was at 1970"), ("other", 5000.0, "nothing ever was")],
)
def test_nothing_was_live(settings: Settings, served: Store, product: str, at: float, sentence: str) -> None:
    """The error says how far back the memory goes."""
    with pytest.raises(MlautoError, match=sentence):
        live_at(settings, product, at)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, 7.0), ("12.5", 12.5), ("1970-01-02", 86400.0), ("1970-01-01T01:00+01:00", 0.0), ("1970-01-01 00:01", 60.0)],
)
def test_times(text: str | None, expected: float) -> None:
    """ISO 8601 in UTC unless it says otherwise, seconds, or now."""
    assert when(text, 7.0) == expected


def test_no_time() -> None:
    """The sentence shows what a time looks like."""
    with pytest.raises(MlautoError, match="--at 'yesterday' is no time"):
        when("yesterday", 0.0)
