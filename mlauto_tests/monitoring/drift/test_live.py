"""The window of live traffic, from a real prediction log through `measure`."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlauto.measured import DriftReport
from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.live import LOOK_BYTES, WINDOW_ROWS, WINDOW_SECONDS
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.metrics import measure

DICE = np.random.default_rng(11)
REFERENCE = DICE.normal(size=(60_000, 2))
Look = Callable[..., DriftReport | None]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return fit_profile({"x": REFERENCE[:, 0], "y": REFERENCE[:, 1]}, answers=REFERENCE[:, 0] + 1)


@pytest.fixture
def look(log: Any, state: Path, profile: Profile) -> Look:
    """What `measure` finds of version 1 now, looked at hourly."""

    def call(**changed: Any) -> DriftReport | None:
        wanted: dict[str, Any] = {"version": "1", "metric": "mae", "window": 100, "now": log.now, "profile": profile}
        return measure(log.folder, state, **(wanted | changed)).drifted

    return call


def serve(log: Any, rows: np.ndarray, *, size: int = 50, **more: Any) -> None:
    """Requests of some rows each, answered by a model that adds 1."""
    for start in range(0, len(rows), size):
        few = [{"x": x, "y": y} for x, y in rows[start : start + size].tolist()]
        log.predict(*(row["x"] + 1 for row in few), rows=few, **more)


def test_shuffled_rows_never_alarm_and_a_tenth_of_a_deviation_does(log: Any, look: Look) -> None:
    """Thirty looks at the training rows in other orders; then 20,000 rows of a world moved by 0.1 sd."""
    for _ in range(30):
        serve(log, REFERENCE[DICE.permutation(len(REFERENCE))[:1500]])
        report = look()
        assert report is not None
        assert report.alarmed == ()

    moved = DICE.normal(size=(WINDOW_ROWS, 2))
    moved[:, 0] += 0.1
    serve(log, moved)
    report = look()

    assert report is not None
    assert {(found.subject, found.test) for found in report.alarmed} == {("x", "location"), ("prediction", "location")}
    assert report.alarmed[0].effect == pytest.approx(0.1, abs=0.03)


def test_each_look_counts_what_is_new(log: Any, look: Look, state: Path) -> None:
    """Over looks and restarts nothing is lost or counted twice; the file stays small."""
    for _ in range(4):
        serve(log, REFERENCE[:300])
        look()
    report = look()

    assert report is not None
    assert report.rows == 1200
    assert state.with_name("drift.msgpack").stat().st_size < 50_000


def test_a_window_is_bounded(log: Any, look: Look) -> None:
    """Old rows leave when there are 20,000 newer ones."""
    for part in range(10):
        serve(log, REFERENCE[:5000], t=log.now + part)
        report = look()

    assert report is not None
    assert WINDOW_ROWS <= report.rows < 1.3 * WINDOW_ROWS
    assert report.since is not None
    assert report.since >= log.now + 4


def test_rows_of_yesterday_leave_when_there_are_enough_of_today(log: Any, look: Look) -> None:
    """A quiet product keeps its last thousand."""
    serve(log, REFERENCE[:2500], t=log.now - 2 * WINDOW_SECONDS)
    quiet = look()
    serve(log, REFERENCE[:1500])
    busy = look()

    assert quiet is not None
    assert busy is not None
    assert (quiet.rows, busy.rows) == (2500, 1500)


def test_only_the_live_versions_answers_count(log: Any, look: Look) -> None:
    """Neither another version's nor failures; a new version begins with an empty window."""
    serve(log, REFERENCE[:500])
    serve(log, REFERENCE[:500] + 9, v="2")
    for _ in range(50):
        log.fail()
    first, second = look(), look(version="2")

    assert first is not None
    assert (first.rows, first.alarmed) == (500, ())
    assert second is not None
    assert second.rows == 500
    assert {found.subject for found in second.alarmed} == {"x", "y", "prediction"}


def test_nothing_is_said_of_few_rows_or_without_a_profile(log: Any, look: Look) -> None:
    """Also for a record of an earlier kind."""
    serve(log, REFERENCE[:99])

    assert look() is None
    assert look(profile=None) is None
    assert look(profile=Profile()) is None


def test_a_damaged_file_costs_the_window_only(log: Any, look: Look, state: Path) -> None:
    """It is counted anew from what the log still has."""
    serve(log, REFERENCE[:500])
    look()
    state.with_name("drift.msgpack").write_bytes(b"not what was written")
    report = look()

    assert report is not None
    assert report.rows == 500


def test_a_look_is_cheap_whatever_went_before(log: Any, look: Look) -> None:
    """With a full window and new rows, hundredths of a second; with a log too long to count, its newest part."""
    serve(log, DICE.normal(size=(90_000, 2)), size=500)
    report = look()
    assert report is not None
    assert sum(path.stat().st_size for path in log.folder.iterdir()) > LOOK_BYTES
    assert report.rows < 90_000

    took = []
    for _ in range(5):
        serve(log, REFERENCE[:100])
        began = time.perf_counter()
        look()
        took.append(time.perf_counter() - began)

    assert min(took) < 0.1
