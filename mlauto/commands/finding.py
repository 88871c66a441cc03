"""What `mlauto doctor` finds."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Finding", "healthy", "render"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: `status` is `ok`, `missing` (nothing works well without) or `optional` (absent, fine)."""

    name: str
    status: str
    observed: str
    advice: str = ""


def healthy(findings: Sequence[Finding]) -> bool:
    """True when nothing that is needed is missing."""
    return all(finding.status != "missing" for finding in findings)


def render(findings: Sequence[Finding]) -> str:
    """The findings as text, one line each and the advice below."""
    marks = {"ok": "ok      ", "missing": "MISSING ", "optional": "optional"}
    lines = []
    for finding in findings:
        lines.append(f"{marks[finding.status]}  {finding.name:<16} {finding.observed}")
        if finding.advice:
            lines.append(f"{'':28}-> {finding.advice}")
    return "\n".join(lines)
