"""Fitted linear models as a plan's arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.format import Linear
from mlauto.training.compile.builder import UnsupportedError

__all__ = ["classifier", "generalized", "logistic", "regressor", "stochastic"]

Compiled = tuple[Linear, dict[str, NDArray[Any]]]


def regressor(model: Any, width: int) -> Compiled:
    """The sum itself."""
    return _plan(model, width, "identity")


def generalized(model: Any, width: int) -> Compiled:
    """Generalized linear models: the link decides."""
    link = type(model._base_loss.link).__name__
    if link not in {"IdentityLink", "LogLink"}:
        raise UnsupportedError(f"{type(model).__name__} with the link {link} is not compiled")
    return _plan(model, width, "exp" if link == "LogLink" else "identity")


def classifier(model: Any, width: int) -> Compiled:
    """Labels by the largest score, without probabilities."""
    return _plan(model, width, "sign" if len(model.classes_) == 2 else "largest")


def logistic(model: Any, width: int) -> Compiled:
    """Logistic regression, binary or multinomial."""
    return _plan(model, width, "logistic" if len(model.classes_) == 2 else "softmax")


def stochastic(model: Any, width: int) -> Compiled:
    """`SGDClassifier`: probabilities with the logistic loss only; each class against the rest."""
    if model.loss == "log_loss":
        return _plan(model, width, "logistic" if len(model.classes_) == 2 else "one_vs_rest")
    if hasattr(model, "predict_proba"):
        raise UnsupportedError(f"{type(model).__name__} with the loss {model.loss} is not compiled")
    return classifier(model, width)


def _plan(model: Any, width: int, finish: str) -> Compiled:
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    intercept = np.zeros(len(coefficients)) + np.ravel(model.intercept_).astype(np.float64)
    if finish == "identity" and len(coefficients) != 1:
        raise UnsupportedError(f"{type(model).__name__} with several outputs is not compiled")
    arrays = {"coefficients": np.ascontiguousarray(coefficients), "intercept": intercept}
    return Linear(width, finish), arrays
