"""What is remembered of a watch between two looks. Light: whoever only reads it needs no numpy."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mlauto.proof import Proof

__all__ = ["Labels", "Subject", "Tally", "Unpaired", "Watch", "read_watch"]

Labels = dict[str, tuple[float, list[Any]]]


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What is remembered of the rows: the closed blocks (rows, excess), the open one, and sums over all rows."""

    rows: int = 0
    blocks: tuple[tuple[int, float], ...] = ()
    open_rows: int = 0
    open_excess: float = 0.0
    old: float = 0.0
    squares: float = 0.0
    largest: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is watched: whether `new` is worse than `old` by `metric`, on requests since then."""

    new: str
    old: str
    since: float
    metric: str


@dataclass(frozen=True, kw_only=True)
class Unpaired:
    """For auc (`pairs.py`): scores of the rows that wait for one of the other class, the newest at the end.

    All are `positive`, or none is. `pairs` were made so far.
    """

    positive: bool = False
    scores: tuple[float, ...] = ()
    pairs: int = 0


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is remembered. `waiting`: labels whose prediction or copy is still to come; `unmatched` counts the lost.

    `counted`: the newest requests in the tally, as 64-bit numbers. `unpaired`: the new and the old version's rows.
    """

    subject: Subject
    tally: Tally = field(default_factory=Tally)
    proof: Proof | None = None
    unmatched: int = 0
    cursors: dict[str, dict[int, int]] = field(default_factory=dict)
    waiting: Labels = field(default_factory=dict)
    unpaired: tuple[Unpaired, Unpaired] = (Unpaired(), Unpaired())
    counted: bytes = b""


def read_watch(path: Path) -> Watch | None:
    """The newest watch; None where there was none, or another version of mlauto wrote it: it then begins anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Watch)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
