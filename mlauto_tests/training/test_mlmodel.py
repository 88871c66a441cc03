from pathlib import Path
from typing import Any

import pytest
import yaml

from mlauto.records import Signature
from mlauto.training.mlmodel import mlflow_signature, write_model

COLUMNS = {"temp": "number", "hour": "integer", "open": "boolean", "kind": "string"}


def signature(*classes: Any) -> Signature:
    return Signature(columns=COLUMNS, task="classification" if classes else "regression", classes=classes)


def test_columns_keep_their_order_and_kind() -> None:
    """Each kind has its MLflow type."""
    inputs = mlflow_signature(signature()).inputs

    assert inputs.input_names() == list(COLUMNS)
    assert [kind.name for kind in inputs.input_types()] == ["double", "long", "boolean", "string"]


@pytest.mark.parametrize(
    ("classes", "kind"),
    [((), "double"), ((0, 1), "long"), (("a", "b"), "string"), ((False, True), "boolean"), ((0.5, 1.5), "double")],
)
def test_the_output_has_the_type_of_the_classes(classes: tuple[Any, ...], kind: str) -> None:
    """Numbers for regression, the labels' own type for classification."""
    assert mlflow_signature(signature(*classes)).outputs.input_types()[0].name == kind


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A model directory around a file that is no model: nothing here reads it."""
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "model.skops").write_bytes(b"not a model")
    write_model(
        folder,
        tmp_path / "model.skops",
        signature=signature(),
        requirements=("numpy==2.0.0", "scikit-learn==1.9.1"),
        types=("team_of_tides.model.Own",),
        identity={"run_id": "run", "model_id": "m-1", "artifact_path": "somewhere"},
    )
    return folder


def test_the_directory_says_skops_and_which_types(written: Path) -> None:
    """The sklearn flavour names file, format, version and exactly the types to trust; the model is not opened."""
    content = yaml.safe_load((written / "MLmodel").read_text())

    flavour = content["flavors"]["sklearn"]
    assert flavour["pickled_model"] == "model.skops"
    assert flavour["serialization_format"] == "skops"
    assert flavour["sklearn_version"] == "1.9.1"
    assert flavour["skops_trusted_types"] == ["team_of_tides.model.Own"]
    assert (content["run_id"], content["model_id"]) == ("run", "m-1")
    assert content["model_size_bytes"] == 11
    assert (written / "model.skops").read_bytes() == b"not a model"


def test_requirements_are_explicit(written: Path) -> None:
    """MLflow and the given pins, nothing inferred."""
    lines = (written / "requirements.txt").read_text().splitlines()

    assert lines[0].startswith("mlflow==")
    assert lines[1:] == ["numpy==2.0.0", "scikit-learn==1.9.1"]
    assert "-r requirements.txt" in (written / "python_env.yaml").read_text()
