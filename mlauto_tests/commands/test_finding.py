"""Findings as text, and what they say of the machine."""

from mlauto.commands.finding import Finding, healthy, render


def test_a_missing_thing_comes_with_advice() -> None:
    """One missing thing makes the machine unhealthy; the text names it and the next step."""
    findings = [
        Finding(name="git", status="missing", observed="not on PATH", advice="apt-get install git"),
        Finding(name="Chromium", status="optional", observed="not on PATH"),
    ]

    assert not healthy(findings)
    assert "MISSING   git" in render(findings)
    assert "-> apt-get install git" in render(findings)
