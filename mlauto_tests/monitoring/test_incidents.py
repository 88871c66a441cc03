"""Incidents: opened by a measured loss, closed by health alone, remembered in bounds."""

from typing import Any

import pytest

from mlauto.monitoring.incidents import Incident, advance, closed_incidents, open_incident, record_verdict
from mlauto.records import Action, Status, Verdict
from mlauto.store import Store


def verdict(status: Status, cause: str = "mae is up", action: Action = Action.RETRAIN) -> Verdict:
    return Verdict(status=status, action=action, cause=cause, checks=())


def record(store: Store, status: Status, now: float, **changed: Any) -> Incident | None:
    attempts = changed.pop("attempts", 0)
    return record_verdict(store, "p", verdict(status, **changed), version="3", attempts=attempts, now=now)


@pytest.mark.parametrize("status", [Status.HEALTHY, Status.UNKNOWN, Status.ERROR])
def test_only_a_degraded_verdict_opens(store: Store, status: Status) -> None:
    """Nothing is written for anything else."""
    assert record(store, status, 1.0) is None
    assert open_incident(store, "p") is None
    assert not store.home.exists()
    with pytest.raises(ValueError, match=status.value):
        advance(None, verdict(status), version="3", attempts=0, now=1.0)


def test_an_incident_s_life(store: Store) -> None:
    """It is opened once, follows the newest cause and the attempts, and goes into the history when it is closed."""
    opened = record(store, Status.DEGRADED, 1.0)
    assert opened == Incident(opened=1.0, version="3", cause="mae is up", action=Action.RETRAIN)
    assert open_incident(store, "p") == opened

    record(store, Status.DEGRADED, 2.0, attempts=1, cause="still up", action=Action.COOL_DOWN)
    record(store, Status.UNKNOWN, 3.0, attempts=1, cause="no labels", action=Action.NONE)
    now = open_incident(store, "p")
    assert now == Incident(opened=1.0, version="3", cause="still up", action=Action.COOL_DOWN, attempts=1)

    closed = record(store, Status.HEALTHY, 4.0, attempts=1)
    assert closed is not None
    assert closed.closed == 4.0
    assert open_incident(store, "p") is None
    assert closed_incidents(store, "p") == (closed,)


def test_the_record_is_not_written_without_need(store: Store) -> None:
    """The same verdict again leaves the file as it is."""
    record(store, Status.DEGRADED, 1.0)
    path = store.record_path("p", "incident")
    stamp = path.stat().st_mtime_ns

    record(store, Status.DEGRADED, 2.0)

    assert path.stat().st_mtime_ns == stamp


def test_the_history_is_bounded(store: Store) -> None:
    """The newest twenty are kept."""
    for number in range(25):
        record(store, Status.DEGRADED, float(2 * number))
        record(store, Status.HEALTHY, float(2 * number + 1))

    history = closed_incidents(store, "p")
    assert [incident.opened for incident in history] == [float(2 * number) for number in range(5, 25)]


def test_killed_between_history_and_record(store: Store) -> None:
    """Closing again after a crash does not enter the incident twice."""
    opened = record(store, Status.DEGRADED, 1.0)
    record(store, Status.HEALTHY, 2.0)
    store.write_record("p", "incident", opened)

    record(store, Status.HEALTHY, 3.0)

    assert [incident.closed for incident in closed_incidents(store, "p")] == [2.0]
    assert open_incident(store, "p") is None
