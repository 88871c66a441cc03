"""What of a metric's losses is tested: each row's, or for the AUC those of pairs of unlike rows. Pure.

An AUC is no mean over rows, but one over pairs of a positive and a negative one. Each row is in one pair at most, so
that pairs are as independent as rows are; with any of the 200 newest rows of the other class that still wait for one.
With the newest of them it would be another metric: rows of one hour have much in common, so that a model orders them
worse than those of a day, or better (on the electricity prices of `elec2` 0.97 where the AUC of 500 rows is 0.94). A
pair's loss is 1 where the negative row has the higher score, and 1/2 where both have the same. Which rows make a pair
depends on their labels and number alone, so that two versions have the same pairs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.scores import ranked
from mlauto.monitoring.watch.record import Unpaired

__all__ = ["losses_to_test"]

Floats = NDArray[np.float64]
MOST_WAITING = 200
STRIDE = 0.6180339887498949  # the golden ratio's: near and far rows are taken evenly, and in step with no cycle


def losses_to_test(
    metric: str, unpaired: Unpaired, outcomes: Sequence[Outcome], classes: Sequence[object]
) -> tuple[Unpaired, Floats]:
    """Losses of more rows, in the order of time and all usable, and who waits then. Raises `MeasurementError`."""
    if not outcomes:
        return unpaired, np.empty(0)
    if metric != "auc":
        return unpaired, outcome_losses(metric, outcomes, classes)
    odds = [one.odds for one in outcomes if one.odds is not None]
    positive, scores = ranked([one.truth for one in outcomes], odds, classes)
    kind, waiting, count, losses = unpaired.positive, list(unpaired.scores), unpaired.pairs, list[float]()
    for is_positive, score in zip(positive.tolist(), scores.tolist(), strict=True):
        if not waiting or kind == bool(is_positive):
            kind = bool(is_positive)
            waiting = [*waiting[1 - MOST_WAITING :], score]
        else:
            other, count = waiting.pop(int(count * STRIDE % 1 * len(waiting))), count + 1
            higher, lower = (score, other) if is_positive else (other, score)
            losses.append(0.5 if higher == lower else float(higher < lower))
    return Unpaired(positive=kind, scores=tuple(waiting), pairs=count), np.asarray(losses, dtype=float)
