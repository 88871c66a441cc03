"""The mean loss that is still allowed, and the scale that losses are tested on. Pure.

Losses without a range are clipped at a multiple of the limit, which is taken from the reference. What is tested then
is that the mean *clipped* loss is at most the limit. It is never above the mean loss, so that clipping can only hide a
loss, never make up an alarm: hidden is one that a few rows make whose losses are many times the limit. The multiples
are beyond the 99 % quantile of exponential errors (absolute) and of normal ones (squared); log losses are longer.

r2 is a ratio and has no loss by the row: tested is whether the mean squared error is beyond what the limit allows where
the truth varies as in the reference. That is the r2 limit itself while the truth's variance stays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlauto.records import Score

__all__ = ["Limit", "limit_of", "spread_of"]

Floats = NDArray[np.float64]
MULTIPLES = {"mae": 5.0, "log_loss": 8.0, "rmse": 10.0, "r2": 10.0}
SMALLEST = 1e-12  # nothing is relative to zero


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`value` in units of the metric, `mean` in those of the losses; a loss at `bound` or beyond counts as 1."""

    value: float
    mean: float
    bound: float

    @property
    def scaled(self) -> float:
        """The mean that is allowed of scaled losses."""
        return self.mean / self.bound

    def scale(self, losses: Floats) -> Floats:
        """Losses in [0, 1]."""
        return np.minimum(losses / self.bound, 1.0)


def limit_of(reference: Score, tolerance: float, spread: float | None = None) -> Limit | None:
    """The limit: the worse end of the reference's interval, and `tolerance` worse than that (see `judge`).

    `spread` is the variance of the truth, needed for r2 only; None where it is missing or 0.
    """
    metric = reference.metric
    if metric == "error_rate":
        value = max(reference.high + tolerance, SMALLEST)
        return Limit(value=value, mean=value, bound=1.0)
    if metric == "auc":
        value = min(reference.low - tolerance, 1 - SMALLEST)
        return Limit(value=value, mean=1 - value, bound=1.0)
    if metric == "r2":
        value = reference.low - tolerance
        mean = (1 - value) * (spread or 0.0)
        if mean <= 0:
            return None
    else:
        value = max(reference.high * (1 + tolerance), SMALLEST)
        mean = value**2 if metric == "rmse" else value
    return Limit(value=value, mean=mean, bound=MULTIPLES[metric] * mean)


def spread_of(scores: tuple[Score, ...]) -> float | None:
    """The truth's variance as the scores of one set of rows give it; None where they do not."""
    found = {score.metric: score.value for score in scores}
    if "rmse" not in found or found.get("r2", 1.0) >= 1:
        return None
    return found["rmse"] ** 2 / (1 - found["r2"])
