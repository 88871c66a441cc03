"""The team's estimator: imported from the commit's tree, seeded, weighted. Everything it raises becomes a sentence."""

import importlib
import inspect
import sys
import traceback
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlauto.errors import TrainingError
from mlauto.serving.boundary import contained
from mlauto.training.evaluate import Answers
from mlauto.training.resample import resampled

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "answers_of",
    "build",
    "classes_of",
    "described",
    "fitted",
    "import_root",
    "seed",
    "team_code",
    "weight_parameter",
]


def import_root(tree: Path) -> Path:
    """Where the team's packages are: `src` of the tree if there is one, else the tree itself."""
    return tree / "src" if (tree / "src").is_dir() else tree


@contextmanager
def team_code(doing: str) -> Iterator[None]:
    """Around other people's code: whatever it raises is printed and becomes a `TrainingError`."""

    def failure(error: Exception) -> Exception:
        if isinstance(error, TrainingError):
            return error
        traceback.print_exception(error, file=sys.stdout)
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        return TrainingError(f"{doing} failed: {type(error).__name__}: {reason[:500]}")

    with contained(failure):
        yield


def build(name: str, root: Path) -> Any:
    """Import `package.module:function` below `root`, call it, and return the unfitted estimator.

    Raises `TrainingError` naming `code.estimator` when that is not possible.
    """
    module_name, _, function_name = name.partition(":")
    # the team's tree goes first: its packages win over installed ones of the same name
    sys.path.insert(0, str(root))
    sys.dont_write_bytecode = True  # the tree is an export that later stages copy
    importlib.invalidate_caches()
    with team_code(f"importing {module_name}"):
        module = importlib.import_module(module_name)
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise TrainingError(f"{module_name} has no function {function_name!r}: correct code.estimator")
    with team_code(f"calling {name}()"):
        estimator = factory()
    if isinstance(estimator, type) or not all(
        hasattr(estimator, method) for method in ("fit", "predict", "get_params")
    ):
        raise TrainingError(f"{name}() returned {type(estimator).__name__}: it must return a scikit-learn estimator")
    return estimator


def described(estimator: Any) -> str:
    """The class's name, and for a pipeline that of its final step."""
    steps = getattr(estimator, "steps", None)
    name = type(estimator).__name__
    return f"{name} with {type(steps[-1][1]).__name__}" if steps else name


def seed(estimator: Any, value: int) -> tuple[str, ...]:
    """Set every `random_state` that the team left at None; the names of those set, nested ones as `step__name`."""
    with team_code("reading the estimator's parameters"):
        parameters = estimator.get_params(deep=True)
        names = tuple(
            sorted(n for n, given in parameters.items() if n.split("__")[-1] == "random_state" and given is None)
        )
        estimator.set_params(**dict.fromkeys(names, value))
    return names


def weight_parameter(estimator: Any) -> str | None:
    """The keyword that takes sample weights to where they count, or None when the estimator does not take any.

    A pipeline takes them for its final step; a search or a target transformer for what it wraps.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, Pipeline):
        step, final = estimator.steps[-1]
        inner = weight_parameter(final)
        return f"{step}__{inner}" if inner else None
    if isinstance(estimator, TransformedTargetRegressor):
        return "sample_weight" if estimator.regressor is None else weight_parameter(estimator.regressor)
    if isinstance(estimator, GridSearchCV | RandomizedSearchCV):
        return weight_parameter(estimator.estimator)
    if not inspect.ismethod(getattr(estimator, "fit", None)):
        return None
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def fitted(estimator: Any, features: "pd.DataFrame", labels: Any, weights: Any) -> tuple[Any, str]:
    """A fitted clone of the estimator, and a sentence on how the sample weights were used.

    One that takes no weights is fitted on rows that are drawn by weight (see `resample`), so that old rows count less
    for it, too; the draw is the same for the same weights. Weights that are all 1 are not passed: they change nothing,
    and scikit-learn's boosted trees take three times as long to bin weighted rows.
    """
    from sklearn.base import clone

    keyword, weights = weight_parameter(estimator), np.asarray(weights, dtype=np.float64)
    if keyword and (weights == 1.0).all():
        keyword, said = None, "not needed: all are 1"
    elif keyword:
        said = f"passed as {keyword}"
    else:
        said = f"not used: all are equal, and {described(estimator)} takes none"
    if keyword is None and weights.min() < weights.max():
        kept = resampled(weights, labels if _is_classifier(estimator) else None, seed=zlib.crc32(weights.tobytes()))
        said = f"resampled: {len(kept):,} of {len(labels):,} rows, {described(estimator)} takes no weights"
        features, labels = features.iloc[kept].reset_index(drop=True), labels[kept]
    with team_code(f"fitting {described(estimator)} on {len(features):,} rows"):
        model = clone(estimator).fit(features, labels, **({keyword: weights} if keyword else {}))
    return model, said


def _is_classifier(estimator: Any) -> bool:
    """Also for an estimator that is no scikit-learn class, and has no tags to say so."""
    from sklearn.base import is_classifier

    if hasattr(estimator, "__sklearn_tags__"):
        return bool(is_classifier(estimator))
    return hasattr(estimator, "predict_proba")


def answers_of(model: Any, features: "pd.DataFrame", task: str) -> Answers:
    """What the model says about the rows, as JSON values; probabilities where a classifier offers them."""
    with team_code(f"predicting {len(features):,} rows"):
        predictions = np.asarray(model.predict(features))
        offered = task == "classification" and hasattr(model, "predict_proba")
        probabilities = np.asarray(model.predict_proba(features), dtype=np.float64) if offered else None
        if task == "regression":
            predictions = predictions.astype(np.float64)
    if predictions.size != len(features):
        raise TrainingError(
            f"predict returned the shape {predictions.shape} for {len(features)} rows: one value per row"
        )
    return Answers(
        predictions=predictions.ravel().tolist(),
        probabilities=None if probabilities is None else probabilities.tolist(),
        classes=classes_of(model) if task == "classification" else (),
    )


def classes_of(model: Any) -> tuple[Any, ...]:
    """The labels of a fitted classifier as JSON values, in `predict_proba` order; none where it does not say."""
    return tuple(np.asarray(getattr(model, "classes_", ())).tolist())
