"""The scikit-learn flavour: rows as JSON values in, the pipeline's answers as JSON values out."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlauto.serving import trust
from mlauto.serving.boundary import contained
from mlauto.serving.bundle import Bundle
from mlauto.serving.errors import ModelError, RequestError
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SklearnModel", "frame_of"]


class SklearnModel:
    """A loaded pipeline. `answer` is not to be called from two threads at once."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the model file of a verified bundle. Raises `trust.UntrustedTypeError` before anything is made of it."""
        if bundle.import_root is not None:
            # a bundle is immutable: a bytecode cache in it would be a file that no manifest lists
            sys.dont_write_bytecode = True
            sys.path.insert(0, str(bundle.import_root))
        self.signature = bundle.signature
        self._model = trust.load_model(bundle.model, bundle.manifest.trusted)
        self._labels = {label: label for label in bundle.signature.classes}

    def answer(self, rows: Sequence[Mapping[str, Any]]) -> Answer:
        """Predictions, and a classifier's probabilities, for rows as `rows_from` makes them.

        Raises `RequestError` (422) when the model refuses the values, as a pipeline without imputer refuses a missing
        one, and `ModelError` when it fails otherwise or answers a number that is not finite.
        """
        frame = frame_of(rows, self.signature)
        with contained(_failure):
            predictions = self._model.predict(frame)
            probabilities = None
            if self.signature.task == "classification" and hasattr(self._model, "predict_proba"):
                probabilities = self._model.predict_proba(frame).tolist()
        return Answer(self._plain(predictions), probabilities)

    def _plain(self, predictions: Any) -> list[Any]:
        values: list[Any] = predictions.ravel().tolist()
        if self.signature.task == "classification":
            return [self._labels.get(value, value) for value in values]
        numbers = [float(value) for value in values]
        for index, number in enumerate(numbers):
            if not math.isfinite(number):
                raise ModelError(f"the model answered {number} for row {index}, which is no prediction")
        return numbers


def frame_of(rows: Sequence[Mapping[str, Any]], signature: Signature) -> "pd.DataFrame":
    """The rows with the dtypes of training: int64, bool, str, and float64 also for whole numbers with gaps."""
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, kind in signature.columns.items():
        values = [row[name] for row in rows]
        if kind == "string":
            columns[name] = pd.Series(values, dtype="str")
        elif kind == "number" or None in values:
            columns[name] = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
        else:
            columns[name] = np.array(values, dtype=np.int64 if kind == "integer" else np.bool_)
    return pd.DataFrame(columns, index=range(len(rows)))


def _failure(error: Exception) -> Exception:
    """What the team's own code raised, as the client's mistake or its own."""
    if isinstance(error, ValueError):
        return RequestError(f"the model refuses these values: {_first_line(error)}", status=422)
    return ModelError(f"the model failed: {type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:500]
