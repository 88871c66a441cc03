"""Every verdict that is not healthy is told, and escalation at once."""

from mlauto.export.alerts_model import MODEL
from mlauto.records import Action, Status


def test_each_verdict_but_a_healthy_one_is_told() -> None:
    """By the names that verdicts have."""
    told = {status for status in Status if any(f'mlauto_verdict{{status="{status}"}}' in one.expr for one in MODEL)}

    assert told == set(Status) - {Status.HEALTHY}


def test_what_needs_a_person_is_critical_at_once() -> None:
    """By the name of triage's action; what mlauto does by itself is a warning."""
    [escalated] = [one for one in MODEL if f'action="{Action.ESCALATE}"' in one.expr]
    [degraded] = [one for one in MODEL if one.name == "Degraded"]

    assert (escalated.severity, escalated.lasting) == ("critical", "")
    assert degraded.severity == "warning"
