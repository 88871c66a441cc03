"""Figures of a whole column, and whether they lie where they should; a figure too close to its bound is not judged.

Sums of floats depend on the order of adding. Here they are added part by part, in pandas at once: where a bound is
within that error of the figure, the answer is None and Great Expectations is asked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.rows import EXACT, Bounds

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["FIGURES", "MEASURES", "Held", "Sums", "judged"]

# Adding n floats one after the other errs by at most n * 1.1e-16 of their absolute sum: 1e-7 holds for 1e9 rows.
ERROR = 1e-7
NEAR = 1e-4


def judged(value: float | None, limits: Bounds, error: float = 0.0) -> bool | None:
    """Whether a figure is within; None when that depends on less than `error`. No figure is not within."""
    if value is None or math.isnan(value):
        return False
    low, high, strict_low, strict_high = limits
    if error and any(bound is not None and abs(value - bound) <= error for bound in (low, high)):
        return None
    above = low is None or (value > low if strict_low else value >= low)
    below = high is None or (value < high if strict_high else value <= high)
    return above and below


@dataclass(slots=True)
class Sums:
    """What is known of the values seen so far: their number, sums, extremes, and the spread around their mean."""

    count: int = 0
    total: float = 0.0
    absolute: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    finite: bool = True
    _mean: float = field(default=0.0, repr=False)

    def add(self, part: Part) -> None:
        """Take in a part (Chan, Golub and LeVeque 1979)."""
        import numpy as np

        values = part.values[~np.isnan(part.values)] if part.present < part.rows else part.values
        if not len(values):
            return
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())
        self.finite = self.finite and math.isfinite(self.low) and math.isfinite(self.high)
        if not self.finite:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            self._add(values.astype(np.float64, copy=False))
        self.finite = math.isfinite(self.squares) and math.isfinite(self.absolute)

    def _add(self, values: "NDArray[np.float64]") -> None:
        import numpy as np

        total, mean = float(values.sum()), float(values.mean())
        apart = mean - self._mean
        both = self.count + len(values)
        self.squares += float(np.square(values - mean).sum()) + apart * apart * self.count * len(values) / both
        self._mean += apart * len(values) / both
        self.count, self.total, self.absolute = both, self.total + total, self.absolute + float(np.abs(values).sum())


def _mean(sums: Sums, limits: Bounds) -> bool | None:
    if not sums.count:
        return False
    return judged(sums.total / sums.count, limits, ERROR * sums.absolute / sums.count)


def _sum(sums: Sums, limits: Bounds) -> bool | None:
    # Whole numbers are summed in 64 bits by pandas, and wrap around.
    return judged(sums.total, limits, ERROR * sums.absolute) if sums.absolute < 2**62 else None


def _deviation(sums: Sums, limits: Bounds) -> bool | None:
    if sums.count < 2:
        return False
    spread = math.sqrt(sums.squares / (sums.count - 1))
    return judged(spread, limits, ERROR * (spread + sums.absolute / sums.count))


def _lowest(sums: Sums, limits: Bounds) -> bool | None:
    return _extreme(sums, sums.low, limits)


def _highest(sums: Sums, limits: Bounds) -> bool | None:
    return _extreme(sums, sums.high, limits)


def _extreme(sums: Sums, value: float, limits: Bounds) -> bool | None:
    # Beyond these, a whole number and a float are compared otherwise by numpy than by Python.
    return None if sums.count and abs(value) >= EXACT else judged(value if sums.count else None, limits)


@dataclass(frozen=True, eq=False)
class Held:
    """All values of a column that are there, or the distinct ones of each part; in how many rows each of them is."""

    values: "pd.Series"
    rows: "pd.Series"

    def alone(self) -> float:
        """The share of rows whose value is in no other row; of no rows 1."""
        repeated = self.values.duplicated(keep=False) | (self.rows > 1)
        rows = float(self.rows.sum())
        return (rows - float(self.rows[repeated].sum())) / rows if rows else 1.0

    def quantiles_within(self, shares: Sequence[float], limits: Sequence[tuple[float | None, float | None]]) -> bool:
        """Whether each quantile lies between its limits, or as near to one as Great Expectations lets pass."""
        from great_expectations.util import isclose

        found = self.values.quantile(list(shares), interpolation="nearest").tolist()
        for value, (lowest, highest) in zip(found, limits, strict=True):
            low, high = -math.inf if lowest is None else lowest, math.inf if highest is None else highest
            near = isclose(value, low, rtol=NEAR) or isclose(value, high, rtol=NEAR)
            if not near and not low <= value <= high:
                return False
        return True


def _median(held: Held) -> float:
    return float(held.values.median())


def _distinct(held: Held) -> float:
    return float(held.values.nunique())


def _distinct_share(held: Held) -> float:
    return float(held.values.nunique() / held.rows.sum()) if len(held.values) else 0.0


FIGURES: dict[str, Callable[[Sums, Bounds], bool | None]] = {
    "expect_column_mean_to_be_between": _mean,
    "expect_column_sum_to_be_between": _sum,
    "expect_column_stdev_to_be_between": _deviation,
    "expect_column_min_to_be_between": _lowest,
    "expect_column_max_to_be_between": _highest,
}
MEASURES: dict[str, Callable[[Held], float]] = {
    "expect_column_median_to_be_between": _median,
    "expect_column_unique_value_count_to_be_between": _distinct,
    "expect_column_proportion_of_unique_values_to_be_between": _distinct_share,
}
