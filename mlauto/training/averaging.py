"""One model that averages several fits of an estimator, each on its own part of history: scikit-learn's own voting.

An estimator without probabilities cannot be averaged for classes: it is fitted once, on the mixture of the weights.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["able", "averaged", "averages", "filled", "mean_answer"]

Floats = NDArray[np.float64]


def averages(estimator: Any, task: str) -> bool:
    """Whether fits of this estimator can be averaged: numbers can, and classes where it offers probabilities."""
    return task == "regression" or hasattr(estimator, "predict_proba")


def able(labels: NDArray[Any], weights: Floats, task: str) -> list[int]:
    """The members (rows of `weights`) whose part of the history has every class that occurs in all of it.

    A model that never saw a class cannot be averaged with one that did. For numbers all members are able.
    """
    if task == "regression":
        return list(range(len(weights)))
    every = len(np.unique(labels[(weights > 0).any(axis=0)]))
    return [place for place, row in enumerate(weights) if len(np.unique(labels[row > 0])) == every]


def averaged(models: Sequence[Any], shares: Sequence[float], task: str) -> Any:
    """The fitted models (estimators of one kind, of the same classes) as one that answers with their weighted mean."""
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    named = [(f"history_{place}", model) for place, model in enumerate(models)]
    if task == "regression":
        voting = VotingRegressor(named, weights=list(shares))
    else:
        voting = VotingClassifier(named, weights=list(shares), voting="soft")
        voting.le_ = LabelEncoder().fit(models[0].classes_)
        voting.classes_ = voting.le_.classes_
    voting.estimators_ = list(models)
    voting.named_estimators_ = Bunch(**dict(named))
    if hasattr(models[0], "feature_names_in_"):
        voting.feature_names_in_ = models[0].feature_names_in_
    return voting


def mean_answer(answers: Sequence[Floats], shares: Sequence[float]) -> Floats:
    """The weighted mean that `averaged` makes of its members' numbers or probabilities, to the last bit."""
    if len(answers) == 1:
        return answers[0]
    if answers[0].ndim == 1:
        mean: Floats = np.average(np.asarray(answers).T, axis=1, weights=shares)
    else:
        mean = np.average(np.asarray(answers), axis=0, weights=shares)
    return mean


def filled(losses: Sequence[float | None]) -> tuple[float, ...]:
    """Mean losses of all members in one batch; one that was left out of the average counts as the worst of the others.

    So it begins with a small share when it can take part again.
    """
    known = [loss for loss in losses if loss is not None]
    return tuple(max(known) if loss is None else loss for loss in losses)
