"""Questions about each value of a column, as Great Expectations' pandas engine answers them.

Text is asked through the very calls that Great Expectations makes, on the distinct values. What might come out
otherwise there (bounds that are no numbers, a pattern that warns, a set of mixed kinds) is no question here.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mlauto.training.pregate.parts import Part

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["EXACT", "QUESTIONS", "Arguments", "Bounds", "Question", "bounds", "number"]

Question = Callable[[Part], int]
Arguments = Mapping[str, Any]
Bounds = tuple[float | None, float | None, bool, bool]
# Above it, not every whole number is a float64, and which of the two a comparison is made in would matter.
EXACT = 2**53


def number(value: object) -> bool:
    """Whether it is a number to compare with: no truth value, not NaN."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def bounds(arguments: Arguments) -> Bounds | None:
    """Lowest, highest, and whether they themselves are outside; None when one is no number, or they are swapped."""
    low, high = arguments.get("min_value"), arguments.get("max_value")
    strict = arguments.get("strict_min") or False, arguments.get("strict_max") or False
    if not all(isinstance(flag, bool) for flag in strict) or any(b is not None and not number(b) for b in (low, high)):
        return None
    return None if low is not None and high is not None and low > high else (low, high, *strict)


def _within(values: "NDArray[Any]", limits: Bounds) -> "NDArray[np.bool_]":
    """Where a value is within: never where it is missing."""
    import numpy as np

    low, high, strict_low, strict_high = limits
    holds = np.ones(len(values), dtype=np.bool_)
    if low is not None:
        holds = values > low if strict_low else values >= low
    if high is not None:
        holds &= values < high if strict_high else values <= high
    return holds


def _between(arguments: Arguments, kind: str) -> Question | None:
    limits = bounds(arguments)
    if limits is None or limits[:2] == (None, None) or kind not in {"integer", "number"}:
        return None
    return lambda part: part.count(_within(part.values, limits))


def _in_set(arguments: Arguments, kind: str) -> Question | None:
    allowed = arguments.get("value_set")
    if not isinstance(allowed, list):
        return None
    if kind == "string":
        return lambda part: part.count(_series(part).isin(allowed).to_numpy())
    if kind not in {"integer", "number"} or not all(number(value) and abs(value) < EXACT for value in allowed):
        return None

    def holds(part: Part) -> int:
        import pandas as pd

        return part.count(pd.Series(part.values).isin(allowed).to_numpy())

    return holds


def _not_in_set(arguments: Arguments, kind: str) -> Question | None:
    within = _in_set(arguments, kind)
    return None if within is None else lambda part: part.present - within(part)


def _matches(arguments: Arguments, kind: str) -> Question | None:
    pattern = arguments.get("regex")
    if kind != "string" or not isinstance(pattern, str) or not _harmless(pattern):
        return None
    return lambda part: part.count(_strings(part).str.contains(pattern).to_numpy(dtype=bool))


def _matches_not(arguments: Arguments, kind: str) -> Question | None:
    matches = _matches(arguments, kind)
    return None if matches is None else lambda part: part.present - matches(part)


def _lengths(arguments: Arguments, kind: str) -> Question | None:
    limits = bounds(arguments)
    if limits is None or limits[:2] == (None, None) or kind != "string":
        return None
    return lambda part: part.count(_within(_strings(part).str.len().to_numpy(), limits))


def _length(arguments: Arguments, kind: str) -> Question | None:
    value = arguments.get("value")
    if kind != "string" or not number(value):
        return None
    return lambda part: part.count((_strings(part).str.len() == value).to_numpy(dtype=bool))


def _series(part: Part) -> "pd.Series":
    import pandas as pd

    return pd.Series(part.values, dtype=object)


def _strings(part: Part) -> "pd.Series":
    """As Great Expectations turns a column into text."""
    return _series(part).astype(str)


def _harmless(pattern: str) -> bool:
    """Whether a pattern works and is searched without a warning, which groups would give."""
    import pandas as pd
    import pyarrow as pa

    try:
        if re.compile(pattern).groups:
            return False
        pd.Series(["x"], dtype=object).astype(str).str.contains(pattern)
    except (re.error, ValueError, pa.ArrowException):
        return False
    return True


QUESTIONS: dict[str, tuple[Callable[[Arguments, str], Question | None], frozenset[str]]] = {
    "expect_column_values_to_be_between": (_between, frozenset({"min_value", "max_value", "strict_min", "strict_max"})),
    "expect_column_values_to_be_in_set": (_in_set, frozenset({"value_set"})),
    "expect_column_values_to_not_be_in_set": (_not_in_set, frozenset({"value_set"})),
    "expect_column_values_to_match_regex": (_matches, frozenset({"regex"})),
    "expect_column_values_to_not_match_regex": (_matches_not, frozenset({"regex"})),
    "expect_column_value_lengths_to_be_between": (
        _lengths,
        frozenset({"min_value", "max_value", "strict_min", "strict_max"}),
    ),
    "expect_column_value_lengths_to_equal": (_length, frozenset({"value"})),
}
