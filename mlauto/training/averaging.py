"""One model that averages several fits of an estimator, each on its own part of history: scikit-learn's own voting.

An estimator without probabilities cannot be averaged for classes: it is fitted once, on the mixture of the weights.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.training.correcting import Tried, corrects, threshold_of, tried
from mlauto.training.estimator import answers_of
from mlauto.training.evaluate import Answers, row_losses

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Group",
    "able",
    "answers_in",
    "average_in",
    "averaged",
    "averages",
    "filled",
    "fits_in",
    "mean_answer",
    "mean_loss",
    "member_losses",
    "tried_on",
    "weighty",
]

Floats = NDArray[np.float64]
Group = tuple[int, ...]  # members by their places, which one fit stands for
PREFIX = "history_"
FEWEST_ROWS = 10
LEAST_SHARE = 0.05


def averages(estimator: Any, task: str) -> bool:
    """Whether fits of this estimator can be averaged: numbers can, and classes where it offers probabilities."""
    return task == "regression" or hasattr(estimator, "predict_proba")


def weighty(groups: Sequence[Group], shares: Sequence[float]) -> list[Group]:
    """Those of the members that make up all but a little of the average: enough to try it on rows held out.

    What has a share below 5 % is fitted only to be served, and to show whether it deserves more.
    """
    return [group for group in groups if sum(shares[place] for place in group) >= LEAST_SHARE] or list(groups)


def able(labels: NDArray[Any], weights: Floats, task: str) -> list[Group]:
    """The members (rows of `weights`) that have ten rows, and every class that occurs; otherwise the one with the most.

    A model that never saw a class cannot be averaged with one that did. Members with the same weights, as all have
    while there is one batch, are one group: they need one fit.
    """
    rows = (weights > 0).sum(axis=1)
    enough = [place for place, count in enumerate(rows) if count >= FEWEST_ROWS]
    if task == "classification":
        every = len(np.unique(labels[(weights > 0).any(axis=0)]))
        enough = [place for place in enough if len(np.unique(labels[weights[place] > 0])) == every]
    groups: dict[bytes, Group] = {}
    for place in enough or [int(rows.argmax())]:
        key = weights[place].tobytes()
        groups[key] = (*groups.get(key, ()), place)
    return list(groups.values())


def averaged(models: Mapping[Group, Any], shares: Sequence[float], task: str, *, amount: float = 0.0) -> Any:
    """Fitted models, by their members' places, as one that answers with their mean weighted by the members' `shares`.

    They are estimators of one kind, and of the same classes. The mean is corrected by `amount`: numbers grow by it; of
    two classes the second is predicted from another probability on, and probabilities stay what they are.
    """
    from sklearn.ensemble import VotingClassifier, VotingRegressor
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import Bunch

    named = {PREFIX + "_".join(map(str, group)): model for group, model in models.items()}
    weights = [sum(shares[place] for place in group) for group in models]
    first = next(iter(models.values()))
    if task == "regression":
        voting = VotingRegressor(list(named.items()), weights=weights)
    else:
        voting = VotingClassifier(list(named.items()), weights=weights, voting="soft")
        voting.le_ = LabelEncoder().fit(first.classes_)
        voting.classes_ = voting.le_.classes_
    voting.estimators_ = list(named.values())
    voting.named_estimators_ = Bunch(**named)
    if hasattr(first, "feature_names_in_"):
        voting.feature_names_in_ = first.feature_names_in_
    return _corrected(voting, task, amount) if amount else voting


def _corrected(voting: Any, task: str, amount: float) -> Any:
    """In scikit-learn's own terms: a target that was centred, or another threshold."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import FixedThresholdClassifier
    from sklearn.preprocessing import StandardScaler

    if task == "classification":
        second, threshold = voting.classes_[1], threshold_of(amount)
        return FixedThresholdClassifier(voting, threshold=threshold, pos_label=second, response_method="predict_proba")
    model = TransformedTargetRegressor(voting, transformer=StandardScaler(with_std=False))
    model.regressor_, model._training_dim = voting, 1  # as its `fit` would leave it
    model.transformer_ = StandardScaler(with_std=False).fit([[amount]])
    if hasattr(voting, "feature_names_in_"):
        model.feature_names_in_ = voting.feature_names_in_
    return model


def average_in(model: Any) -> Any:
    """The average without its correction."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import FixedThresholdClassifier

    if isinstance(model, TransformedTargetRegressor):
        return model.regressor_
    return model.estimator if isinstance(model, FixedThresholdClassifier) else model


def answers_in(voting: Any, features: "pd.DataFrame", task: str) -> dict[Group, Answers]:
    """What each member of an average says of rows, by its places. Raises `TrainingError` where one cannot say."""
    return {group: answers_of(model, features, task) for group, model in fits_in(voting).items()}


def fits_in(voting: Any) -> dict[Group, Any]:
    """The fitted members of an average, by their places."""
    return {
        tuple(map(int, name.removeprefix(PREFIX).split("_"))): model for name, model in voting.named_estimators_.items()
    }


def member_losses(
    said: Mapping[Group, Answers], members: int, labels: Sequence[Any], *, metric: str
) -> tuple[float, ...]:
    """Each member's mean loss on rows that none of them was fitted on."""
    known: dict[int, float] = {}
    for group, answers in said.items():
        known |= dict.fromkeys(group, float(row_losses(metric, labels, answers).mean()))
    return filled([known.get(place) for place in range(members)])


def tried_on(
    said: Mapping[Group, Answers], shares: Sequence[float], labels: NDArray[Any], *, offset: float, metric: str
) -> Tried | None:
    """How an average did on rows that it was not fitted on, for its correction; None where it is not corrected.

    `shares` has one for each of those who answered. Raises `TrainingError` when an answer is not finite.
    """
    classes = next(iter(said.values())).classes
    if not corrects(metric, classes):
        return None
    mean = mean_answer(_numbers_of(said), shares)
    if not classes:
        return tried(metric, mean, labels.astype(np.float64), offset)
    return tried(metric, mean[:, 1], (labels == classes[1]).astype(np.float64), offset)


def mean_loss(said: Mapping[Group, Answers], shares: Sequence[float], labels: Sequence[Any], *, metric: str) -> float:
    """The mean loss on rows of an average, not corrected, by other `shares` of all members than it has."""
    classes = next(iter(said.values())).classes
    mean = mean_answer(_numbers_of(said), [sum(shares[place] for place in group) for group in said])
    answers = Answers(predictions=mean.tolist())
    if classes:
        predicted = [classes[place] for place in mean.argmax(axis=1)]
        answers = Answers(predictions=predicted, probabilities=mean.tolist(), classes=classes)
    return float(row_losses(metric, labels, answers).mean())


def _numbers_of(said: Mapping[Group, Answers]) -> list[Floats]:
    """What is averaged of each one's answers: probabilities of classes, else numbers."""
    each = [one.probabilities if one.classes else one.predictions for one in said.values()]
    return [np.asarray(one, dtype=np.float64) for one in each]


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
