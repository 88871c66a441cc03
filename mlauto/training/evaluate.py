"""How good a model is, and whether it may follow the champion: pure functions of labels and predictions.

A row's loss is what its metric averages: absolute error (mae), squared error (rmse and r2), 0 or 1 (error_rate),
negative log of the probability given to the true label (log_loss), its pseudo-value of 1 - AUC (auc). Comparisons are
paired: both models' losses on the same rows, so that rows that are hard for everybody cancel out. Rows count as
independent.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.ranking import least_auc, pseudo_values
from mlauto.records import CheckOutcome, Score

__all__ = [
    "COMPARABLE_ROWS",
    "METRICS",
    "NEEDS_ODDS",
    "Answers",
    "Comparison",
    "batch_metric",
    "compare",
    "not_worse_than_champion",
    "row_losses",
    "score",
    "score_of",
    "valid",
]

Losses = NDArray[np.float64]

METRICS = {"regression": ("mae", "rmse", "r2"), "classification": ("error_rate", "log_loss", "auc")}
NEEDS_ODDS = frozenset({"log_loss", "auc"})
COMPARABLE_ROWS = 30  # fewer rows say nothing about a difference
Z = 1.959964  # of a two-sided 95 % normal interval
SMALLEST = 1e-15  # a probability of 0 for the true label would make one row's loss infinite


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model said about some rows. `probabilities` (rows x classes) belong to `classes`, in that order."""

    predictions: Sequence[Any]
    probabilities: Sequence[Sequence[float]] | None = None
    classes: Sequence[Any] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Mean paired difference (candidate minus champion, in units of the loss), its standard error, and their ratio.

    `worse` is true when the ratio is above the limit that was asked for.
    """

    difference: float
    standard_error: float
    sigmas: float
    rows: int
    worse: bool


def batch_metric(metric: str) -> str:
    """What single batches and columns are judged by: the metric, but log_loss for auc, which one class has not."""
    return "log_loss" if metric == "auc" else metric


def row_losses(metric: str, labels: Sequence[Any], answers: Answers) -> Losses:
    """Each row's loss.

    Raises `ValueError` for lengths that differ, log_loss or auc without probabilities, and auc without rows of both of
    two classes.
    """
    if len(labels) != len(answers.predictions):
        raise ValueError(f"{len(answers.predictions)} predictions for {len(labels)} labels")
    if metric == "error_rate":
        return np.array([a != b for a, b in zip(labels, answers.predictions, strict=True)], dtype=np.float64)
    if metric == "log_loss":
        return _log_losses(labels, answers)
    if metric == "auc":
        return _ranking_losses(labels, answers)
    errors = np.asarray(answers.predictions, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    return np.abs(errors) if metric == "mae" else errors**2


def _odds(metric: str, labels: Sequence[Any], answers: Answers) -> Sequence[Sequence[float]]:
    if answers.probabilities is None:
        raise ValueError(f"{metric} needs probabilities, and this model has no predict_proba")
    if len(answers.probabilities) != len(labels):
        raise ValueError(f"{len(answers.probabilities)} rows of probabilities for {len(labels)} labels")
    return answers.probabilities


def _ranking_losses(labels: Sequence[Any], answers: Answers) -> Losses:
    """Of the second class, which is the positive one, against the first."""
    odds = _odds("auc", labels, answers)
    classes = tuple(answers.classes)
    if len(classes) != 2 or not set(labels) <= set(classes):
        raise ValueError(f"auc is for two classes, and these are {len(set(labels) | set(classes))}: use log_loss")
    positive = np.array([label == classes[1] for label in labels], dtype=np.float64)
    found = pseudo_values(positive, np.asarray(odds, dtype=np.float64)[:, 1])
    if not len(found):
        raise ValueError(f"auc needs rows of both classes, and all {len(labels)} are {labels[0]!r}: use log_loss")
    return found


def _log_losses(labels: Sequence[Any], answers: Answers) -> Losses:
    odds = _odds("log_loss", labels, answers)
    position = {label: index for index, label in enumerate(answers.classes)}
    given = [row[position[label]] if label in position else 0.0 for label, row in zip(labels, odds, strict=True)]
    losses: Losses = -np.log(np.clip(np.asarray(given, dtype=np.float64), SMALLEST, 1.0))
    return losses


def score(metric: str, labels: Sequence[Any], answers: Answers) -> Score:
    """The metric with its 95 % confidence interval.

    mae and log_loss: normal interval of the mean loss; rmse: that of the mean squared error, rooted; error_rate:
    Wilson's interval (Wilson 1927), which is honest at 0 and 1; r2: percentile bootstrap (200 resamples, fixed seed);
    auc: that of DeLong et al. (1988). Raises `ValueError` when there are no rows, and as `row_losses` does.
    """
    return score_of(metric, row_losses(metric, labels, answers), labels)


def score_of(metric: str, losses: Losses, labels: Sequence[Any] = ()) -> Score:
    """The same from each row's loss; only r2 and auc look at the labels too."""
    if not len(losses):
        raise ValueError("no rows to score")
    value, low, high = INTERVALS.get(metric, _normal)(losses, labels)
    return Score(metric=metric, value=value, low=low, high=high, rows=len(losses))


def _normal(losses: Losses, _labels: Sequence[Any]) -> tuple[float, float, float]:
    mean, half = float(losses.mean()), Z * _standard_error(losses)
    return mean, max(0.0, mean - half), mean + half


def _rooted(losses: Losses, labels: Sequence[Any]) -> tuple[float, float, float]:
    mean, low, high = _normal(losses, labels)
    return math.sqrt(mean), math.sqrt(low), math.sqrt(high)


def _wilson(losses: Losses, _labels: Sequence[Any]) -> tuple[float, float, float]:
    n, rate = len(losses), float(losses.mean())
    middle = (rate + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    return rate, max(0.0, middle - half), min(1.0, middle + half)


def _ranking(losses: Losses, labels: Sequence[Any]) -> tuple[float, float, float]:
    value, half = 1.0 - float(losses.mean()), Z * _standard_error(losses)
    return value, least_auc(value - half, min(Counter(labels).values())), min(1.0, value + half)


def _determination(losses: Losses, labels: Sequence[Any]) -> tuple[float, float, float]:
    truth = np.asarray(labels, dtype=np.float64)
    draws = np.random.default_rng(0).integers(0, len(truth), size=(200, len(truth)))
    samples = [_explained(losses[draw], truth[draw]) for draw in draws]
    low, high = np.quantile(samples, [0.025, 0.975])
    return _explained(losses, truth), float(low), float(high)


def _explained(losses: Losses, truth: NDArray[np.float64]) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    # constant labels leave nothing to explain: 0 by convention, as the mean itself would score
    return 1.0 - float(losses.sum()) / spread if spread > 0 else 0.0


INTERVALS: dict[str, Callable[[Losses, Sequence[Any]], tuple[float, float, float]]] = {
    "rmse": _rooted,
    "error_rate": _wilson,
    "r2": _determination,
    "auc": _ranking,
}


def _standard_error(values: Losses) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def compare(candidate: Losses, champion: Losses, limit: float = 3.0) -> Comparison:
    """Paired comparison of two models' losses on the same rows; `worse` when more than `limit` standard errors worse.

    Raises `ValueError` when the losses are not of the same rows or there are none.
    """
    if candidate.shape != champion.shape or not len(candidate):
        raise ValueError(f"losses of {len(candidate)} and {len(champion)} rows cannot be paired")
    differences = candidate - champion
    difference, error = float(differences.mean()), _standard_error(differences)
    # every row differs by the same amount: certain, whatever the amount
    sigmas = difference / error if error > 0 else math.copysign(math.inf, difference) if difference else 0.0
    return Comparison(
        difference=difference, standard_error=error, sigmas=sigmas, rows=len(differences), worse=sigmas > limit
    )


def valid(
    *, finite: bool, reloads: bool, mismatch: str | None, against_dummy: Comparison, excused: bool = False
) -> CheckOutcome:
    """Is this a usable model: finite predictions, same answers after reloading, the right columns, better than a dummy.

    `mismatch` says how the signature differs from the training set's columns, None when it does not. `against_dummy`
    is the paired comparison with a constant prediction: the model's mean loss must be the smaller one, unless that is
    `excused` because what would stay is no better.
    """
    faults = []
    if not finite:
        faults.append("it predicts values that are not finite")
    if not reloads:
        faults.append("it predicts differently after saving and loading")
    if mismatch:
        faults.append(mismatch)
    above = not against_dummy.difference < 0
    loss = (
        f"its loss is {abs(against_dummy.difference):.4g} {'above' if above else 'below'} that of a constant prediction"
    )
    if above and not excused:
        faults.append(loss)
    summary = "; ".join(faults) or f"finite, reloads, and {loss}{', but not above the champion' if above else ''}"
    return CheckOutcome(name="valid", passed=not faults, summary=summary, details=_details(against_dummy))


def not_worse_than_champion(comparison: Comparison | None, *, limit: float | None, absent: str = "") -> CheckOutcome:
    """May the candidate follow the champion: fails only when worse by more than `limit` standard errors, if given one.

    Without a comparison (`absent` says why there is none), or on fewer than 30 rows, there is no evidence against the
    candidate: it passes.
    """
    name = "not_worse_than_champion"
    if comparison is None:
        return CheckOutcome(name=name, passed=True, summary=f"not compared: {absent}")
    details = {**_details(comparison), "limit": limit}
    if comparison.rows < COMPARABLE_ROWS:
        summary = f"not compared: only {comparison.rows} rows that neither model was fitted on"
        return CheckOutcome(name=name, passed=True, summary=summary, details=details)
    side = "above" if comparison.difference > 0 else "below"
    allowed = "no limit for the same code" if limit is None else f"limit +{limit:g}"
    summary = (
        f"loss {abs(comparison.difference):.4g} {side} the champion's on the same {comparison.rows} rows "
        f"({comparison.sigmas:+.1f} standard errors, {allowed})"
    )
    passed = limit is None or comparison.sigmas <= limit
    return CheckOutcome(name=name, passed=passed, summary=summary, details=details)


def _details(comparison: Comparison) -> dict[str, Any]:
    sigmas = comparison.sigmas if math.isfinite(comparison.sigmas) else None  # JSON knows no infinity
    return {
        "difference": comparison.difference,
        "standard_error": comparison.standard_error,
        "sigmas": sigmas,
        "rows": comparison.rows,
    }
