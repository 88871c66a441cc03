"""Incidents: opened by a measured loss, closed by healthy windows alone, remembered in bounds."""

from typing import Any

import pytest

from mlauto.measured import LiveMetrics
from mlauto.monitoring.incidents import (
    Decision,
    Incident,
    advance,
    closed_incidents,
    evidence_of,
    open_incident,
    record_verdict,
)
from mlauto.records import Action, Cause, Score, Status, Verdict
from mlauto.store import Store


def verdict(
    status: Status, cause: str = "mae is up", action: Action | None = None, kind: Cause | None = None, **more: Any
) -> Verdict:
    bad = status is Status.DEGRADED
    action = action or (Action.RETRAIN if bad else Action.NONE)
    kind = kind or (Cause.QUALITY if bad else Cause.NONE)
    return Verdict(status=status, action=action, cause=cause, kind=kind, checks=(), **more)


def record(store: Store, status: Status, now: float, **changed: Any) -> Incident | None:
    given = {name: changed.pop(name) for name in ("needed", "evidence", "attempts") if name in changed}
    seen = verdict(status, **changed)
    return record_verdict(store, "p", seen, version="3", now=now, **{"attempts": 0, "needed": 1, **given})


def found(store: Store) -> Incident:
    incident = open_incident(store, "p")
    assert incident is not None
    return incident


@pytest.mark.parametrize("status", [Status.HEALTHY, Status.UNKNOWN, Status.ERROR])
def test_only_a_bad_verdict_opens(store: Store, status: Status) -> None:
    """Nothing is written for anything else."""
    assert record(store, status, 1.0) is None
    assert open_incident(store, "p") is None
    assert not store.home.exists()
    with pytest.raises(ValueError, match=status.value):
        advance(None, verdict(status), version="3", attempts=0, now=1.0)


def test_an_incident_s_life(store: Store) -> None:
    """It is opened once, follows the newest cause and the attempts, and goes into the history when it is closed."""
    opened = record(store, Status.DEGRADED, 1.0)
    first = Decision(at=1.0, action=Action.RETRAIN, kind=Cause.QUALITY, why="mae is up")
    assert opened == Incident(opened=1.0, version="3", cause="mae is up", action=Action.RETRAIN, decisions=(first,))
    assert open_incident(store, "p") == opened

    record(store, Status.DEGRADED, 2.0, attempts=1, cause="still up", action=Action.COOL_DOWN, due=9.0)
    record(store, Status.DEGRADED, 2.5, attempts=1, cause="still up, 1 s less", action=Action.COOL_DOWN, due=9.0)
    record(store, Status.UNKNOWN, 3.0, attempts=1, cause="no labels")
    now = found(store)
    assert (now.cause, now.attempts, now.in_vain, now.next_attempt) == ("still up, 1 s less", 1, 1, 9.0)
    assert [(one.at, one.action, one.why) for one in now.decisions] == [
        (1.0, Action.RETRAIN, "mae is up"),
        (2.0, Action.COOL_DOWN, "still up"),
    ]

    closed = record(store, Status.HEALTHY, 4.0, cause="mae is fine", attempts=1)
    assert closed is not None
    assert (closed.closed, closed.next_attempt) == (4.0, None)
    assert closed.decisions[-1].why == "1 healthy window: mae is fine"
    assert open_incident(store, "p") is None
    assert closed_incidents(store, "p") == (closed,)


def test_as_many_healthy_windows_as_are_needed_close_it(store: Store) -> None:
    """Each on evidence of its own: looking again at the same rows is no other window, and a bad one begins anew."""
    record(store, Status.DEGRADED, 1.0)
    seen = []
    for now, status, evidence in [
        (2.0, Status.HEALTHY, "a"),
        (3.0, Status.HEALTHY, "a"),
        (4.0, Status.HEALTHY, "b"),
        (5.0, Status.DEGRADED, "c"),
        (6.0, Status.HEALTHY, "d"),
        (7.0, Status.UNKNOWN, "d"),
        (8.0, Status.HEALTHY, "e"),
    ]:
        record(store, status, now, evidence=evidence, needed=3)
        seen.append(found(store).healthy)
    record(store, Status.HEALTHY, 9.0, evidence="f", needed=3)

    assert seen == [1, 1, 2, 0, 1, 1, 2]
    assert open_incident(store, "p") is None
    assert len(closed_incidents(store, "p")) == 1


def test_a_relapse_is_like_a_new_incident_for_what_is_tried() -> None:
    """The version that is live now is the bad one, and what helped before does not count as in vain."""
    first = advance(None, verdict(Status.DEGRADED), version="1", attempts=0, now=1.0)
    healthy = advance(first, verdict(Status.HEALTHY), version="2", attempts=2, now=2.0)
    relapse = advance(healthy, verdict(Status.DEGRADED), version="2", attempts=2, now=3.0)
    tried = advance(relapse, verdict(Status.DEGRADED), version="2", attempts=3, now=4.0)

    assert (healthy.closed, healthy.in_vain, healthy.version) == (None, 0, "1")
    assert (relapse.opened, relapse.version, relapse.in_vain) == (1.0, "2", 0)
    assert (tried.attempts, tried.in_vain) == (3, 1)
    assert [one.action for one in tried.decisions] == [Action.RETRAIN, Action.NONE, Action.RETRAIN, Action.RETRAIN]


def test_a_doubtful_window_is_no_healthy_one(store: Store) -> None:
    """A new model that seems as bad, with too few labels to prove it, ends nothing and counts as no help."""
    record(store, Status.DEGRADED, 1.0)
    record(store, Status.DEGRADED, 2.0, attempts=1)
    before = found(store)

    for now in (3.0, 4.0, 5.0):
        record(store, Status.HEALTHY, now, attempts=1, doubtful=True)

    assert found(store) == before
    assert (before.in_vain, before.healthy) == (1, 0)
    closed = record(store, Status.HEALTHY, 6.0, attempts=1)
    assert closed is not None
    assert closed.closed == 6.0


@pytest.mark.parametrize("kind", [Cause.NO_DATA, Cause.UNMEASURABLE])
def test_nothing_to_be_seen_is_an_incident_when_it_lasts(store: Store, kind: Cause) -> None:
    """After five minutes, which survive a restart; a verdict in between begins them anew."""
    blind = {"action": Action.ALERT, "kind": kind, "cause": "nobody answers"}
    assert record(store, Status.ERROR, 0.0, **blind) is None
    assert record(store, Status.ERROR, 299.0, **blind) is None
    assert record(store, Status.HEALTHY, 300.0) is None
    assert record(store, Status.ERROR, 400.0, **blind) is None

    opened = record(store, Status.ERROR, 700.0, **blind)

    assert opened is not None
    assert (opened.kind, opened.is_loss, opened.opened) == (kind, False, 700.0)
    record(store, Status.DEGRADED, 800.0)
    assert (found(store).kind, found(store).is_loss, found(store).opened) == (Cause.QUALITY, True, 700.0)


@pytest.mark.parametrize("kind", [Cause.UPSTREAM_DATA, Cause.LABEL_FEED])
def test_a_fault_that_was_seen_opens_one_at_once(store: Store, kind: Cause) -> None:
    """Also while quality is fine; it is not over before the alert is."""
    alert = {"action": Action.ALERT, "kind": kind, "cause": "temp is missing"}
    record(store, Status.HEALTHY, 1.0, **alert)
    record(store, Status.HEALTHY, 2.0, **alert)

    assert (found(store).opened, found(store).kind, found(store).healthy) == (1.0, kind, 0)
    record(store, Status.HEALTHY, 3.0)
    assert open_incident(store, "p") is None


def test_a_loss_stays_one_while_nothing_can_be_seen(store: Store) -> None:
    """The decision is noted, cause and kind are kept."""
    record(store, Status.DEGRADED, 1.0)
    record(store, Status.UNKNOWN, 2.0, cause="no traffic", action=Action.ALERT, kind=Cause.NO_DATA)

    assert (found(store).kind, found(store).cause) == (Cause.QUALITY, "mae is up")
    assert [one.kind for one in found(store).decisions] == [Cause.QUALITY, Cause.NO_DATA]


def test_the_record_is_not_written_without_need(store: Store) -> None:
    """The same verdict again leaves the file as it is."""
    record(store, Status.DEGRADED, 1.0)
    path = store.record_path("p", "incident")
    stamp = path.stat().st_mtime_ns

    record(store, Status.DEGRADED, 2.0)

    assert path.stat().st_mtime_ns == stamp


def test_what_is_remembered_is_bounded(store: Store) -> None:
    """The newest twenty incidents, and the newest fifty decisions of one."""
    for number in range(25):
        record(store, Status.DEGRADED, float(2 * number))
        record(store, Status.HEALTHY, float(2 * number + 1))
    for number in range(120):
        record(store, Status.DEGRADED, 100.0 + number, action=(Action.COOL_DOWN, Action.WAIT_FOR_DATA)[number % 2])

    history = closed_incidents(store, "p")
    assert [incident.opened for incident in history] == [float(2 * number) for number in range(5, 25)]
    assert [one.at for one in found(store).decisions] == [170.0 + number for number in range(50)]


def test_killed_between_any_two_steps_of_closing(store: Store) -> None:
    """Closed in its own record, in the history, then forgotten: what is left is done at the next verdict, once."""
    record(store, Status.DEGRADED, 1.0)
    opened = found(store)
    closed = record(store, Status.HEALTHY, 2.0)

    for history in ((), (closed,)):
        store.write_record("p", "incidents", history)
        store.write_record("p", "incident", closed)
        assert open_incident(store, "p") is None
        again = record(store, Status.DEGRADED, 3.0)
        assert again is not None
        assert (again.opened, again.attempts) == (3.0, 0)
        assert closed_incidents(store, "p") == (closed,)
    assert opened.closed is None


def test_a_record_of_before_is_read(store: Store) -> None:
    """One that knows of no kinds and no decisions is a loss of quality."""
    path = store.record_path("p", "incident")
    path.parent.mkdir(parents=True)
    path.write_text('{"opened":1.0,"version":"3","cause":"mae is up","action":"retrain","attempts":1,"closed":null}')

    assert (found(store).kind, found(store).decisions, found(store).in_vain) == (Cause.QUALITY, (), 1)


def test_what_makes_another_window() -> None:
    """A label for quality, requests for what is not about quality."""
    score = Score(metric="mae", value=2.0, low=1.5, high=2.5, rows=40)
    base = {"version": "3", "measured": 1.0, "requests": 9, "errors": 0, "p50_ms": None, "p99_ms": None}
    one = LiveMetrics(**base, labelled=40, quality=score, newest=5.0, newest_label=4.0)  # type: ignore[arg-type]
    later = LiveMetrics(**base, labelled=40, quality=score, newest=6.0, newest_label=4.0)  # type: ignore[arg-type]

    assert evidence_of(one, Cause.QUALITY) == evidence_of(later, Cause.QUALITY)
    assert evidence_of(one, Cause.SERVING_FAULT) != evidence_of(later, Cause.SERVING_FAULT)
