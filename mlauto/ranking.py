"""The area under the ROC curve (AUC), row by row: how surely a positive row is scored above a negative one. Pure.

1 - AUC is a mean over all pairs of one positive and one negative row, a tie counting as half an error. Pseudo-values
give it as a mean over rows: those of DeLong, DeLong and Clarke-Pearson (1988), so that their variance over the number
of rows is that of the AUC, and the differences of two models' pseudo-values on the same rows are their paired test.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["least_auc", "pseudo_values"]

Floats = NDArray[np.float64]
Z = 1.959964  # the normal distribution's 97.5 % quantile


def pseudo_values(positive: Floats, scores: Floats) -> Floats:
    """Each row's pseudo-value of 1 - AUC, whose mean it is; none at all where all rows are of one class.

    `positive` is 1 or 0 for each row, or the probability that it is positive: then it is the AUC that is expected.
    """
    negative = 1.0 - positive
    positives, negatives = float(positive.sum()), float(negative.sum())
    if min(positives, negatives) <= 0:
        return np.empty(0)
    _, place = np.unique(scores, return_inverse=True)
    at, against = np.bincount(place, positive), np.bincount(place, negative)
    if_positive = ((negatives - np.cumsum(against) + against / 2) / negatives)[place]
    if_negative = ((np.cumsum(at) - at / 2) / positives)[place]
    mean = float(positive @ if_positive) / positives
    share = positive / positives * (if_positive - mean) + negative / negatives * (if_negative - mean)
    return np.asarray(mean + len(scores) * share)


def least_auc(low: float, rarer: int) -> float:
    """A lower bound that does not take a model for perfect: no error in so many rows of the rarer class is no proof.

    It is Wilson's (1927) for no error among them, unless `low`, the bound from the pseudo-values, is below it.
    """
    return max(0.0, min(low, rarer / (rarer + Z**2)))
