"""The components of a distribution: normal scores of the reference's bins, and polynomials orthonormal over them.

For a continuous column the polynomials are Hermite's and their means over a window Neyman's smooth components (Neyman
1937; Rayner and Best 1989): order 1 is location, 2 spread, 3 and 4 shape. Built from the reference's own counts they
have mean 0, variance 1 and no correlation over the reference whatever its ties, so a yes-or-no column needs no care.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["ORDERS", "components", "normal_scores"]

ORDERS = 4

Floats = NDArray[np.float64]


def normal_scores(counts: Sequence[int]) -> list[float]:
    """The mean of a standard normal variable over each bin, when the bins' counts divide its range."""
    shares = np.asarray(counts, dtype=np.float64) / sum(counts)
    normal = NormalDist()
    inner = np.cumsum(shares)[:-1]
    heights = [normal.pdf(normal.inv_cdf(min(max(level, 1e-12), 1 - 1e-12))) for level in inner.tolist()]
    falls = -np.diff([0.0, *heights, 0.0])
    return [round(float(score), 6) for score in falls / shares]


def components(counts: Sequence[int], scores: Sequence[float]) -> Floats:
    """Rows of at most four orthonormal polynomials of the scores, by order; fewer where there are hardly more bins."""
    weights = np.asarray(counts, dtype=np.float64) / sum(counts)
    powers = np.vander(np.asarray(scores), min(ORDERS + 1, len(counts)), increasing=True)
    # the triangular factor's signs are arbitrary: the highest power counts positive
    orthogonal, triangle = np.linalg.qr(powers * np.sqrt(weights)[:, None])
    made = orthogonal * np.sign(np.diag(triangle)) / np.sqrt(weights)[:, None]
    return np.ascontiguousarray(made[:, 1:].T)
