"""Golden rows: what a model answered when it was trained, and must answer wherever it runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlauto.errors import StoreError
from mlauto.runtime.base import Answer

__all__ = ["Golden", "difference", "read_golden"]

NUMBERS = (int, float)
TOLERANCE = 1e-9  # absolute, and relative for numbers beyond 1


@dataclass(frozen=True)
class Golden:
    """Rows (column -> value or None), one prediction per row, and the classes' probabilities where there are any."""

    rows: list[dict[str, Any]]
    predictions: list[Any]
    probabilities: list[list[float]] | None = None


def read_golden(artifact: Path) -> Golden:
    """`golden.json` of a training artifact. Raises `StoreError` when it is missing, malformed or empty."""
    path = artifact / "golden.json"
    try:
        golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{path} is not usable: {error}; materialize the model again") from error
    lengths = {len(golden.rows), len(golden.predictions), len(golden.probabilities or golden.rows)}
    if not golden.rows or len(lengths) != 1:
        raise StoreError(
            f"{path} has {len(golden.rows)} rows and other numbers of answers: materialize the model again"
        )
    return golden


def difference(golden: Golden, answer: Answer, places: Sequence[int]) -> str | None:
    """How the answer to the golden rows at `places` differs from the golden one, as a sentence; None when it does not.

    Labels must be identical, numbers within 1e-9.
    """
    if len(answer.predictions) != len(places):
        return f"{len(places)} rows got {len(answer.predictions)} predictions"
    for place, given in zip(places, answer.predictions, strict=True):
        if not _same(golden.predictions[place], given):
            return f"row {place}: predicted {given!r}, when it was trained {golden.predictions[place]!r}"
    if golden.probabilities is None:
        return None
    if answer.probabilities is None or len(answer.probabilities) != len(places):
        return "the answer lacks the probabilities that the trained model gave"
    for place, odds in zip(places, answer.probabilities, strict=True):
        wanted = golden.probabilities[place]
        if len(wanted) != len(odds) or not all(map(_same, wanted, odds)):
            return f"row {place}: probabilities {list(odds)}, when it was trained {wanted}"
    return None


def _same(wanted: Any, given: Any) -> bool:
    if type(wanted) in NUMBERS and type(given) in NUMBERS:  # true is no number: it is a label
        return math.isclose(wanted, given, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(wanted) is type(given) and wanted == given
