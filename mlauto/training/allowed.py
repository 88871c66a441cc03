"""The values that a product allows in its columns, compared with the columns that there are and with rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.serving.wire.signature import Signature as ServedSignature

__all__ = ["check_allowed", "is_allowed"]

CATEGORICAL = {"string": str, "integer": int, "number": int}  # kind of a column -> type of its categories


def check_allowed(
    limits: Mapping[str, tuple[float | None, float | None]],
    categories: Mapping[str, Sequence[str | int]],
    kinds: Mapping[str, str],
) -> None:
    """Raises `TrainingError` for limits or categories of a column that is not there, or of another kind."""
    for section, names in (("limits", limits), ("categories", categories)):
        missing = [name for name in names if name not in kinds]
        if missing:
            raise TrainingError(
                f"data.{section} names {missing[0]!r}, which is no feature: the data has {', '.join(kinds)}"
            )
    for name in limits:
        if kinds[name] not in ("number", "integer"):
            raise TrainingError(f"data.limits: {name!r} is of kind {kinds[name]}: only numbers have limits")
    for name, values in categories.items():
        wanted = CATEGORICAL.get(kinds[name])
        if wanted is None or not all(isinstance(value, wanted) for value in values):
            raise TrainingError(f"data.categories: {name!r} is of kind {kinds[name]}, and its categories are not")


def is_allowed(row: Mapping[str, Any], signature: Signature) -> bool:
    """Whether a model's server takes the row's values, as far as limits and categories go."""
    served = ServedSignature(signature.columns, signature.task, (), signature.limits, signature.categories)
    return all(served.allows(name, row[name]) for name in (*signature.limits, *signature.categories))
