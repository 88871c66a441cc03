"""Whole pipelines against their plans: real parity, or an honest refusal."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingRegressor,
)
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor

from mlauto.training.compile.builder import UnsupportedError
from mlauto.training.compile.pipeline import HANDLERS, compile_pipeline
from mlauto_tests.training.compile.conftest import Compile, table, target

Same = Callable[[Any, pd.DataFrame, Any, pd.DataFrame], bool]
NUMBERS, TEXTS = ["x", "y", "count"], ["kind", "place"]


def prepared(scaler: Any = None, encoder: Any = None) -> ColumnTransformer:
    """The preparation that most teams write."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), scaler or StandardScaler())
    encoder = encoder or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("texts", encoder, TEXTS)])


REGRESSORS = [
    HistGradientBoostingRegressor(max_iter=20),
    HistGradientBoostingRegressor(max_iter=10, loss="absolute_error"),
    GradientBoostingRegressor(n_estimators=20),
    GradientBoostingRegressor(n_estimators=5, init="zero", loss="huber"),
    RandomForestRegressor(12, random_state=1),
    ExtraTreesRegressor(8, random_state=1),
    DecisionTreeRegressor(max_depth=6),
    ExtraTreeRegressor(max_depth=6),
    LinearRegression(),
    Ridge(),
    Lasso(0.01),
]
CLASSIFIERS = [
    HistGradientBoostingClassifier(max_iter=15),
    GradientBoostingClassifier(n_estimators=8),
    RandomForestClassifier(12, random_state=1),
    ExtraTreesClassifier(8, random_state=1),
    DecisionTreeClassifier(max_depth=5),
    LogisticRegression(),
    RidgeClassifier(),
    SGDClassifier(loss="log_loss", random_state=1),
    SGDClassifier(loss="hinge", random_state=1),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=lambda model: type(model).__name__)
def test_regressors_answer_alike(same: Same, model: Any) -> None:
    """Numbers are those of the pipeline on rows that it never saw."""
    frame = table(1)

    assert same(make_pipeline(prepared(), model), frame, target(frame), table(2))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_classifiers_answer_alike(same: Same, model: Any, classes: int) -> None:
    """Labels are identical, probabilities those of the pipeline, for truth values and for three texts."""
    frame = table(1)

    assert same(make_pipeline(prepared(), model), frame, target(frame, classes), table(2))


@pytest.mark.parametrize("model", [PoissonRegressor(), HistGradientBoostingRegressor(loss="poisson", max_iter=8)])
def test_positive_targets_answer_alike(same: Same, model: Any) -> None:
    """A log link is undone."""
    frame = table(1)

    assert same(make_pipeline(prepared(), model), frame, np.exp(target(frame) / 4), table(2))


PREPARATIONS = {
    "min-max": lambda: prepared(MinMaxScaler((-1, 2), clip=True)),
    "robust": lambda: prepared(RobustScaler()),
    "max-abs": lambda: prepared(MaxAbsScaler()),
    "dropped": lambda: prepared(encoder=OneHotEncoder(drop="first", handle_unknown="ignore", sparse_output=False)),
    "binary": lambda: prepared(encoder=OneHotEncoder(drop="if_binary", sparse_output=False)),
    "sparse": lambda: prepared(encoder=OneHotEncoder(handle_unknown="ignore")),
    "infrequent": lambda: prepared(
        encoder=OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist", sparse_output=False)
    ),
    "ordinal": lambda: prepared(
        encoder=OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2)
    ),
    "filled text": lambda: prepared(
        encoder=make_pipeline(
            SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        )
    ),
    "constant text": lambda: prepared(
        encoder=make_pipeline(
            SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore")
        )
    ),
    "indicator": lambda: make_column_transformer((SimpleImputer(add_indicator=True), NUMBERS)),
    "remainder": lambda: make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1), TEXTS),
        remainder=SimpleImputer(),
    ),
    "selected": lambda: make_column_transformer(
        (SimpleImputer(), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="str")),
        ("drop", ["open"]),
    ),
    "numbers as categories": lambda: make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["count", "open"]), (SimpleImputer(), ["x"])
    ),
    "union": lambda: make_pipeline(
        make_column_transformer((SimpleImputer(), NUMBERS)),
        FeatureUnion([("as they are", FunctionTransformer()), ("scaled", StandardScaler())]),
    ),
    "nested": lambda: make_pipeline(
        make_column_transformer((SimpleImputer(), NUMBERS), ("passthrough", ["open"])),
        ColumnTransformer([("two", MinMaxScaler(), [0, 3])], remainder="passthrough"),
    ),
    "frames": lambda: prepared().set_output(transform="pandas"),
}


@pytest.mark.filterwarnings("ignore:Found unknown categories")
@pytest.mark.parametrize("name", PREPARATIONS)
@pytest.mark.parametrize("model", [Ridge(), HistGradientBoostingRegressor(max_iter=8)], ids=["linear", "trees"])
def test_preparations_answer_alike(same: Same, name: str, model: Any) -> None:
    """Each way to prepare columns, also with values that the training never saw."""
    frame, asked = table(3), table(4)
    if name != "binary":
        asked.loc[::7, "kind"] = "unseen"
        asked.loc[::11, "count"] = 77

    assert same(make_pipeline(PREPARATIONS[name](), model), frame, target(frame), asked)


@pytest.mark.parametrize("how", ["of codes", "of columns"])
def test_native_categories_answer_alike(same: Same, how: str) -> None:
    """Boosted trees take categories and missing values as they are, unseen ones too."""
    frame, asked = table(5), table(6)
    asked.loc[::5, "kind"] = "unseen"
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    if how == "of codes":
        first = make_column_transformer((encode, TEXTS), remainder="passthrough")
        model = make_pipeline(first, HistGradientBoostingClassifier(categorical_features=[0, 1], max_iter=12))
        assert same(model, frame, target(frame, 3), asked)
        return
    numbers = frame.drop(columns=TEXTS)
    kinds = [numbers.columns.get_loc(name) for name in ("count", "open")]
    assert same(
        HistGradientBoostingRegressor(categorical_features=kinds, max_iter=12),
        numbers,
        target(frame),
        asked.drop(columns=TEXTS),
    )


def test_a_search_is_its_best_pipeline(same: Same) -> None:
    """What a search for parameters answers with is compiled."""
    frame = table(1, 120)
    search = GridSearchCV(make_pipeline(prepared(), Ridge()), {"ridge__alpha": [0.1, 1.0]}, cv=2)

    assert same(search, frame, target(frame), table(2, 50))


class OwnRidge(Ridge):
    """A team's own class may predict anything."""


REFUSED = [
    (make_pipeline(make_column_transformer((KNNImputer(), NUMBERS)), Ridge()), "transformer KNNImputer"),
    (make_pipeline(prepared(), FunctionTransformer(np.abs), Ridge()), "calls the function"),
    (make_pipeline(prepared(), StackingRegressor([("a", Ridge())], cv=2)), "estimator StackingRegressor"),
    (make_pipeline(prepared(), OwnRidge()), "estimator OwnRidge"),
    (TransformedTargetRegressor(make_pipeline(prepared(), Ridge())), "estimator TransformedTargetRegressor"),
    (
        make_pipeline(prepared(), GradientBoostingRegressor(init=make_pipeline(Ridge()), n_estimators=2)),
        "starts from the model Pipeline",
    ),
]


@pytest.mark.parametrize(("model", "reason"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_not_known_is_refused(compiled: Compile, model: Any, reason: str) -> None:
    """The reason names the part."""
    frame = table(1, 80)

    with pytest.raises(UnsupportedError, match=reason):
        compiled(model, frame, target(frame))


def test_text_that_nothing_encodes_is_refused() -> None:
    """It could only be a pipeline that was never fitted on these columns."""
    model = Pipeline([("last", Ridge().fit(np.zeros((3, 1)), np.zeros(3)))])

    with pytest.raises(UnsupportedError, match="column 'kind' reaches Ridge as text"):
        compile_pipeline(model, {"kind": "string"}, ())


def test_the_estimators_are_those_of_scikit_learn() -> None:
    """Every name in the table exists."""
    from sklearn.utils import all_estimators

    assert set(HANDLERS) <= {name for name, _ in all_estimators()}
