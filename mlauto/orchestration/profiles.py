"""The reference profile of a trained model: fitted to its newest training rows, recorded, and attached to its run."""

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.fitting import answers_in, fit_profile
from mlauto.monitoring.drift.profile import Profile
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PROFILED_ROWS", "keep_profile", "values_of"]

PROFILED_ROWS = 100_000  # its own sampling error then hardly widens a bound: a window has 20,000
ATTACHED = "profile.json"


class _Answered(msgspec.Struct, frozen=True):
    """What the model said about the rows that it was not fitted on, `answered.json` in its artifact."""

    predictions: list[Any]
    probabilities: list[list[float]] | None = None


def keep_profile(platform: Platform, product: ModelProduct, trained: TrainedModel) -> Profile:
    """The model's profile, fitted when there is none yet: what live traffic's drift is measured against."""
    name = f"profiles/{trained.version}"
    known = platform.store.read_record(product.name, name, Profile)
    if known is not None and known.rows:
        return known
    profile = _fitted(platform, product, trained)
    platform.registry.attach(trained.run_id, ATTACHED, msgspec.json.encode(profile))
    platform.store.write_record(product.name, name, profile)  # last: cut off before, it is done again
    return profile


def _fitted(platform: Platform, product: ModelProduct, trained: TrainedModel) -> Profile:
    from mlauto.training.training_set import load_frame

    frame, _, _ = load_frame(platform.store, trained.training_set)
    newest = frame.tail(PROFILED_ROWS)
    answers = None
    path = platform.store.tree_path(trained.artifact) / "answered.json"
    if path.exists():  # a model from before has none
        answered = msgspec.json.decode(path.read_bytes(), type=_Answered)
        answers = answers_in(answered.predictions, answered.probabilities)[-PROFILED_ROWS:]
    return fit_profile(
        {column: values_of(newest[column]) for column in trained.signature.columns},
        answers=answers,
        expected=trained.reference,
        span=_span(newest, product.data.timestamp),
    )


def values_of(column: "pd.Series[Any]") -> NDArray[Any] | list[Any]:
    """Numbers as floats, truth values as such, everything else as a list; NaN or None where a value is missing."""
    if column.dtype.kind == "b" and not column.hasnans:
        return column.to_numpy(dtype=bool)
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    gaps = column.isna().to_numpy()
    return [None if gap else value for gap, value in zip(gaps, column.tolist(), strict=True)]


def _span(frame: "pd.DataFrame", timestamp: str | None) -> float | None:
    """Seconds between the first and the last row; None where rows carry no readable times."""
    import pandas as pd

    if timestamp is None or timestamp not in frame.columns or len(frame) < 2:
        return None
    times = pd.to_datetime(frame[timestamp], errors="coerce", utc=True)
    seconds = float((times.max() - times.min()).total_seconds())
    return seconds if seconds > 0 else None
