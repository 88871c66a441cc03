"""Rows that stand for weights, for estimators that take none: systematic resampling without a row twice."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resampled"]


def resampled(weights: NDArray[np.float64], classes: NDArray[Any] | None = None, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of the rows to fit on, ascending; the same for the same weights, classes and seed.

    A row is kept with the probability weight / largest weight, once or not at all, so that sums over the kept rows are
    unbiased for weighted sums over all, up to that factor. Of every run of neighbours with equal weights (a batch) as
    many are kept as is expected, rounded up or down. Of each of the `classes` (one label per row) at least one row
    that weighs anything stays: where the draw leaves none, the heaviest one, the newest of those. `weights` are finite,
    not negative, and not all 0.
    Systematic resampling: Kitagawa 1996, with one point for each row of full weight.
    """
    random = np.random.default_rng(seed)
    chances = weights / weights.max()
    runs = np.concatenate([[0], np.cumsum(chances[1:] != chances[:-1])])
    # Shuffled within a batch: evenly spaced rows of hourly data would be the same hours of every day.
    order = np.lexsort((random.random(len(chances)), runs))
    order = order[chances[order] < 1.0]
    steps = np.floor(np.cumsum(chances[order]) + random.random())
    drawn = np.diff(steps, prepend=0.0) > 0
    kept = chances >= 1.0
    kept[order[drawn]] = True
    if classes is not None:
        kept[_missing(chances, classes, kept)] = True
    return np.flatnonzero(kept)


def _missing(chances: NDArray[np.float64], classes: NDArray[Any], kept: NDArray[np.bool_]) -> list[int]:
    """The heaviest row, the newest of those, of every class that has none among `kept`."""
    there = set(classes[kept].tolist())
    found = []
    for label in dict.fromkeys(classes[chances > 0].tolist()):
        if label not in there:
            rows = np.flatnonzero(classes == label)
            found.append(int(rows[chances[rows] == chances[rows].max()][-1]))
    return found
