"""A trained model as an MLflow model directory, written without loading the model or the team's code.

`mlflow.sklearn.load_model` reads it: skops format, with exactly the types that the model consists of trusted. mlauto
itself never loads a model through MLflow.
"""

import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlauto.records import Signature

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

__all__ = ["mlflow_signature", "write_model"]

TYPES = {"number": "double", "integer": "long", "boolean": "boolean", "string": "string"}


def mlflow_signature(signature: Signature) -> "ModelSignature":
    """The same columns in MLflow's terms. The output is one column: numbers, or the classes' type."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    output = "double"
    if signature.classes:
        kinds: Mapping[type, str] = {bool: "boolean", int: "long", str: "string"}
        output = kinds.get(type(signature.classes[0]), "double")
    return ModelSignature(
        inputs=Schema([ColSpec(TYPES[kind], name) for name, kind in signature.columns.items()]),
        outputs=Schema([ColSpec(output)]),
    )


def write_model(
    folder: Path,
    model_file: Path,
    *,
    signature: Signature,
    requirements: Sequence[str],
    types: Sequence[str],
    identity: Mapping[str, Any],
) -> None:
    """Fill `folder` with MLmodel, model file and requirements; `identity` holds MLflow's own ids and location."""
    import mlflow
    from mlflow.models import Model

    shutil.copyfile(model_file, folder / "model.skops")
    pins = dict(pin.partition("==")[::2] for pin in requirements)
    (folder / "requirements.txt").write_text(
        "".join(f"{pin}\n" for pin in (f"mlflow=={mlflow.__version__}", *requirements))
    )
    python = platform.python_version()
    (folder / "python_env.yaml").write_text(f"python: {python}\ndependencies:\n- -r requirements.txt\n")
    model = Model(signature=mlflow_signature(signature), **identity)
    model.add_flavor(
        "python_function",
        loader_module="mlflow.sklearn",
        model_path="model.skops",
        predict_fn="predict",
        python_version=python,
        env={"virtualenv": "python_env.yaml"},
    )
    model.add_flavor(
        "sklearn",
        pickled_model="model.skops",
        sklearn_version=pins.get("scikit-learn", ""),
        serialization_format="skops",
        skops_trusted_types=list(types),
        code=None,
    )
    model.model_size_bytes = model_file.stat().st_size
    model.save(str(folder / "MLmodel"))
