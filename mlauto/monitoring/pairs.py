"""What of a metric's losses is tested: each row's, or for the AUC those of pairs of unlike rows. Pure.

An AUC is no mean over rows, but one over pairs of a positive and a negative one. Each row is in one pair at most, with
the newest row of the other class that still waits for one: so pairs are as independent as rows are, and a loss shows in
the newest ones. A pair's loss is 1 where the negative row has the higher score, and 1/2 where both have the same. Which
rows make a pair depends on their labels alone, so that two versions have the same pairs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.scores import ranked
from mlauto.monitoring.watchrecord import Unpaired

__all__ = ["losses_to_test"]

Floats = NDArray[np.float64]
MOST_WAITING = 200


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
    kind, waiting, losses = unpaired.positive, list(unpaired.scores), []
    for is_positive, score in zip(positive.tolist(), scores.tolist(), strict=True):
        if not waiting or kind == bool(is_positive):
            kind = bool(is_positive)
            waiting = [*waiting[1 - MOST_WAITING :], score]
        else:
            higher, lower = (score, waiting.pop()) if is_positive else (waiting.pop(), score)
            losses.append(0.5 if higher == lower else float(higher < lower))
    return Unpaired(positive=kind, scores=tuple(waiting)), np.asarray(losses, dtype=float)
