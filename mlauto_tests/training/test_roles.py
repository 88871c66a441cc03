"""Features and labels of a product's rows."""

import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.training.roles import features_of, labels_of

FRAME = pd.DataFrame({"when": [1, 2], "x": [0.5, None], "y": [1, 2], "word": ["a", "b"]})


def test_features_are_all_other_columns_in_order() -> None:
    """Whatever is no column is no trouble: a product without a timestamp has none to leave out."""
    assert list(features_of(FRAME, "y", None).columns) == ["when", "x", "word"]
    assert list(features_of(FRAME, "y", "when", "gone").columns) == ["x", "word"]


def test_without_features_there_is_no_model() -> None:
    """What to change is named."""
    with pytest.raises(TrainingError, match=r"shorten data\.exclude"):
        features_of(FRAME, "y", "when", "x", "word")


def test_labels_are_numbers_for_a_regression_and_as_they_are_for_classes() -> None:
    """So that differences are exact, and classes compare with what a classifier says."""
    assert labels_of(FRAME, "y", "regression").dtype == "float64"
    assert labels_of(FRAME, "y", "classification").dtype == "int64"
    assert labels_of(FRAME, "word", "classification").tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("target", "task", "said"),
    [
        ("z", "regression", "no column 'z': correct data.target"),
        ("x", "regression", "target 'x' is missing in 1 of 2 rows"),
        ("word", "regression", "holds text: data.task must be classification"),
    ],
)
def test_a_target_that_is_none_is_refused(target: str, task: str, said: str) -> None:
    """In a sentence that names it."""
    with pytest.raises(TrainingError, match=said):
        labels_of(FRAME, target, task)
