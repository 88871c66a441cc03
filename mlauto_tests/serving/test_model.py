"""Rows in, answers out, with the dtypes of training."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving.bundle import read, write_manifest
from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.model import SklearnModel, frame_of
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import COLUMNS, ROW, frame

SIGNATURE = Signature(columns=COLUMNS, task="regression")


@pytest.fixture(autouse=True)
def unchanged_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model puts its code on the path, which is right in a server and not here."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)


def dumped(root: Path, model: Any) -> SklearnModel:
    import skops.io

    skops.io.dump(model, root / "model.skops")
    write_manifest(root, name="bikes", version="1", commit="c", key="k")
    return SklearnModel(read(root))


def passing_hours(**damage: object) -> Any:
    """A fitted pipeline that takes the hour as it is; some fitted attributes are then replaced."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    columns = ColumnTransformer([("keep", "passthrough", ["hour"])])
    model = make_pipeline(columns, Ridge()).fit(frame(), range(120))
    for name, value in damage.items():
        setattr(model[-1], name, value)
    return model


def test_predictions_are_those_of_the_pipeline(bundles: dict[str, Path]) -> None:
    """The same numbers as the pipeline gives for the training frame, missing values included."""
    from mlauto.serving import trust

    features = frame(60)
    rows = [
        {name: None if value != value else value for name, value in row.items()}
        for row in features.to_dict(orient="records")
    ]
    expected = trust.load_model(bundles["bikes-1"] / "model.skops", []).predict(features)
    found = SklearnModel(read(bundles["bikes-1"])).answer(rows)

    assert found.predictions == pytest.approx(expected.tolist())
    assert found.probabilities is None
    assert all(type(value) is float for value in found.predictions)


def test_one_row_at_a_time_gives_the_same(bundles: dict[str, Path]) -> None:
    """A row's answer does not depend on its neighbours, although gaps change a whole column's dtype."""
    model = SklearnModel(read(bundles["bikes-1"]))
    rows = [ROW, {**ROW, "hour": None, "holiday": None}, {**ROW, "sky": "never seen"}]

    assert model.answer(rows).predictions == pytest.approx([model.answer([row]).predictions[0] for row in rows])


def test_labels_are_the_signatures_own_values(bundles: dict[str, Path]) -> None:
    """Plain JSON values with probabilities in the order of the classes."""
    found = SklearnModel(read(bundles["skies-1"])).answer([ROW, {**ROW, "hour": 23}])

    assert found.predictions == ["no", "yes"]
    assert all(type(value) is str for value in found.predictions)
    assert found.probabilities is not None
    assert [row[1] > row[0] for row in found.probabilities] == [False, True]


def test_frames_have_the_dtypes_of_training() -> None:
    """Whole numbers and truth values without gaps keep their kind, with gaps they are floats; text is `str`."""
    whole = frame_of([ROW, ROW], SIGNATURE)
    gaps = frame_of([ROW, dict.fromkeys(COLUMNS)], SIGNATURE)

    assert [str(dtype) for dtype in whole.dtypes] == ["float64", "int64", "bool", "str"]
    assert [str(dtype) for dtype in gaps.dtypes] == ["float64", "float64", "float64", "str"]
    assert gaps.iloc[1].isna().all()
    assert [str(dtype) for dtype in frame().dtypes] == ["float64", "int64", "bool", "str"]


def test_values_that_the_model_refuses_are_the_requests_fault(copied: Callable[[str], Path]) -> None:
    """A pipeline without imputer refuses a missing value: 422 with scikit-learn's own reason."""
    model = dumped(copied("bikes-1"), passing_hours())

    assert len(model.answer([ROW]).predictions) == 1
    with pytest.raises(RequestError, match="the model refuses these values: Input X contains NaN") as caught:
        model.answer([{**ROW, "hour": None}])
    assert caught.value.status == 422


def test_a_model_that_raises_is_the_models_fault(copied: Callable[[str], Path]) -> None:
    """Anything but a refused value is a `ModelError` with the exception's name, without a traceback."""
    model = dumped(copied("bikes-1"), passing_hours(coef_=None))

    with pytest.raises(ModelError, match="the model failed: AttributeError: ") as caught:
        model.answer([ROW])
    assert "Traceback" not in str(caught.value)


def test_an_answer_that_is_no_number_is_the_models_fault(copied: Callable[[str], Path]) -> None:
    """Infinity is not a prediction."""
    import numpy as np

    model = dumped(copied("bikes-1"), passing_hours(intercept_=np.float64("inf")))

    with pytest.raises(ModelError, match="answered inf for row 0"):
        model.answer([ROW])
