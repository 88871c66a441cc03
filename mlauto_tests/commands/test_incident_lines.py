"""An incident in `mlauto status`."""

import pytest

from mlauto.commands.incident_lines import incident_lines, span
from mlauto.monitoring.incidents import Decision, Incident
from mlauto.records import Action, Cause


def test_what_is_told() -> None:
    """Kind, attempts, what comes next, and the newest five decisions."""
    made = tuple(
        Decision(at=float(at), action=Action.COOL_DOWN, kind=Cause.QUALITY, why=f"reason {at}") for at in range(7)
    )
    incident = Incident(
        opened=0.0,
        version="1",
        cause="mae rose",
        action=Action.COOL_DOWN,
        next_attempt=190.0,
        healthy=2,
        decisions=made,
    )

    lines = incident_lines(incident, 130.0)

    first = "since 2 min ago: mae rose (quality, 0 retrainings so far, now: cool_down, next attempt in 1 min,"
    assert lines[0] == ("incident", f"{first} 2 healthy windows in a row)")
    assert [text for name, text in lines[1:] if name == "decided"] == [
        f"2 min ago cool_down: reason {at}" for at in range(2, 7)
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5.0, "0 s"), (59.4, "59 s"), (90.0, "2 min"), (7200.0, "2 h"), (200_000.0, "2 d")]
)
def test_a_length_of_time(seconds: float, said: str) -> None:
    """In the largest unit that fits."""
    assert span(seconds) == said
