"""Estimators that a backtest can use without a model repository: boosted trees, and a linear model behind a scaler."""

from collections.abc import Callable, Sequence
from typing import Any

from mlauto.errors import TrainingError

__all__ = ["BASELINES", "baseline"]

ROUNDS = 60
# Of 255, the default, scikit-learn finds the edges one by one, which for weighted rows is most of a fit's time. Elec2,
# bike and SEA are answered as well with a quarter of them: within 0.5 points either way.
BINS = 63


def baseline(name: str, task: str, numbers: Sequence[str], categories: Sequence[str]) -> Any:
    """The unfitted estimator `hgb` or `linear` for such columns; both take missing values and unseen categories.

    Raises `TrainingError` for another name.
    """
    if name not in BASELINES:
        raise TrainingError(
            f"model {name!r} is neither {' nor '.join(BASELINES)}: or name one as package.module:function"
        )
    return BASELINES[name](task == "classification", numbers, categories)


def _boosted(classifies: bool, numbers: Sequence[str], categories: Sequence[str]) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classifies else HistGradientBoostingRegressor
    # no early stopping: it would hold out a random part of the history
    model = kind(max_iter=ROUNDS, max_bins=BINS, early_stopping=False, random_state=0)
    return _behind("passthrough", model, numbers, categories) if categories else model


def _linear(classifies: bool, numbers: Sequence[str], categories: Sequence[str]) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression(max_iter=1000) if classifies else LinearRegression()
    scaled = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    return _behind(scaled, model, numbers, categories)


def _behind(prepared: Any, model: Any, numbers: Sequence[str], categories: Sequence[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(
        handle_unknown="infrequent_if_exist", min_frequency=10, max_categories=30, sparse_output=False
    )
    columns = ColumnTransformer([("numbers", prepared, list(numbers)), ("categories", encoder, list(categories))])
    return Pipeline([("columns", columns), ("model", model)])


BASELINES: dict[str, Callable[[bool, Sequence[str], Sequence[str]], Any]] = {"hgb": _boosted, "linear": _linear}
