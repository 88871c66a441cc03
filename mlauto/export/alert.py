"""One alert rule."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Alert"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """It fires once `expr` has had a result for `lasting`; severity: critical (at once), warning (today), or none."""

    name: str
    expr: str
    severity: str
    summary: str
    action: str
    lasting: str = ""

    def rule(self) -> dict[str, Any]:
        """As Prometheus wants it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({"for": self.lasting} if self.lasting else {}),
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "action": self.action},
        }
