"""From a plan's prepared rows to predictions and probabilities, as the estimator's own `predict*` makes them.

| `finish`        | predictions                                   | probabilities                         |
|-----------------|-----------------------------------------------|---------------------------------------|
| `identity`      | the sum                                       | none                                  |
| `exp`           | its exponential                               | none                                  |
| `logistic`      | the second class where the sum is above 0     | logistic function                     |
| `logistic_tie`  | the second class where it is 0 or above       | logistic function                     |
| `softmax`       | the class with the largest sum                | softmax                               |
| `one_vs_rest`   | the same                                      | logistic functions, normalized        |
| `shares`        | the same                                      | the sums themselves                   |
| `sign`          | the second class where the sum is above 0     | none                                  |
| `largest`       | the class with the largest sum                | none                                  |
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.errors import RequestError
from mlauto.serving.plan.format import Linear, PlanError, Trees
from mlauto.serving.plan.prepare import Matrix
from mlauto.serving.plan.trees import sums
from mlauto.serving.wire.protocol import Answer

__all__ = ["PROBABILITIES", "REGRESSION", "executor", "numbers"]

REGRESSION = ("identity", "exp")
BINARY = ("logistic", "logistic_tie", "sign")
SEVERAL = ("softmax", "one_vs_rest", "shares", "largest")
Arrays = Mapping[str, NDArray[Any]]


Estimator = Trees | Linear
Execute = Callable[[Matrix, bool], Answer]
Raw = Callable[[Matrix], Matrix]


def executor(estimator: Estimator, classes: Sequence[Any], arrays: Arrays, library: Path | None = None) -> Execute:
    """A function from prepared rows to the answer, with probabilities if that is asked for.

    Raises `PlanError` when estimator, classes and arrays do not fit.
    """
    raw, finish, classes = _raw(estimator, len(classes), arrays, library), estimator.finish, list(classes)
    if finish in REGRESSION:
        return lambda cells, _odds: Answer(_number(raw(cells), finish).ravel().tolist())
    labels = _labels(finish)
    probabilities = PROBABILITIES.get(finish)

    def run(cells: Matrix, odds: bool) -> Answer:
        found = raw(cells)
        if probabilities is _two and len(found) == 1:
            return _one(found.item(), classes, odds=odds, tie=finish == "logistic_tie")
        predictions = [classes[place] for place in labels(found).tolist()]
        return Answer(predictions, probabilities(found).tolist() if odds and probabilities is not None else None)

    return run


def numbers(estimator: Estimator, classes: int, arrays: Arrays, library: Path | None = None) -> Raw:
    """A function from prepared rows to what can be averaged: predictions (rows, 1) or probabilities (rows, classes).

    Raises `PlanError` when estimator and arrays do not fit, or give no probabilities of so many classes.
    """
    raw, finish = _raw(estimator, classes, arrays, library), estimator.finish
    if finish in REGRESSION:
        return lambda cells: _number(raw(cells), finish)
    probabilities = PROBABILITIES.get(finish)
    if probabilities is None:
        raise PlanError(f"the plan's finish {finish!r} gives no probabilities")
    if probabilities is not _two:
        return lambda cells: probabilities(raw(cells))

    def run(cells: Matrix) -> Matrix:
        found = raw(cells)
        return np.array([_odds(found.item())]) if len(found) == 1 else _two(found)

    return run


def _raw(estimator: Estimator, classes: int, arrays: Arrays, library: Path | None) -> Raw:
    if isinstance(estimator, Trees):
        raw, outputs = sums(estimator, arrays, library), len(estimator.baseline)
    else:
        raw, outputs = _linear(estimator, arrays)
    _check_finish(estimator.finish, outputs, classes)
    return raw


def _check_finish(finish: str, outputs: int, classes: int) -> None:
    if finish in REGRESSION:
        wanted, sound = 0, outputs == 1 and classes == 0
    elif finish in BINARY:
        wanted, sound = 2, outputs == 1 and classes == 2
    elif finish in SEVERAL:
        wanted, sound = outputs, outputs == classes
    else:
        raise PlanError(f"the plan's finish {finish!r} is not known here")
    if not sound:
        raise PlanError(f"the plan's finish {finish!r} with {outputs} outputs wants {wanted} classes, not {classes}")


def _linear(plan: Linear, arrays: Arrays) -> tuple[Callable[[Matrix], Matrix], int]:
    for name, dimensions in (("coefficients", 2), ("intercept", 1)):
        array = arrays.get(name)
        if array is None or array.dtype != np.float64 or array.ndim != dimensions or not np.isfinite(array).all():
            raise PlanError(f"the plan's array {name} is missing or of another type")
    coefficients, intercept = arrays["coefficients"], arrays["intercept"]
    if coefficients.shape != (len(intercept), plan.width):
        raise PlanError(f"the plan's coefficients are {coefficients.shape}, not {(len(intercept), plan.width)}")
    transposed = np.ascontiguousarray(coefficients.T)

    def run(cells: Matrix) -> Matrix:
        # of one row the product with itself is quicker, and finite only where all cells are
        if not (len(cells) == 1 and math.isfinite(np.vdot(cells, cells))) and not np.isfinite(cells).all():
            raise RequestError("the model refuses these values: one is missing or not finite", 422)
        found: Matrix = cells @ transposed + intercept
        return found

    return run, len(intercept)


def _number(found: Matrix, finish: str) -> Matrix:
    if finish != "exp":
        return found
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(found))


def _labels(finish: str) -> Callable[[Matrix], NDArray[Any]]:
    if finish == "logistic_tie":
        return lambda found: (found[:, 0] >= 0).astype(np.intp)
    if finish in BINARY:
        return lambda found: (found[:, 0] > 0).astype(np.intp)
    return lambda found: found.argmax(axis=1)


def _logistic(found: Matrix) -> Matrix:
    small = np.exp(-np.abs(found))  # never overflows
    return np.where(found >= 0, 1.0, small) / (1.0 + small)


def _one(found: float, classes: list[Any], *, odds: bool, tie: bool) -> Answer:
    """`_labels` and `_two` of one row: the same operations, without an array for each."""
    prediction = [classes[found >= 0 if tie else found > 0]]
    return Answer(prediction, [_odds(found)]) if odds else Answer(prediction)


def _odds(found: float) -> list[float]:
    small = float(np.exp(-abs(found)))
    second = (1.0 if found >= 0 else small) / (1.0 + small)
    return [1.0 - second, second]


def _two(found: Matrix) -> Matrix:
    second = _logistic(found[:, :1])
    return np.hstack([1.0 - second, second])


def _softmax(found: Matrix) -> Matrix:
    odds = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _one_vs_rest(found: Matrix) -> Matrix:
    odds = _logistic(found)
    total = odds.sum(axis=1, keepdims=True)
    odds = np.where(total == 0, 1.0, odds)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


PROBABILITIES: Mapping[str, Callable[[Matrix], Matrix]] = {
    "logistic": _two,
    "logistic_tie": _two,
    "softmax": _softmax,
    "one_vs_rest": _one_vs_rest,
    "shares": lambda found: found,
}
