import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.training.estimator import (
    answers_of,
    build,
    classes_of,
    described,
    fitted,
    import_root,
    seed,
    team_code,
    weight_parameter,
)

FRAME = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 3})
TARGET = np.arange(20.0)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `build` changes in its process, a child of its own, is put back here."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)


def module(tmp_path: Path, name: str, source: str) -> Path:
    (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def test_import_root_is_src_where_there_is_one(tmp_path: Path) -> None:
    """The same rule as in checks and bundles."""
    assert import_root(tmp_path) == tmp_path
    (tmp_path / "src").mkdir()
    assert import_root(tmp_path) == tmp_path / "src"


def test_the_teams_errors_become_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """Type and first line are in the message, the traceback is printed, and our own errors pass as they are."""
    with (
        pytest.raises(TrainingError, match=r"^dividing failed: ZeroDivisionError: division by zero$"),
        team_code("dividing"),
    ):
        _ = 1 / 0
    assert "Traceback" in capsys.readouterr().out
    with pytest.raises(TrainingError, match=r"^ours$"), team_code("x"):
        raise TrainingError("ours")
    with pytest.raises(TrainingError, match="x failed: ValueError: no message"), team_code("x"):
        raise ValueError


def test_build_calls_the_factory(tmp_path: Path) -> None:
    """The team's function is imported from the root, which comes first on the path."""
    root = module(tmp_path, "gulls", "from sklearn.linear_model import Ridge\ndef make():\n    return Ridge(alpha=2)\n")

    estimator = build("gulls:make", root)

    assert estimator.alpha == 2
    assert sys.path[0] == str(root)


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("terns", "import no_such_library\n", "importing terns failed: ModuleNotFoundError"),
        ("skuas", "make = 3\n", "skuas has no function 'make': correct code.estimator"),
        ("auks", "def make():\n    raise KeyError('colony')\n", r"calling auks:make\(\) failed: KeyError: 'colony'"),
        ("knots", "def make():\n    return 'model'\n", "returned str: it must return a scikit-learn estimator"),
        ("stilts", "from sklearn.svm import SVC\ndef make():\n    return SVC\n", "returned ABCMeta"),
        ("ruffs", "def make(:\n", "importing ruffs failed: SyntaxError"),
    ],
)
def test_build_names_what_to_correct(tmp_path: Path, name: str, source: str, message: str) -> None:
    """A missing library, name or function, a failing factory and a wrong result each have their sentence."""
    with pytest.raises(TrainingError, match=message):
        build(f"{name}:make", module(tmp_path, name, source))


def test_seed_fills_only_what_was_left_open() -> None:
    """Nested random states are set, one that the team chose is kept, and the names are returned."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.pipeline import make_pipeline

    chosen = make_pipeline(TruncatedSVD(random_state=7), RandomForestRegressor())

    names = seed(chosen, 5)

    assert names == ("randomforestregressor__random_state",)
    assert chosen[-1].random_state == 5
    assert chosen[0].random_state == 7


def test_seed_is_fine_with_estimators_that_take_none() -> None:
    """Nothing random, nothing set."""
    from sklearn.linear_model import LinearRegression

    assert seed(LinearRegression(), 5) == ()


def test_weights_find_their_way() -> None:
    """Through pipelines, searches and target transformers to the estimator that takes them."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), Ridge())

    assert weight_parameter(Ridge()) == "sample_weight"
    assert weight_parameter(pipeline) == "ridge__sample_weight"
    assert weight_parameter(make_pipeline(StandardScaler(), pipeline)) == "pipeline__ridge__sample_weight"
    assert weight_parameter(TransformedTargetRegressor()) == "sample_weight"
    assert weight_parameter(TransformedTargetRegressor(pipeline)) == "ridge__sample_weight"
    assert weight_parameter(GridSearchCV(pipeline, {})) == "ridge__sample_weight"
    assert weight_parameter(KNeighborsRegressor()) is None
    assert weight_parameter(make_pipeline(StandardScaler(), KNeighborsRegressor())) is None
    assert weight_parameter(make_pipeline(StandardScaler(), "passthrough")) is None


@pytest.mark.parametrize("nested", ["pipeline", "target", "search"])
def test_weights_count_wherever_they_arrive(nested: str) -> None:
    """All weight on rows whose target is 0 pulls the prediction to 0, in each kind of wrapping."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.dummy import DummyRegressor
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), DummyRegressor())
    wrapped: dict[str, Any] = {
        "pipeline": pipeline,
        "target": TransformedTargetRegressor(pipeline),
        "search": GridSearchCV(pipeline, {"dummyregressor__strategy": ["mean"]}, cv=2),
    }
    target = np.where(np.arange(20) % 2, 0.0, 10.0)
    weights = np.where(np.arange(20) % 2, 1.0, 1e-9)

    model, how = fitted(wrapped[nested], FRAME, target, weights)

    assert model.predict(FRAME)[0] == pytest.approx(0.0, abs=1e-6)
    assert how == "passed as dummyregressor__sample_weight"


@pytest.mark.parametrize(
    ("weights", "said", "given"),
    [
        ([1.0] * 20, "not needed: all are 1", "none"),
        ([0.5] * 20, "passed as sample_weight", "0.5 to 0.5"),
        ([0.5, 1.0] * 10, "passed as sample_weight", "0.5 to 1.0"),
    ],
)
def test_weights_that_change_nothing_are_not_passed(weights: list[float], said: str, given: str) -> None:
    """All of them 1; an estimator may spend most of its time on weights."""
    from sklearn.base import BaseEstimator

    class Told(BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
        def fit(self, frame: pd.DataFrame, target: Any, sample_weight: Any = None) -> "Told":
            self.told_ = "none" if sample_weight is None else f"{min(sample_weight)} to {max(sample_weight)}"
            self.rows_ = len(frame)
            return self

    model, how = fitted(Told(), FRAME, TARGET, weights)

    assert (how, model.told_, model.rows_) == (said, given, 20)


def test_what_takes_no_weights_gets_a_resample() -> None:
    """Neighbours see old rows as often as their weight says, near the answer of an estimator that takes weights."""
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import KNeighborsRegressor

    frame = pd.DataFrame({"a": np.zeros(2000)})
    target = np.repeat([10.0, 0.0], 1000)
    weights = np.repeat([0.25, 1.0], 1000)

    model, how = fitted(KNeighborsRegressor(n_neighbors=1250), frame, target, weights)
    weighted, _ = fitted(LinearRegression(), frame, target, weights)

    assert how == "resampled: 1,250 of 2,000 rows, KNeighborsRegressor takes no weights"
    assert model.predict(frame)[0] == pytest.approx(weighted.predict(frame)[0]) == pytest.approx(2.0)
    again, _ = fitted(KNeighborsRegressor(n_neighbors=1250), frame, target, weights)
    assert np.array_equal(again.predict(frame), model.predict(frame))


def test_a_resample_keeps_every_class() -> None:
    """Also for a classifier that scikit-learn knows nothing of."""
    from sklearn.neighbors import KNeighborsClassifier

    class Own:
        def get_params(self, deep: bool = True) -> dict[str, Any]:
            return {}

        def fit(self, frame: pd.DataFrame, target: Any) -> "Own":
            self.classes_ = np.unique(target)
            return self

        def predict_proba(self, frame: pd.DataFrame) -> Any:
            return np.zeros((len(frame), len(self.classes_)))

    frame = pd.DataFrame({"a": np.arange(1000.0)})
    labels = np.array(["old"] * 2 + ["new"] * 998, dtype=object)
    weights = np.repeat([0.01, 1.0], [2, 998])

    for estimator in (KNeighborsClassifier(), Own()):
        model, how = fitted(estimator, frame, labels, weights)
        assert how.startswith("resampled: 999 of 1,000 rows")
        assert set(classes_of(model)) == {"old", "new"}


def test_fitting_leaves_the_estimator_unfitted() -> None:
    """Each fit is of a clone, so the second one starts where the first did."""
    from sklearn.linear_model import Ridge

    estimator = Ridge()

    fitted(estimator, FRAME, TARGET, np.ones(20))

    assert not hasattr(estimator, "coef_")


def test_answers_are_json_values() -> None:
    """Regressors give floats, classifiers their own labels with probabilities in the order of their classes."""
    from sklearn.linear_model import LogisticRegression, Ridge

    labels = np.array(["low", "high"], dtype=object)[(TARGET > 9).astype(int)]
    number = answers_of(Ridge().fit(FRAME, TARGET.astype(int)), FRAME, "regression")
    label = answers_of(LogisticRegression().fit(FRAME, labels), FRAME, "classification")

    assert all(type(value) is float for value in number.predictions)
    assert (number.probabilities, number.classes) == (None, ())
    assert set(map(type, label.predictions)) == {str}
    assert label.classes == ("high", "low")
    assert label.probabilities is not None
    assert sum(label.probabilities[0]) == pytest.approx(1.0)


def test_a_column_of_answers_is_accepted_and_a_table_is_not() -> None:
    """Shape (n, 1) is one value per row; two values per row are an error that says so."""

    class Model:
        def __init__(self, width: int) -> None:
            self.width = width

        def predict(self, frame: pd.DataFrame) -> Any:
            return np.zeros((len(frame), self.width))

    assert answers_of(Model(1), FRAME, "regression").predictions == [0.0] * 20
    with pytest.raises(TrainingError, match=r"shape \(20, 2\) for 20 rows: one value per row"):
        answers_of(Model(2), FRAME, "regression")


def test_classes_and_descriptions() -> None:
    """Classes are JSON values, none for what has none; a pipeline is named with its final step."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    assert classes_of(LogisticRegression().fit(FRAME, TARGET > 9)) == (False, True)
    assert classes_of(Ridge()) == ()
    assert described(Ridge()) == "Ridge"
    assert described(make_pipeline(Ridge())) == "Pipeline with Ridge"
