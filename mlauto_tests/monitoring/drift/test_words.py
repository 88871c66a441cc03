"""Findings in words."""

import pytest

from mlauto.measured import Finding
from mlauto.monitoring.drift.words import sentence


@pytest.mark.parametrize(
    ("test", "effect", "unit", "said"),
    [
        ("location", 0.314, "sd of the reference", "x: location moved by +0.31 sd of the reference"),
        ("spread", -0.25, "of its sd", "x: spread -25 % of its sd"),
        ("nulls", 0.2, "of rows more without a value", "x: +20 % of rows more without a value"),
        ("unseen", 0.005, 'of values are unseen levels: "y"', 'x: 0.50 % of values are unseen levels: "y"'),
        ("range", 1.0, "of values lie far outside", "x: 100 % of values lie far outside"),
        ("type", 0.5, "of rows have a value that is no number", "x: 50 % of rows have a value that is no number"),
        ("correlation", -0.2, "of correlation", "x: moved by -0.20 of correlation"),
        ("shape", 0.15, "sd in skew and tails", "x: shape moved by 0.15 sd in skew and tails"),
        ("categories", 0.15, "sd of the mix", "x: levels moved by 0.15 sd of the mix"),
        ("other", 0.15, "units", "x: other 0.15 units"),
    ],
)
def test_sentences(test: str, effect: float, unit: str, said: str) -> None:
    """Shares are percentages, sizes have their unit, and a sign where there are two directions."""
    finding = Finding(subject="x", test=test, effect=effect, low=0, high=1, margin=0.1, unit=unit, alarmed=True)

    assert sentence(finding) == said


def test_a_detail_follows_in_brackets() -> None:
    """What is known beyond the effect."""
    finding = Finding(
        subject="x",
        test="nulls",
        effect=0.2,
        low=0,
        high=1,
        margin=0.1,
        unit="of rows",
        alarmed=True,
        detail="0 before",
    )

    assert sentence(finding) == "x: +20 % of rows (0 before)"
