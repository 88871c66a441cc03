"""What a person reads of an incident on the asset."""

from mlauto.monitoring.incidents import Decision, Incident
from mlauto.orchestration.incident_shown import incident_metadata
from mlauto.records import Action, Cause

BEGUN = Decision(at=60.0, action=Action.RETRAIN, kind=Cause.QUALITY, why="mae | 9")
WAITS = Decision(at=75.0, action=Action.COOL_DOWN, kind=Cause.QUALITY, why="due")
OPEN = Incident(
    opened=60.0,
    version="1",
    cause="mae",
    action=Action.RETRAIN,
    attempts=2,
    next_attempt=90.0,
    decisions=(BEGUN, WAITS),
)


def test_an_open_incident() -> None:
    """All of it, the newest decision first, and nothing that breaks the table."""
    shown = {name: value.value for name, value in incident_metadata(OPEN).items()}

    table = str(shown.pop("incident_decisions"))
    assert shown == {
        "incident_open": 1,
        "incident_opened": 60.0,
        "incident_kind": "quality",
        "incident_cause": "mae",
        "incident_attempts": 2,
        "incident_healthy_windows": 0,
        "incident_next_attempt": 90.0,
    }
    assert table.splitlines()[2:] == [
        "| 1970-01-01 00:01:15 | cool_down | quality | due |",
        "| 1970-01-01 00:01:00 | retrain | quality | mae \\| 9 |",
    ]


def test_one_that_is_closed_and_none() -> None:
    """The number over time goes down to 0."""
    closed = incident_metadata(Incident(opened=1.0, version="1", cause="mae", action=Action.NONE, closed=9.0))

    assert (closed["incident_open"].value, closed["incident_closed"].value) == (0, 9.0)
    assert {name: value.value for name, value in incident_metadata(None).items()} == {"incident_open": 0}
