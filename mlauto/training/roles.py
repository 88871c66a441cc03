"""A product's rows as what a model is fitted on: features and labels, by the roles that its YAML gives the columns."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlauto.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["features_of", "labels_of"]


def labels_of(frame: "pd.DataFrame", target: str, task: str) -> NDArray[Any]:
    """The target. Raises `TrainingError` when it is not there, has gaps, or for a regression is no number."""
    if target not in frame.columns:
        raise TrainingError(f"the data has no column {target!r}: correct data.target")
    column = frame[target]
    if column.isna().any():
        raise TrainingError(f"target {target!r} is missing in {int(column.isna().sum())} of {len(column)} rows")
    if task == "regression" and column.dtype.kind not in "iufb":
        raise TrainingError(f"target {target!r} holds text: data.task must be classification, or the file fixed")
    return column.to_numpy(dtype=np.float64) if task == "regression" else column.to_numpy()


def features_of(frame: "pd.DataFrame", *never: str | None) -> "pd.DataFrame":
    """All columns but `never`, in order. Raises `TrainingError` when none is left."""
    features = frame[[name for name in frame.columns if name not in never]]
    if features.columns.empty:
        raise TrainingError("no feature column is left: shorten data.exclude")
    return features
