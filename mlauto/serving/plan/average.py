"""The weighted mean of several models: of their numbers, or of their probabilities.

The operations are those of `numpy.average` as scikit-learn's voting calls it, on arrays of the same shapes, so that the
sums are the same bits: a tie between two classes stays one, and the first class wins it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.estimators import numbers
from mlauto.serving.plan.format import Average, PlanError
from mlauto.serving.plan.prepare import Matrix
from mlauto.serving.wire.protocol import Answer

__all__ = ["averaged"]

Arrays = Mapping[str, NDArray[Any]]


def averaged(
    plan: Average, classes: Sequence[Any], arrays: Arrays, library: Path | None = None
) -> Callable[[Sequence[Matrix], bool], Answer]:
    """A function from the prepared rows of every part to the answer, with probabilities if that is asked for.

    The average was checked when it was read. Raises `PlanError` naming the part whose estimator and arrays do not fit.
    """
    runs = [_part(plan, number, len(classes), arrays, library) for number in range(len(plan.parts))]
    shares = np.array([part.share for part in plan.parts], dtype=np.float64)
    return _odds(runs, shares, list(classes), plan.threshold) if classes else _mean(runs, shares, plan.shift)


def _part(plan: Average, number: int, classes: int, arrays: Arrays, library: Path | None) -> Callable[[Matrix], Matrix]:
    start = f"{number}."
    own = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
    try:
        return numbers(plan.parts[number].estimator, classes, own, library)
    except PlanError as error:
        raise PlanError(f"part {number}: {error}") from error


def _mean(
    runs: Sequence[Callable[[Matrix], Matrix]], shares: NDArray[np.float64], shift: float
) -> Callable[[Sequence[Matrix], bool], Answer]:
    shares = shares[None, :]
    total = shares.sum(axis=1)

    def run(cells: Sequence[Matrix], _odds: bool) -> Answer:
        found = np.asarray([part(its).ravel() for part, its in zip(runs, cells, strict=True)]).T
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            return Answer(((found * shares).sum(axis=1) / total + shift).tolist())

    return run


def _odds(
    runs: Sequence[Callable[[Matrix], Matrix]],
    shares: NDArray[np.float64],
    classes: Sequence[Any],
    threshold: float | None,
) -> Callable[[Sequence[Matrix], bool], Answer]:
    shares = shares[:, None, None]
    total = shares.sum(axis=0)

    def run(cells: Sequence[Matrix], odds: bool) -> Answer:
        found = np.asarray([part(its) for part, its in zip(runs, cells, strict=True)])
        mean = (found * shares).sum(axis=0) / total
        places = mean.argmax(axis=1) if threshold is None else (mean[:, 1] >= threshold).astype(np.intp)
        predictions = [classes[place] for place in places.tolist()]
        return Answer(predictions, mean.tolist() if odds else None)

    return run
