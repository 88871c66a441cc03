"""Saves the pipeline as an MLflow model: MODEL.skops FOLDER."""

import sys

import mlflow.sklearn
import skops.io

path, folder = sys.argv[1:]
types = skops.io.get_untrusted_types(file=path)
mlflow.sklearn.save_model(
    skops.io.load(path, trusted=types),
    folder,
    serialization_format="skops",
    pip_requirements=["scikit-learn"],
    skops_trusted_types=types,
)
