"""Types for msgspec that take just the values which a column allows, and so check them as they are decoded.

They take a little less than `signature.rows_from`, which accepts 3.0 as a whole number and owns the sentences.
"""

import math
from typing import Annotated, Any, Literal

from msgspec import Meta

from mlauto.serving.wire.signature import KEY, LARGEST_FLOAT, LONGEST_KEY, Limit

__all__ = ["value_type"]

LEAST, MOST = -(2**63), 2**63 - 1
FREE: Limit = (None, None)


def value_type(kind: str, limit: Limit | None = None, categories: tuple[str | int, ...] | None = None) -> Any:
    """The type of a value of that kind, or None for a missing one, within the limit and the categories."""
    if categories is not None:
        return Literal[categories] | None
    if kind == KEY:
        number = Annotated[float, Meta(gt=-LARGEST_FLOAT, lt=LARGEST_FLOAT)]
        return Annotated[str, Meta(max_length=LONGEST_KEY)] | bool | _whole(*FREE) | number | None
    if kind == "string":
        return str | None
    if kind == "boolean":
        return bool | None
    whole, low, high = _whole(*(limit or FREE)), *(limit or FREE)
    if kind == "integer":
        return whole | None
    lowest = Meta(gt=-LARGEST_FLOAT) if low is None else Meta(ge=low)
    highest = Meta(lt=LARGEST_FLOAT) if high is None else Meta(le=high)
    # a whole number stays one: it is logged as it was sent
    return whole | Annotated[float, lowest, highest] | None


def _whole(low: float | None, high: float | None) -> Any:
    """Whole numbers of 64 bits. Where the limits leave none, a type that takes none."""
    least = LEAST if low is None else max(LEAST, math.ceil(low))
    most = MOST if high is None else min(MOST, math.floor(high))
    return Annotated[int, Meta(ge=least, le=most) if least <= most else Meta(ge=1, le=0)]
