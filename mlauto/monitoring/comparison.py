"""Two versions' losses compared: the difference with a 95 % interval, in the metric's own units, above 0 for a loss.

Paired where both predicted the same rows: what is hard about a row is hard for both and cancels out, so that a tenth of
the labels proves as much. Otherwise from the two versions' own scores, whose interval widths are put together as by
Newcombe (1998, method 10) and in general by Zou and Donner (2008): it keeps the sides of lopsided intervals apart.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from mlauto.monitoring.scores import HIGHER, NEEDS_ODDS, losses, mean_interval, same_label, score, usable
from mlauto.records import Score

__all__ = ["Outcome", "outcome_losses", "outcome_score", "paired_difference", "unpaired_difference"]

FEWEST_ROWS = 20  # fewer rows prove nothing, whatever an interval for large samples says
Z = 1.959964


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One row: the truth, what was predicted, and the classes' probabilities where there are any."""

    truth: Any
    predicted: Any
    odds: Sequence[float] | None = None

    def usable(self, metric: str) -> bool:
        """Whether the metric can be computed from it."""
        if not usable(metric, self.truth, self.predicted):
            return False
        if metric == "auc":  # so that two versions' rows are the same ones, whatever classes either has
            return self.odds is not None and len(self.odds) == 2
        return metric not in NEEDS_ODDS or self.odds is not None


def paired_difference(
    metric: str, pairs: Sequence[tuple[Outcome, Outcome]], classes: Sequence[object] = ()
) -> Score | None:
    """Mean loss of the first minus that of the second, over rows that both predicted, in the order of time.

    In units of the metric: rmse's is the difference of the roots, r2's is divided by the truth's variance, and auc's is
    that of 1 - AUC. None for fewer than 20 rows, and for r2 or auc of a constant truth. Raises `MeasurementError`.
    """
    if len(pairs) < FEWEST_ROWS:
        return None
    first, second = (outcome_losses(metric, [pair[side] for pair in pairs], classes) for side in (0, 1))
    if len(first) < FEWEST_ROWS:
        return None
    value, half = mean_interval(first - second)
    if metric == "error_rate":
        half = max(half, _agresti_min(first - second))
    truth = [pair[0].truth for pair in pairs]
    if metric == "auc":
        half = max(half, Z / (_rarer(truth, classes) + 2))
    scale = _scale(metric, first, second, truth)
    if scale is None:
        return None
    low, high = (value - half) * scale, (value + half) * scale
    return Score(metric=metric, value=value * scale, low=low, high=high, rows=len(first))


def unpaired_difference(first: Score | None, second: Score | None) -> Score | None:
    """Loss of the first minus that of the second, each measured on rows of its own; `rows` are those of the fewer.

    None where either is missing or has fewer than 20 rows.
    """
    if first is None or second is None or min(first.rows, second.rows) < FEWEST_ROWS:
        return None
    if first.metric in HIGHER:
        first, second = second, first
    value = first.value - second.value
    low = value - math.hypot(first.value - first.low, second.high - second.value)
    high = value + math.hypot(first.high - first.value, second.value - second.low)
    return Score(metric=first.metric, value=value, low=low, high=high, rows=min(first.rows, second.rows))


def outcome_losses(
    metric: str, outcomes: Sequence[Outcome], classes: Sequence[object]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Each row's loss, as `losses` has it, of rows that are all usable. Raises `MeasurementError` as that does."""
    truth, predicted = [one.truth for one in outcomes], [one.predicted for one in outcomes]
    odds = [one.odds for one in outcomes if one.odds is not None] if metric in NEEDS_ODDS else None
    return losses(metric, truth, predicted, odds, classes)


def outcome_score(metric: str, outcomes: Sequence[Outcome], classes: Sequence[object]) -> Score | None:
    """The metric over rows that are all usable; None as `score` has it. Raises `MeasurementError`."""
    truth, predicted = [one.truth for one in outcomes], [one.predicted for one in outcomes]
    odds = [one.odds for one in outcomes if one.odds is not None]
    return score(metric, truth, predicted, odds if len(odds) == len(outcomes) else None, classes)


def _scale(
    metric: str,
    first: np.ndarray[Any, np.dtype[np.float64]],
    second: np.ndarray[Any, np.dtype[np.float64]],
    truth: Sequence[Any],
) -> float | None:
    """What turns a difference of mean losses into one of the metric; None where the metric is undefined."""
    if metric == "rmse":
        roots = math.sqrt(first.mean()) + math.sqrt(second.mean())
        return 1 / roots if roots else 1.0  # a - b = (a2 - b2) / (a + b)
    if metric == "r2":
        variance = float(np.var(np.asarray(truth, dtype=float)))
        return 1 / variance if variance else None
    return 1.0


def _rarer(truth: Sequence[Any], classes: Sequence[object]) -> int:
    """How many rows the rarer class has: no disagreement on few of them proves nothing, as below."""
    return min(sum(same_label(one, label) for one in truth) for label in classes)


def _agresti_min(differences: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Half the width for paired proportions that is right for few disagreements, none included (Agresti, Min 2005)."""
    rows = len(differences) + 2
    moved = float(np.abs(differences).sum()) + 1
    net = float(differences.sum())
    return Z * math.sqrt(max(0.0, moved - net**2 / rows)) / rows
