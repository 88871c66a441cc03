"""What a dashboard shows, before Grafana's library builds it. Matched by label, for all products."""

from dataclasses import dataclass

from mlauto.export.panels import CHOSEN, Query

__all__ = ["Board", "Shown", "of", "rate"]

RATE = "[$__rate_interval]"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One panel: `kind` is series (lines over time) or stat (the newest figures)."""

    title: str
    unit: str
    told: str
    queries: tuple[Query, ...]
    kind: str = "series"
    width: int = 12


@dataclass(frozen=True, kw_only=True)
class Board:
    """One dashboard; `rows`: heading -> panels."""

    uid: str
    title: str
    rows: dict[str, tuple[Shown, ...]]


def of(name: str, labels: str = "") -> str:
    """A metric of the chosen products."""
    return f"{name}{{{CHOSEN}{', ' + labels if labels else ''}}}"


def rate(name: str, labels: str = "", by: str = "product") -> str:
    """A counter of theirs, per second."""
    return f"sum by ({by}) (rate({of(name, labels)}{RATE}))"
