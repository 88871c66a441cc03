"""Transformers one by one, and what each refuses."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, PolynomialFeatures, StandardScaler

from mlauto.training.compile.builder import Builder, Cell, Feature, Raw, UnsupportedError
from mlauto.training.compile.columns import transformed

FRAME = pd.DataFrame({"x": [1.0, 2.0, np.nan, 4.0], "y": [0.0, 0.0, 0.0, 0.0], "z": [5.0, 6.0, 7.0, 9.0]})
KINDS = {"x": "number", "y": "number", "z": "number"}


def compiled(transformer: Any, labels: Any = None) -> tuple[Builder, list[Feature]]:
    """The features that leave a transformer fitted on the frame."""
    transformer.fit(FRAME, labels)
    builder = Builder(KINDS)
    return builder, transformed(builder, transformer, builder.start())


def test_passing_on_changes_nothing() -> None:
    """Neither the word nor its absence."""
    builder = Builder(KINDS)

    assert transformed(builder, "passthrough", [Raw(1)]) == [Raw(1)]
    assert transformed(builder, None, [Raw(1)]) == [Raw(1)]
    assert builder.steps == []


def test_an_imputer_only_notes_its_filling() -> None:
    """So that an encoder behind it still sees the column."""
    builder, features = compiled(SimpleImputer())

    assert features == [Raw(0, pytest.approx(7 / 3)), Raw(1, 0.0), Raw(2, 6.75)]
    assert builder.steps == []


def test_a_selection_keeps_some() -> None:
    """By variance, or by a score."""
    assert compiled(VarianceThreshold())[1] == [Raw(0), Raw(2)]
    selection = make_pipeline(SimpleImputer(), SelectKBest(f_regression, k=1))
    with np.errstate(all="ignore"):
        _, features = compiled(selection, np.array([5.0, 6.0, 7.0, 9.0]))
    assert [feature.column for feature in features if isinstance(feature, Raw)] == [2]


def test_an_imputer_behind_a_scaler_fills_cells() -> None:
    """The scaler leaves gaps as they are."""
    _, features = compiled(make_pipeline(StandardScaler(), SimpleImputer()))

    assert all(isinstance(feature, Cell) for feature in features)


REFUSED = [
    (make_pipeline(SimpleImputer(), PolynomialFeatures()), "PolynomialFeatures is not among those"),
    (make_pipeline(SimpleImputer(), SimpleImputer(missing_values=0.0)), "looks for 0.0"),
    (make_pipeline(SimpleImputer(), StandardScaler(), OneHotEncoder()), "OneHotEncoder behind another"),
    (make_pipeline(SimpleImputer(), StandardScaler(), OrdinalEncoder()), "refuses unknown values behind"),
    (OrdinalEncoder(max_categories=2), "infrequent"),
    (FeatureUnion([("a", StandardScaler())], transformer_weights={"a": 2.0}), "transformer_weights"),
]


@pytest.mark.parametrize(("transformer", "reason"), REFUSED)
def test_what_is_not_known_is_refused(transformer: Any, reason: str) -> None:
    """The reason names the class."""
    with pytest.raises(UnsupportedError, match=reason):
        compiled(transformer)


def test_a_column_without_values_is_refused() -> None:
    """The imputer drops it, or keeps a number that nobody chose."""
    empty = pd.DataFrame({"x": [np.nan, np.nan], "y": [1.0, 2.0], "z": [1.0, 2.0]})
    imputer = SimpleImputer()
    with pytest.warns(UserWarning, match="without any observed values"):
        imputer.fit_transform(empty)
    builder = Builder(KINDS)

    with pytest.raises(UnsupportedError, match="without any value"):
        transformed(builder, imputer, builder.start())
