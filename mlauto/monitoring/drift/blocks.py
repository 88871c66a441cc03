"""How much less a window of dependent rows says than one of independent rows: design effects, from the reference.

Rows of traffic are seldom independent: an hour's weather is like that of the hour before. The mean of such a window
varies more than that of shuffled rows by a factor, the design effect (Kish 1965), estimated here from the means of
the reference's own blocks, in the order of time.
"""

import math

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.profile import Curve

__all__ = ["STEP", "curves_of", "inflation"]

STEP = 2  # each length of block is so many times the one before
FEWEST_BLOCKS = 32  # fewer say nothing about a variance
SURE = 4.0  # standard errors above 1 that an effect needs to be one; below, independent rows would lose power to noise


def curves_of(values: NDArray[np.floating]) -> list[Curve]:
    """The design effects of each column of `values` (rows x columns, rows in the order of time), by length of block.

    Effects grow with the length: a window that does not fit whole cycles varies as its worst part does. A column
    without any variance has none.
    """
    centred = values - values.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    steady = variance <= 0
    variance[steady] = 1.0
    found, length = [np.ones(values.shape[1])], 1
    while len(centred) // STEP >= FEWEST_BLOCKS:
        blocks = len(centred) // STEP
        centred = centred[: blocks * STEP].reshape(blocks, STEP, -1).mean(axis=1)
        length *= STEP
        effect = (centred**2).mean(axis=0) * length / variance
        effect[steady | (effect < 1 + SURE * math.sqrt(2 / blocks))] = 1.0
        found.append(np.maximum(found[-1], effect))
    return [[round(float(value), 3) for value in column] for column in np.transpose(found)]


def inflation(curve: Curve, rows: float, reference: int, pace: float = 1.0) -> float:
    """The design effect of a window of so many rows, given that of blocks of the `reference` rows.

    A `pace` below 1 says that the window is denser in time than the reference was: a thousand rows of one minute are
    then as dependent as the few rows of the reference that came within a minute, not as a thousand of those.

    An upper estimate: two standard errors are added. Beyond the longest block it goes on growing as it last did, as
    it does without end for a column that wanders.
    """
    if pace < 1.0:
        block = max(rows * pace, float(STEP))
        if block < rows:
            return min(rows, 1 + (inflation(curve, block, reference) - 1) * rows / block)
    last = len(curve) - 1
    place = math.log(max(1.0, rows), STEP)
    if place >= last:
        earlier = max(0, last - 2)
        slope = min(1.0, math.log(curve[last] / curve[earlier], STEP) / max(1, last - earlier))
        value, blocks = curve[last] * float(STEP ** (slope * (place - last))), reference / STEP**last
    else:
        at = int(place)
        value = curve[at] * float((curve[at + 1] / curve[at]) ** (place - at))
        blocks = reference / STEP ** (at + 1)
    if value == 1.0:
        return 1.0
    return max(1.0, min(value * (1 + 2 * math.sqrt(2 / max(2.0, blocks))), rows))
