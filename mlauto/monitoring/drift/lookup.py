"""From a number to its bin of the reference, for whole chunks of a column: a multiplication, a cast and a count.

Bins are unions of the cells of a uniform grid, so that no search is needed; only a column so skewed that a grid cannot
tell its bins apart is searched. Position 0 is for missing values.
"""

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.profile import Numbers

__all__ = ["CELLS", "Lookup"]

CELLS = 4096  # of the grid between the outermost edges: its table stays in the processor's first cache

Floats = NDArray[np.float64]


class Lookup:
    """The bins of one column, ready for use. Not for two threads at a time: it keeps its scratch space."""

    def __init__(self, numbers: Numbers) -> None:
        edges = np.asarray(numbers.edges, dtype=np.float64)
        self.edges = edges
        self.far = numbers.far
        self.grid = numbers.grid
        if numbers.grid is None:
            starts = np.arange(1, len(edges) + 2)
            self.size = len(edges) + 2
        else:
            origin, scale = numbers.grid
            starts = np.concatenate([[1], 2 + np.rint((edges - origin) * scale)]).astype(np.intp)
            self.size = CELLS + 3
        self._starts = starts - 1
        widths = np.diff(np.append(starts, self.size))
        self.scores = np.concatenate([[0.0], np.repeat(numbers.scores, widths)]).astype(np.float32)
        self._work = np.empty(0)
        self._index = np.empty(0, dtype=np.intp)

    def positions(self, values: Floats) -> NDArray[np.intp]:
        """Where each value belongs (0: missing); valid until the next call."""
        if len(values) > len(self._work):
            self._work, self._index = np.empty(len(values)), np.empty(len(values), dtype=np.intp)
        work, index = self._work[: len(values)], self._index[: len(values)]
        if self.grid is None:
            index[:] = np.searchsorted(self.edges, values, side="right")
            index += 1
            index[np.isnan(values)] = 0
            return index
        origin, scale = self.grid
        np.multiply(values, scale, out=work)
        work += 2.0 - origin * scale
        np.minimum(work, CELLS + 2.0, out=work)
        np.maximum(work, 1.0, out=work)
        np.fmax(work, 0.0, out=work)  # only what is missing is still no number, and becomes 0
        np.copyto(index, work, casting="unsafe")
        return index

    def outside(self, values: Floats) -> int:
        """How many values lie far outside the reference."""
        if not len(values):
            return 0
        low, high = self.far
        if np.fmin.reduce(values) >= low and np.fmax.reduce(values) <= high:
            return 0
        return int(np.count_nonzero(values < low) + np.count_nonzero(values > high))

    def counted(self, positions: NDArray[np.intp]) -> tuple[int, NDArray[np.int64]]:
        """How many are missing, and how many are in each bin."""
        counts = np.bincount(positions, minlength=self.size)
        return int(counts[0]), np.add.reduceat(counts[1:], self._starts)
