"""Fitted averages of several models, `VotingRegressor` and `VotingClassifier`, as parts of one plan."""

import math
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from mlauto.serving.plan.estimators import PROBABILITIES, REGRESSION
from mlauto.serving.plan.format import MOST_PARTS, Average, Linear, Part, Trees
from mlauto.training.compile.builder import Builder, Feature, UnsupportedError

__all__ = ["Compile", "Compiled", "average", "correction", "is_known"]

Arrays = dict[str, NDArray[Any]]
# a member's final estimator, the number of the step that makes what it takes, itself as data, and its arrays
Compiled = tuple[Any, int, Trees | Linear, Arrays]
Compile = Callable[[Builder, list[Feature], Any], Compiled]
NAMES = {"VotingClassifier", "VotingRegressor"}


def is_known(model: Any) -> bool:
    """True for scikit-learn's own voting; a subclass may do anything."""
    kind = type(model)
    return kind.__name__ in NAMES and kind.__module__.startswith("sklearn.")


def correction(model: Any) -> tuple[Any, float, float | None]:
    """A known average that a target's mean or another threshold corrects, with that: what is added, the threshold.

    Any other model is returned as it is.
    """
    kind = type(model)
    if kind.__module__.startswith("sklearn.") and kind.__name__ == "FixedThresholdClassifier":
        inner, classes = model.estimator, len(model.classes_)
        plain = model.response_method == "predict_proba" and isinstance(model.threshold, float)
        plain &= not hasattr(model, "estimator_")
        if is_known(inner) and plain and classes == 2 and model.pos_label == inner.classes_[1]:
            return inner, 0.0, float(model.threshold)
    if kind.__module__.startswith("sklearn.") and kind.__name__ == "TransformedTargetRegressor":
        scaler = model.transformer_
        own = type(scaler).__name__ == "StandardScaler" and type(scaler).__module__.startswith("sklearn.")
        plain = own and scaler.scale_ is None and scaler.mean_ is not None and model._training_dim == 1
        if is_known(model.regressor_) and plain:
            return model.regressor_, float(scaler.mean_[0]), None
    return model, 0.0, None


def average(
    builder: Builder, model: Any, features: list[Feature], classes: int, member: Compile
) -> tuple[Average, Arrays]:
    """The members as parts, each compiled by `member` from the same features; `classes`: how many, 0 for numbers.

    Raises `UnsupportedError` naming the member that cannot be compiled or averaged.
    """
    kind = type(model).__name__
    fitted, shares = list(model.estimators_), _shares(model)
    if not 1 <= len(fitted) <= MOST_PARTS:
        raise UnsupportedError(f"{kind} of {len(fitted)} members is not compiled, only of 1 to {MOST_PARTS}")
    if classes != len(getattr(model, "classes_", ())):
        raise UnsupportedError(f"{kind} knows {len(getattr(model, 'classes_', ()))} classes, the signature {classes}")
    builder.merges = True
    parts: list[Part] = []
    arrays: Arrays = {}
    for number, (name, one, share) in enumerate(zip(_names(model), fitted, shares, strict=True)):
        try:
            final, source, plan, its = member(builder, features, one)
            _check_member(final, plan.finish, classes)
        except UnsupportedError as error:
            raise UnsupportedError(f"the member {name!r} of {kind}: {error}") from error
        parts.append(Part(source, share, plan))
        arrays |= {f"{number}.{key}": array for key, array in its.items()}
    return Average(tuple(parts)), arrays


def _names(model: Any) -> list[str]:
    return [str(name) for name, _estimator in model.estimators]


def _shares(model: Any) -> list[float]:
    """The weights, one for each member; equal ones where there are none."""
    kind, members = type(model).__name__, len(model.estimators_)
    if getattr(model, "voting", "soft") != "soft":
        raise UnsupportedError(f"{kind} with voting={model.voting!r} counts labels: only probabilities are averaged")
    if any(isinstance(estimator, str | None) for _name, estimator in model.estimators):
        raise UnsupportedError(f"{kind} with a member that is dropped is not compiled: leave it out")
    if len(model.estimators) != members:
        raise UnsupportedError(f"{kind} has {members} fitted members for {len(model.estimators)} names")
    if model.weights is None:
        return [1.0] * members
    shares = [float(weight) for weight in model.weights]
    if len(shares) != members:
        raise UnsupportedError(f"{kind} has {len(shares)} weights for {members} members")
    if not all(share >= 0 for share in shares) or not 0 < sum(shares) < math.inf:
        raise UnsupportedError(f"{kind} has the weights {shares}: none may be negative, nor all of them 0")
    return shares


def _check_member(estimator: Any, finish: str, classes: int) -> None:
    """Labels may be the ensemble's or the numbers that it gave them: both are in the same order."""
    kind = type(estimator).__name__
    if (finish in REGRESSION) != (classes == 0):
        raise UnsupportedError(f"{kind} is a {'regressor' if finish in REGRESSION else 'classifier'}, unlike the rest")
    if classes == 0:
        return
    if len(estimator.classes_) != classes:
        raise UnsupportedError(f"{kind} knows {len(estimator.classes_)} of the {classes} classes")
    if finish not in PROBABILITIES:
        raise UnsupportedError(f"{kind} gives no probabilities")
