"""Correlations of normal scores: sums over a window that add up, and the reference's values with their variances."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.blocks import curves_of
from mlauto.monitoring.drift.lookup import Lookup
from mlauto.monitoring.drift.profile import Numbers, Pairs

__all__ = ["COLUMNS", "Moments", "fit_pairs", "pair_indices"]

COLUMNS = 32  # the first so many columns are paired: 496 pairs; sums and tests grow with their square

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]


def pair_indices(columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First and second column of each pair."""
    return np.triu_indices(columns, 1)


@dataclass(frozen=True)
class Moments:
    """Sums over rows for each two columns, of those rows in which both have a value: count, x, x squared, x y."""

    count: Floats
    first: Floats
    square: Floats
    product: Floats

    @classmethod
    def none(cls, columns: int) -> "Moments":
        """Of no rows."""
        return cls(*(np.zeros((columns, columns)) for _ in range(4)))

    @classmethod
    def of(cls, scores: Scores, present: NDArray[np.bool_] | None) -> "Moments":
        """Of columns x rows of scores (0 where missing); `present` None when nothing is."""
        product = (scores @ scores.T).astype(np.float64)
        columns, rows = scores.shape
        if present is None:
            first = np.repeat(scores.sum(axis=1, dtype=np.float64)[:, None], columns, axis=1)
            square = np.repeat(np.diag(product)[:, None], columns, axis=1)
            return cls(np.full((columns, columns), float(rows)), first, square, product)
        there = present.astype(np.float32)
        return cls(
            (there @ there.T).astype(np.float64),
            (scores @ there.T).astype(np.float64),
            (scores**2 @ there.T).astype(np.float64),
            product,
        )

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            self.first + other.first,
            self.square + other.square,
            self.product + other.product,
        )

    def correlations(self) -> tuple[Floats, Floats]:
        """Each pair's correlation (0 where a column does not vary) and the rows behind it."""
        count = np.maximum(self.count, 1.0)
        mean = self.first / count
        variance = np.maximum(self.square / count - mean**2, 0.0)
        spread = np.sqrt(variance * variance.T)
        varies = spread > 1e-9  # scores are rounded at 1e-6
        found = np.where(varies, (self.product / count - mean * mean.T) / np.where(varies, spread, 1.0), 0.0)
        first, second = pair_indices(len(found))
        return np.clip(found[first, second], -1.0, 1.0), self.count[first, second]


def fit_pairs(numbers: Mapping[str, Numbers], values: Mapping[str, Floats | None]) -> Pairs:
    """The reference's correlations among its first 32 columns of numbers that hold still and vary."""
    names = [name for name, one in numbers.items() if one.still and len(one.counts) > 1][:COLUMNS]
    rows = {len(column) for name in names if (column := values[name]) is not None}
    if len(names) < 2 or len(rows) != 1:
        return Pairs(columns=names[:1])
    scores, gaps = [], []
    for name in names:
        lookup, column = Lookup(numbers[name]), values[name]
        assert column is not None  # noqa: S101 # columns of numbers have numbers
        places = lookup.positions(np.where(np.isfinite(column), column, np.nan))
        scores.append(lookup.scores[places])
        gaps.append(places > 0)
    table, present = np.array(scores), np.array(gaps)
    correlations, _ = Moments.of(table, None if present.all() else present).correlations()
    spread = np.maximum(np.sqrt((table.astype(np.float64) ** 2).mean(axis=1)), 1e-9)
    standard = (table / spread[:, None]).astype(np.float32)
    variances: list[float] = []
    curves: list[list[float]] = []
    for start in range(len(names) - 1):  # a column against those after it: memory for 31 pairs at a time
        one, others = standard[start], standard[start + 1 :]
        value = correlations[len(variances) : len(variances) + len(others)].astype(np.float32)[:, None]
        influence = one * others - value * (one**2 + others**2) / 2
        variances += [round(float(v), 5) for v in influence.var(axis=1)]
        curves += curves_of(influence.T)
    return Pairs(columns=names, values=[round(float(r), 6) for r in correlations], variances=variances, curves=curves)
