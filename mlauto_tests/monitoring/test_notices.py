"""Which notices are due: one for each change, none twice, none lost."""

from dataclasses import replace

import pytest

from mlauto.monitoring.incidents import Decision, Incident
from mlauto.monitoring.notices import Event, Seen, Told, due
from mlauto.records import Action, Cause, Problem


def decision(at: float, action: Action, kind: Cause = Cause.QUALITY) -> Decision:
    return Decision(at=at, action=action, kind=kind, why=f"because of {at:g}")


OPEN = Incident(
    opened=10.0, version="1", cause="mae", action=Action.RETRAIN, decisions=(decision(10.0, Action.RETRAIN),)
)
NOTHING = Told()


def kinds(seen: Seen, told: Told | None, now: float = 20.0) -> tuple[list[str], Told]:
    notices, after = due("tides", seen, told, now)
    assert due("tides", seen, told, now) == (notices, after)  # after a kill the same ones, under the same keys
    return [notice.kind for notice in notices], after


def test_an_incident_from_its_opening_to_its_end() -> None:
    """Opened (with the first action), each action that people should know of, closed; pauses are no news."""
    said = []
    told: Told | None = NOTHING
    incident = OPEN
    for at, action in [
        (11.0, None),
        (12.0, Action.COOL_DOWN),
        (13.0, Action.RETRAIN),
        (14.0, Action.ROLL_BACK),
        (15.0, Action.ESCALATE),
        (16.0, None),
        (17.0, Action.NONE),
    ]:
        if action is not None:
            incident = replace(incident, decisions=(*incident.decisions, decision(at, action)))
        found, told = kinds(Seen(incident=incident), told)
        said.append(found)
    found, told = kinds(Seen(closed=[replace(incident, closed=18.0)]), told)
    again, _ = kinds(Seen(closed=[replace(incident, closed=18.0)]), told)

    assert said == [["incident_opened"], [], ["action"], ["action"], ["escalated"], [], []]
    assert (found, again) == (["incident_closed"], [])


def test_what_is_in_a_notice() -> None:
    """Product, cause, action, the reason, and the incident."""
    [notice], _ = due("tides", Seen(incident=OPEN), NOTHING, 20.0)

    assert (notice.title, notice.text) == ("tides: incident opened", "quality: because of 10 (now: retrain)")
    assert (notice.key, notice.at, notice.incident) == ("tides/incident_opened/10.0", 10.0, 10.0)


def test_changes_between_two_looks_are_all_told() -> None:
    """One incident ended and another began, with two decisions."""
    ended = replace(OPEN, opened=5.0, closed=9.0)
    busy = replace(OPEN, decisions=(*OPEN.decisions, decision(11.0, Action.ALERT, Cause.UPSTREAM_DATA)))

    found, _ = kinds(Seen(incident=busy, closed=[ended]), NOTHING)

    assert found == ["incident_closed", "incident_opened", "action"]


def test_at_first_only_what_is_open_is_news() -> None:
    """Batches in quarantine and incidents of last year are not."""
    old = [Event(kind="batch_quarantined", key="b1", text="nulls")]
    seen = Seen(incident=OPEN, closed=[replace(OPEN, opened=1.0, closed=2.0)], events=old)

    found, told = kinds(seen, None)
    more, _ = kinds(replace(seen, events=[*old, Event(kind="batch_quarantined", key="b2", text="nulls")]), told)

    assert (found, more) == (["incident_opened"], ["batch_quarantined"])


def test_problems_are_told_when_they_last() -> None:
    """Five minutes at one place, whatever their words meanwhile; once, and again when they come back."""
    said, told = [], NOTHING
    for now, text in [(0.0, "a"), (200.0, "b"), (301.0, "c"), (900.0, "c"), (950.0, ""), (960.0, "d"), (1300.0, "d")]:
        problems = [Problem(where="live", since=now, text=text)] if text else []
        found, told = kinds(Seen(problems=problems), told, now)
        said.append(found)

    assert said == [[], [], ["problem"], [], [], [], ["problem"]]


@pytest.mark.parametrize("kind", ["red_commit", "batch_quarantined", "rollout_refused"])
def test_events_are_told_once(kind: str) -> None:
    """By their key; what is remembered is bounded."""
    event = Event(kind=kind, key="a", text="words")
    first, told = kinds(Seen(events=[event]), NOTHING)
    second, told = kinds(Seen(events=[event]), told)
    for number in range(300):
        _, told = kinds(Seen(events=[Event(kind=kind, key=f"b{number}", text="")]), told)

    assert (first, second) == ([kind], [])
    assert len(told.events) == 200
