"""Quality estimated without labels, with the estimate's error: shown, never acted upon. Pure.

Classifiers: the loss that the calibrated probabilities themselves expect (CBPE). Regressions: the loss that rows like
these had on the holdout (`losstable.py`, DLE). Both see that rows have become harder; neither sees that the truth about
the same rows has changed, which is what most losses are: only labels show that.

The error comes from the holdout: how far mean losses were from what a fit on the other half of the rows expected, with
neighbours that err alike counted as such, for as many rows as are estimated now, and for the fit itself.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.measured import Estimate
from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.quality.calibration import Curve, applied, calibrated
from mlauto.monitoring.quality.losstable import LossTable, expected_losses, fitted
from mlauto.monitoring.scores import REGRESSION, mean_interval, same_label
from mlauto.ranking import pseudo_values
from mlauto.records import Score

__all__ = ["BLOCK", "Answered", "Estimator", "estimate", "estimator_of"]

Floats = NDArray[np.float64]
FEWEST = 100  # rows of the holdout
FEWEST_NOW = 20
BLOCK = 20  # rows that stay together in one half
SMALLEST = 1e-9  # probability
Z = 1.959964
Answered = tuple[Mapping[str, Any], Outcome]  # a row, and what was said of it; its truth is not looked at


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """What expects losses; `deviation` is the standard error of a mean of `rows` of them, times the root of `rows`."""

    metric: str
    deviation: float
    rows: int
    curves: tuple[Curve, ...] = ()
    table: LossTable | None = None
    spread: float | None = None


def estimator_of(
    metric: str, rows: Sequence[Answered], classes: Sequence[object], spread: float | None = None
) -> Estimator | None:
    """From rows with labels; None for fewer than a hundred, without probabilities, or where the metric is undefined."""
    known = [row for row in rows if row[1].usable(metric) and (metric in REGRESSION or row[1].odds is not None)]
    if len(known) < FEWEST or (metric not in REGRESSION and not classes) or (metric == "r2" and not spread):
        return None
    if metric == "auc":
        known = [row for row in known if any(same_label(row[1].truth, label) for label in classes)]
    losses = outcome_losses(metric, [outcome for _, outcome in known], classes)
    if len(losses) < max(FEWEST, len(known)):
        return None
    half = np.arange(len(known)) // BLOCK % 2 == 0
    far = np.empty(len(known))
    for chosen in (half, ~half):
        one = _fit(metric, _part(known, chosen), losses[chosen], classes)
        far[~chosen] = losses[~chosen] - _expected(metric, one, _part(known, ~chosen), classes)
    error = mean_interval(far)[1] / Z
    curves, table = _fit(metric, known, losses, classes)
    deviation = error * math.sqrt(len(known))
    return Estimator(metric=metric, deviation=deviation, rows=len(known), curves=curves, table=table, spread=spread)


def estimate(estimator: Estimator, rows: Sequence[Answered], classes: Sequence[object]) -> Estimate | None:
    """What is expected of those rows; None for fewer than twenty that can be estimated."""
    metric, method = estimator.metric, "DLE" if estimator.metric in REGRESSION else "CBPE"
    able = [row for row in rows if method == "DLE" or (row[1].odds is not None and len(row[1].odds) == len(classes))]
    if len(able) < FEWEST_NOW:
        return None
    losses = _expected(metric, (estimator.curves, estimator.table), able, classes)
    mean = float(losses.mean())
    error = estimator.deviation * math.sqrt(1 / len(able) + 1 / estimator.rows)
    ends = [_in_units(estimator, max(0.0, mean + by * error)) for by in (-Z, 0.0, Z)]
    low, value, high = sorted(ends)
    score = Score(metric=metric, value=value, low=low, high=high, rows=len(able))
    return Estimate(method=method, quality=score, error=(high - low) / (2 * Z))


def _in_units(estimator: Estimator, mean: float) -> float:
    if estimator.metric == "rmse":
        return math.sqrt(mean)
    if estimator.metric == "auc":
        return 1 - min(mean, 1.0)
    return 1 - mean / estimator.spread if estimator.metric == "r2" and estimator.spread else mean


Fitted = tuple[tuple[Curve, ...], LossTable | None]


def _fit(metric: str, rows: Sequence[Answered], losses: Floats, classes: Sequence[object]) -> Fitted:
    if metric in REGRESSION:
        return (), fitted([row for row, _ in rows], [outcome.predicted for _, outcome in rows], losses)
    odds = _odds(rows)
    hits = [[same_label(outcome.truth, label) for _, outcome in rows] for label in classes]
    return tuple(calibrated(odds[:, at], np.asarray(hit, dtype=float)) for at, hit in enumerate(hits)), None


def _expected(metric: str, fit: Fitted, rows: Sequence[Answered], classes: Sequence[object]) -> Floats:
    curves, table = fit
    if table is not None:
        return expected_losses(table, [row for row, _ in rows], [outcome.predicted for _, outcome in rows])
    odds = _odds(rows)
    meant = applied(curves, odds)
    if metric == "log_loss":
        return np.asarray(-(meant * np.log(np.clip(odds, np.finfo(float).eps, 1.0))).sum(axis=1))
    if metric == "auc":
        return pseudo_values(np.clip(meant[:, 1], SMALLEST, 1 - SMALLEST), odds[:, 1])  # one class: all are tied
    said = np.array([[same_label(outcome.predicted, label) for label in classes] for _, outcome in rows])
    return np.asarray(1 - (meant * said).sum(axis=1))


def _odds(rows: Sequence[Answered]) -> Floats:
    return np.array([outcome.odds for _, outcome in rows], dtype=float)


def _part(rows: Sequence[Answered], chosen: NDArray[np.bool_]) -> list[Answered]:
    return [row for row, taken in zip(rows, chosen, strict=True) if taken]
