"""A metric's value over labelled rows in the order of time, with a 95 % confidence interval.

Errors of neighbouring rows are alike (a rainy day is mispredicted all day), so an interval for independent rows is too
narrow. The standard error is the larger of that of independent rows and that of the means of about sqrt(n) consecutive
blocks (batch means; Law and Kelton, Simulation Modeling and Analysis). The blocks' variance is taken from their
successive differences (von Neumann, 1941), so that a jump within the window, which is what monitoring is there to see,
does not hide itself by widening its own interval.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import MeasurementError
from mlauto.ranking import least_auc, pseudo_values
from mlauto.records import Score

__all__ = [
    "HIGHER",
    "NEEDS_ODDS",
    "REGRESSION",
    "SHARES",
    "better",
    "losses",
    "mean_interval",
    "mean_score",
    "ranked",
    "same_label",
    "score",
    "usable",
]

Floats = NDArray[np.float64]
Z = 1.959964  # the normal distribution's 97.5 % quantile
REGRESSION = frozenset({"mae", "rmse", "r2"})
NEEDS_ODDS = frozenset({"log_loss", "auc"})
HIGHER = frozenset({"r2", "auc"})  # the higher, the better
SHARES = frozenset({"error_rate", "auc"})  # of losses that are 1 at most
LARGEST = 1.7e308  # a whole number beyond it has no float
WORDS = {"true": "1", "false": "0"}


def better(metric: str, a: float, b: float) -> bool:
    """True when `a` is better than `b`: higher for r2 and auc, lower for everything else."""
    return a > b if metric in HIGHER else a < b


def usable(metric: str, truth: object, predicted: object) -> bool:
    """True when a row can be scored: both values are there, and finite numbers where the metric needs numbers."""
    if truth is None or predicted is None:
        return False
    if metric not in REGRESSION:
        return True
    return all(isinstance(value, int | float) and -LARGEST < value < LARGEST for value in (truth, predicted))


def same_label(a: object, b: object) -> bool:
    """True when two JSON values mean the same class: `1`, `1.0`, `"1"` and `true` do, `"1"` and `"one"` do not."""
    return _canonical(a) == _canonical(b)


def score(
    metric: str,
    truth: Sequence[object],
    predicted: Sequence[object],
    probabilities: Sequence[Sequence[float]] | None = None,
    classes: Sequence[object] = (),
) -> Score | None:
    """The metric over rows that are all `usable`; None for fewer than two, and for r2 or auc of a constant truth.

    `probabilities` (rows x classes) and `classes`, in the same order, are needed for log_loss and auc only; auc leaves
    rows out whose truth is neither class. Raises `MeasurementError` for a metric that is unknown, or that needs
    probabilities which were not logged.
    """
    rows = len(truth)
    if rows < 2:
        return None
    if metric == "auc":
        positive, scores = ranked(truth, probabilities, classes)
        each = pseudo_values(positive, scores)
        return _auc(each, rarer=int(min(positive.sum(), (1 - positive).sum()))) if len(each) else None
    if metric in REGRESSION:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name below
            return _regression(metric, np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float))
    return mean_score(metric, losses(metric, truth, predicted, probabilities, classes))


def mean_score(metric: str, each: Floats) -> Score:
    """A metric that the losses alone give (mae, rmse, error_rate, log_loss, auc by pairs) over at least two."""
    if metric == "error_rate":
        return _error_rate(each)
    if metric == "auc":
        return _auc(each, rarer=len(each))
    value, half = mean_interval(each)
    if metric == "rmse":
        bounds = (math.sqrt(max(0.0, value - half)), math.sqrt(value + half))
        return _score(metric, math.sqrt(value), bounds, len(each), floor=0.0)
    return _score(metric, value, (value - half, value + half), len(each), floor=0.0)


def losses(
    metric: str,
    truth: Sequence[object],
    predicted: Sequence[object],
    probabilities: Sequence[Sequence[float]] | None = None,
    classes: Sequence[object] = (),
) -> Floats:
    """Each row's loss: absolute error for mae, squared for rmse and r2, 0 or 1 for error_rate, -log p for log_loss.

    For auc its pseudo-value of 1 - AUC, of the rows that `ranked` takes, and none where those are of one class.
    Raises `MeasurementError` as `score` does.
    """
    if metric in REGRESSION:
        with np.errstate(over="ignore", invalid="ignore"):
            errors = np.asarray(predicted, dtype=float) - np.asarray(truth, dtype=float)
            return np.asarray(np.abs(errors) if metric == "mae" else errors**2)
    if metric == "error_rate":
        return np.asarray([not same_label(a, b) for a, b in zip(truth, predicted, strict=True)], dtype=float)
    if metric == "log_loss":
        return _log_losses(truth, probabilities, classes)
    if metric == "auc":
        return pseudo_values(*ranked(truth, probabilities, classes))
    raise MeasurementError(f"metric {metric!r} is unknown: use mae, rmse, r2, error_rate, log_loss or auc")


def ranked(
    truth: Sequence[object], probabilities: Sequence[Sequence[float]] | None, classes: Sequence[object]
) -> tuple[Floats, Floats]:
    """For auc, of each row whose truth is one of the two classes: whether it is the second one, and its probability.

    Raises `MeasurementError` where there are other than two classes, or no probabilities of them.
    """
    if probabilities is None or not classes:
        raise MeasurementError("auc needs the classes' probabilities in the prediction log: use metric error_rate")
    if len(classes) != 2:
        raise MeasurementError(f"auc is for two classes, and the model has {len(classes)}: use metric log_loss")
    places = {_canonical(label): place for place, label in enumerate(classes)}
    known = [(places.get(_canonical(label)), odds) for label, odds in zip(truth, probabilities, strict=True)]
    taken = [(place, odds[1]) for place, odds in known if place is not None and len(odds) == 2]
    positive, scores = np.asarray(taken, dtype=float).reshape(-1, 2).T
    return positive, scores


def _auc(each: Floats, *, rarer: int) -> Score:
    """Of pseudo-values or of pairs' losses; the rarer class has so many rows."""
    value, half = mean_interval(each)
    bounds = (least_auc(1 - value - half, rarer), min(1.0, 1 - value + half))
    return _score("auc", 1 - value, bounds, len(each))


def _regression(metric: str, truth: Floats, predicted: Floats) -> Score | None:
    errors = predicted - truth
    if metric == "mae":
        return mean_score(metric, np.abs(errors))
    squares = errors**2
    if metric == "rmse":
        return mean_score(metric, squares)
    spread = (truth - truth.mean()) ** 2
    if not spread.any():
        return None
    value = 1.0 - float(squares.mean() / spread.mean())
    # delta method: r2 is one minus a ratio of means, whose error is that of this series' mean
    _, half = mean_interval((squares - (1.0 - value) * spread) / spread.mean())
    return _score(metric, value, (value - half, value + half), len(truth))


def _error_rate(wrong: Floats) -> Score:
    """Wilson's interval, which is right at 0 errors too, widened to that of the block means."""
    rows, (value, half) = len(wrong), mean_interval(wrong)
    centre = (value + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    reach = Z * math.sqrt(value * (1 - value) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    low, high = min(centre - reach, value - half), max(centre + reach, value + half)
    return _score("error_rate", value, (low, min(1.0, high)), rows, floor=0.0)


def _log_losses(
    truth: Sequence[object], probabilities: Sequence[Sequence[float]] | None, classes: Sequence[object]
) -> Floats:
    if probabilities is None or not classes:
        raise MeasurementError("log_loss needs the classes' probabilities in the prediction log: use metric error_rate")
    places = {_canonical(label): place for place, label in enumerate(classes)}
    likelihood = []
    for label, odds in zip(truth, probabilities, strict=True):
        place = places.get(_canonical(label))
        likelihood.append(odds[place] if place is not None and place < len(odds) else 0.0)
    return np.asarray(-np.log(np.clip(np.asarray(likelihood, dtype=float), np.finfo(float).eps, 1.0)))


def _score(metric: str, value: float, bounds: tuple[float, float], rows: int, floor: float = -math.inf) -> Score:
    low, high = bounds
    if not all(map(math.isfinite, (value, low, high))):
        raise MeasurementError(f"{metric} over {rows} labelled rows is not finite: look for huge labels or predictions")
    return Score(metric=metric, value=value, low=max(floor, low), high=high, rows=rows)


def mean_interval(series: Floats) -> tuple[float, float]:
    """Mean of a series in the order of time, and half the width of its 95 % interval; two values at least."""
    rows = len(series)
    half = _t(rows - 1) * float(series.std(ddof=1)) / math.sqrt(rows)
    blocks = math.isqrt(rows)
    if blocks >= 4:
        means = series[-(rows // blocks) * blocks :].reshape(blocks, -1).mean(axis=1)
        spread = math.sqrt(float((np.diff(means) ** 2).mean()) / 2)
        half = max(half, _t(blocks - 1) * spread / math.sqrt(blocks))
    return float(series.mean()), half


def _t(freedom: int) -> float:
    """Student's 97.5 % quantile, by its expansion around the normal one (Abramowitz and Stegun, 26.7.5)."""
    if freedom < 3:
        return (math.nan, 12.7062, 4.3027)[freedom]
    terms = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
    )
    return Z + sum((term / float(freedom**power) for power, term in enumerate(terms, start=1)), 0.0)


def _canonical(value: object) -> str:
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return WORDS.get(text.lower(), text)
    return str(int(number)) if number.is_integer() else repr(number)
