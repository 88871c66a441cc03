"""Whether the feed of labels is to be trusted: labels that stop, or that cannot be right. Pure.

A broken feed looks like a bad model, or like a good one that nobody measures any more. A model must not be retrained
for it, and what was measured before must not stand for what is now.
"""

import math
from collections.abc import Sequence
from itertools import groupby, takewhile

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.scores import REGRESSION, same_label, usable

__all__ = ["odd_labels", "stopped"]

FEWEST = 50  # rows, below which nothing is said of labels
LATEST = 3.0  # times the longest delay seen: a feed by night takes at most a day more than it took yesterday
LONG_RUN = 200  # equal classes: prices stay up or down for 82 half-hours in a row (elec2)
SHORT_RUN = 20  # equal numbers
LONGER = 3  # times the longest run before
NEWEST = (50, 100, 200)  # labels that are looked at by themselves: a feed breaks from one label to the next
CHANCE = 1e-6  # below this a run of equal labels is no coincidence, looked at every minute of a year or not
UNUSABLE = 0.5  # of the newest rows
SCALE = 10.0  # labels so many times as large as predicted, or as small: another unit, no world changes by that
LAGS = 5  # rows by which labels may have slipped
HALF = 0.5  # a slip must explain that part of the loss
SIGMAS = 5.0  # and beyond chance, over ten lags and every look of a year

Floats = NDArray[np.float64]


def stopped(
    *,
    newest_label: float | None,
    delays: Sequence[float],
    waiting: int,
    newest: float | None,
    now: float,
    patience: float,
) -> str | None:
    """Why labels seem to have stopped, None where they have not, or never came, or nobody asks any more.

    They have when none arrived for longer than `patience` seconds and three times the longest delay of the last 500,
    although at least 50 answered requests wait for theirs and more are asked.
    """
    if newest_label is None or newest is None or waiting < FEWEST or not delays:
        return None
    silence, limit = now - newest_label, max(patience, LATEST * max(delays))
    if silence <= limit or newest <= newest_label:
        return None
    return (
        f"labels have stopped: none for {silence:.0f} s, although no prediction waited longer than {max(delays):.0f} s"
        f" before and {waiting} wait now"
    )


def odd_labels(metric: str, truth: Sequence[object], predicted: Sequence[object]) -> str | None:
    """Why the newest labels cannot be right, rows in the order of time; None where nothing speaks against them."""
    if len(truth) < FEWEST:
        return None
    good = [usable(metric, label, said) for label, said in zip(truth, predicted, strict=True)]
    bad = len(good) - sum(good)
    if bad > UNUSABLE * len(good):
        return f"the labels are no use: {bad} of {len(good)} are empty or of another type than the predictions"
    kept = [(label, said) for label, said, one in zip(truth, predicted, good, strict=True) if one]
    labels, said = [row[0] for row in kept], [row[1] for row in kept]
    if len(labels) < FEWEST:
        return None
    if told := _constant(metric, labels, said):
        return told
    for rows in (*(rows for rows in NEWEST if rows < len(labels)), len(labels)):
        newest = labels[-rows:], said[-rows:]
        if told := _scaled(metric, *newest) or _slipped(metric, *newest):
            return told
    return None


def _constant(metric: str, labels: Sequence[object], predicted: Sequence[object]) -> str | None:
    """The newest labels are all the same one, which is no chance by what came before, or by what was predicted."""
    last = labels[-1]
    run = sum(1 for _ in takewhile(lambda label: same_label(label, last), reversed(labels)))
    if run < (SHORT_RUN if metric in REGRESSION else LONG_RUN):
        return None
    before = labels[: len(labels) - run] if len(labels) - run >= FEWEST else predicted
    if before is not predicted and run < LONGER * max(sum(1 for _ in same) for _, same in groupby(before)):
        return None
    if metric in REGRESSION and before is predicted and not _varies(predicted):
        return None
    share = (sum(same_label(value, last) for value in before) + 1) / (len(before) + 2)
    if run * math.log(share) > math.log(CHANCE):
        return None
    return f"the newest {run} labels are all {str(last)[:40]}"


def _varies(values: Sequence[object]) -> bool:
    return any(value != values[0] for value in values)


def _scaled(metric: str, labels: Sequence[object], predicted: Sequence[object]) -> str | None:
    """Labels are larger or smaller than what was predicted by an order of magnitude."""
    if metric not in REGRESSION:
        return None
    true, said = (float(np.median(np.abs(np.asarray(values, dtype=float)))) for values in (labels, predicted))
    if true == 0 or said == 0 or 1 / SCALE < true / said < SCALE:
        return None
    return f"the labels are of another size: {true:.4g} in the middle, where {said:.4g} was predicted"


def _slipped(metric: str, labels: Sequence[object], predicted: Sequence[object]) -> str | None:
    """Labels fit other rows' predictions better than their own, and than any others': they slipped by some rows."""
    true, said = _numbers(metric, labels, predicted)
    own = _losses(metric, true, said)
    moved: dict[int, float] = {}
    proven: set[int] = set()
    for lag in [*range(-LAGS, 0), *range(1, LAGS + 1)]:
        label, prediction = (true[lag:], said[:-lag]) if lag > 0 else (true[:lag], said[-lag:])
        loss = _losses(metric, label, prediction)
        excess = (own[lag:] if lag > 0 else own[:lag]) - loss
        error = float(excess.std(ddof=1)) / math.sqrt(len(excess))
        moved[lag] = float(loss.mean())
        if excess.mean() > max(HALF * float(own.mean()), SIGMAS * error):
            proven.add(lag)
    best = min(moved, key=moved.__getitem__)
    if best not in proven or moved[best] > HALF * float(np.median(list(moved.values()))):
        return None
    return f"the labels fit the predictions of the rows {abs(best)} {'before' if best > 0 else 'after'} theirs"


def _numbers(metric: str, labels: Sequence[object], predicted: Sequence[object]) -> tuple[Floats, Floats]:
    """Both as numbers: as they are, or one number for all values that mean the same class."""
    if metric in REGRESSION:
        return np.asarray(labels, dtype=float), np.asarray(predicted, dtype=float)
    classes: list[object] = []
    known: dict[str, int] = {}

    def place(value: object) -> int:
        if repr(value) not in known:
            same = (number for number, one in enumerate(classes) if same_label(value, one))
            known[repr(value)] = next(same, len(classes))
            if known[repr(value)] == len(classes):
                classes.append(value)
        return known[repr(value)]

    return np.asarray([place(v) for v in labels], dtype=float), np.asarray([place(v) for v in predicted], dtype=float)


def _losses(metric: str, true: Floats, said: Floats) -> Floats:
    return np.abs(true - said) if metric in REGRESSION else np.asarray(true != said, dtype=float)
