"""What tells inputs that are broken from inputs that moved: each rule, on both sides of its threshold."""

import pytest

from mlauto.measured import DriftReport, Finding
from mlauto.monitoring.cause import broken_inputs, moved_inputs


def finding(test: str, low: float, high: float, **changed: object) -> Finding:
    made = {"subject": "temp", "effect": (low + high) / 2, "margin": 0.02, "unit": "sd", "alarmed": True, **changed}
    return Finding(test=test, low=low, high=high, **made)  # type: ignore[arg-type]


def report(*findings: Finding) -> DriftReport:
    return DriftReport(rows=1000, since=1.0, until=2.0, findings=findings)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (finding("nulls", 0.17, 0.23), "temp is missing in 20 % more of the rows than in training"),
        (finding("nulls", 0.04, 0.31), ""),
        (finding("nulls", -0.4, -0.2), ""),
        (finding("unseen", 0.95, 1.0), "temp has values never seen in training in 98 % of the rows"),
        (finding("unseen", 0.1, 0.2), ""),
        (finding("range", 0.9, 1.0), ""),  # a month may be: that is looked for where a column's profile is known
        (finding("type", 0.2, 0.4), "temp is of another type than in training in 30 % of the rows"),
        (finding("location", 2.8, 2.9), ""),
        (finding("spread", 50.0, 60.0), ""),
        (finding("correlation", 0.9, 1.0), ""),
    ],
)
def test_each_rule(one: Finding, words: str) -> None:
    """The bound nearer to nothing must lie beyond the threshold; other tests say nothing of a fault upstream."""
    told = broken_inputs(report(one))

    assert told == (f"upstream data is broken: {words}" if words else "")


def test_what_did_not_alarm_or_is_no_input_breaks_nothing() -> None:
    """Predictions follow the inputs, and a finding that is not proven is none."""
    quiet = finding("nulls", 0.2, 0.3, alarmed=False)
    answers = finding("nulls", 0.9, 1.0, subject="prediction")

    assert broken_inputs(report(quiet, answers)) == ""
    assert moved_inputs(report(quiet, answers)) == ""
    assert broken_inputs(None) == ""
    assert moved_inputs(None) is None


def test_what_moved_is_named() -> None:
    """The strongest three, in their units; of the broken ones too, with the number of the others."""
    several = [finding("nulls", 0.2, 0.4, subject=name) for name in "abcde"]

    assert moved_inputs(report(finding("location", 0.4, 0.6))) == "inputs moved: temp (location by 0.5)"
    assert broken_inputs(report(*several)).endswith("than in training and 2 more")
    assert str(moved_inputs(report(*several))).count("nulls") == 3
