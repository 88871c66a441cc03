"""What may be staked on a loss: at most 1 within a year for all versions of a product together. Pure.

A block's stake is the same however fast labels come, until the store of a quarter of a year's stakes is used up; from
then on it is what time has added since. So a burst of labels, a demo or a replay is tested at full strength, a product
with a hundred times as many labels errs as seldom as any other, and so does one that gets a new version every day.
"""

from dataclasses import dataclass

__all__ = ["STAKE", "Budget", "granted"]

YEAR_SECONDS = 365.25 * 86400
FULL = 0.25
A_YEAR = 0.75  # what time adds; with a full store at its beginning, 1 within any year
STAKE = A_YEAR / (365.25 * 24 * 100 / 5)  # for each block of 5 rows; 100 labels an hour never use the store up


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What is left in the store, and when it was last added to."""

    left: float = FULL
    at: float


def granted(budget: Budget, blocks: int, now: float) -> tuple[float, Budget]:
    """The stake of each of so many blocks at that time, and the budget after them."""
    passed = max(0.0, now - budget.at)
    left = min(FULL, budget.left + A_YEAR * passed / YEAR_SECONDS)
    stake = min(STAKE, left / blocks) if blocks else 0.0
    return stake, Budget(left=left - stake * blocks, at=max(now, budget.at))
