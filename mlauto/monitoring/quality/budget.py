"""What may be staked on a loss: at most 1 within a year for all versions of a product together. Pure.

A row's stake is the same however fast labels come, until the store of a quarter of a year's stakes is used up; from
then on it is what time has added since. So a burst of labels, a demo or a replay is tested at full strength, a product
with a hundred times as many labels errs as seldom as any other, and so does one that gets a new version every day.
"""

from dataclasses import dataclass

__all__ = ["OPENING", "STAKE", "Budget", "granted", "opening"]

YEAR_SECONDS = 365.25 * 86400
FULL = 0.25
A_YEAR = 0.75  # what time adds; with a full store at its beginning, 1 within any year
STAKE = A_YEAR / (365.25 * 24 * 100)  # for each row; 100 labels an hour never use the store up

OPENING = 0.002  # for the first row of each version, when a loss is most likely
SPARED = 0.02  # of the store: so much of what is left is staked on a version's first row at most


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is left in the store, and when it was last added to."""

    left: float = FULL
    at: float


def granted(budget: Budget, rows: int, now: float) -> tuple[float, Budget]:
    """The stake for each of so many rows at that time, and the budget after them."""
    left = _left(budget, now)
    stake = min(STAKE, left / rows) if rows else 0.0
    return stake, Budget(left=left - stake * rows, at=max(now, budget.at))


def opening(budget: Budget, now: float) -> tuple[float, Budget]:
    """The stake on a version's first row at that time, and the budget after it."""
    left = _left(budget, now)
    stake = min(OPENING, SPARED * left)
    return stake, Budget(left=left - stake, at=max(now, budget.at))


def _left(budget: Budget, now: float) -> float:
    return min(FULL, budget.left + A_YEAR * max(0.0, now - budget.at) / YEAR_SECONDS)
