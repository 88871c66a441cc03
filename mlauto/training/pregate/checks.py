"""From an expectation and its arguments to what answers it; nothing where Great Expectations might say otherwise."""

from collections.abc import Mapping

from mlauto.training.pregate.answers import Check, Figure, Gaps, Pair, PresentShare, Settled, Share, Whole
from mlauto.training.pregate.rows import QUESTIONS, Arguments, bounds, number
from mlauto.training.pregate.schema import TYPES, accepted
from mlauto.training.pregate.totals import FIGURES, MEASURES, judged

__all__ = ["compiled"]

LIMITS = frozenset({"min_value", "max_value", "strict_min", "strict_max"})
IGNORED = ("both_values_are_missing", "either_value_is_missing", "neither")
NUMERIC = frozenset({"integer", "number"})


def compiled(kind: str, arguments: Arguments, kinds: Mapping[str, str]) -> Check | None:
    """The expectation `kind` with Great Expectations' `arguments`, or None where it has to answer itself."""
    if kind == "expect_column_pair_values_a_to_be_greater_than_b":
        return _pair(arguments, kinds)
    column = arguments.get("column")
    if not isinstance(column, str) or column not in kinds:
        return None
    return _counted(kind, arguments, column, kinds[column]) or _limited(kind, arguments, column, kinds[column])


def _counted(kind: str, arguments: Arguments, column: str, held: str) -> Check | None:
    """What asks for a share of rows; `held` is the column's kind."""
    mostly = _mostly(arguments)
    given = {*arguments} - {"column", "mostly"}
    if kind in QUESTIONS:
        make, names = QUESTIONS[kind]
        question = make(arguments, held) if given <= names else None
        return None if question is None else Share(column, mostly, question)
    if kind in TYPES:
        return _types(kind, arguments, column, held) if given <= {TYPES[kind]} else None
    if kind == "expect_column_quantile_values_to_be_between" and held in NUMERIC:
        return _quantiles(arguments.get("quantile_ranges"), column, held) if given == {"quantile_ranges"} else None
    if given:
        return None
    if kind == "expect_column_values_to_be_unique":
        return Whole(column, held, lambda values: values.alone() >= mostly)
    if kind in {"expect_column_values_to_not_be_null", "expect_column_values_to_be_null"}:
        return Gaps(column, mostly, present=kind == "expect_column_values_to_not_be_null")
    return None


def _limited(kind: str, arguments: Arguments, column: str, held: str) -> Check | None:
    """What asks for one figure of the column, within limits."""
    limits = bounds(arguments) if {*arguments} <= LIMITS | {"column"} else None
    if limits is None:
        return None
    if kind in FIGURES and held in NUMERIC:
        return Figure(column, limits, FIGURES[kind])
    if kind in MEASURES and (held in NUMERIC or kind != "expect_column_median_to_be_between"):
        return Whole(column, held, lambda values: judged(MEASURES[kind](values), limits))
    if kind == "expect_column_proportion_of_non_null_values_to_be_between":
        return PresentShare(column, limits)
    return None


def _quantiles(ranges: object, column: str, held: str) -> Check | None:
    """Quantiles, each within limits or very near to one."""
    if not isinstance(ranges, dict) or {*ranges} != {"quantiles", "value_ranges"}:
        return None
    shares, limits = ranges["quantiles"], [tuple(pair) for pair in ranges["value_ranges"]]
    known = all(len(pair) == 2 and all(b is None or number(b) for b in pair) for pair in limits)
    if not known or len(limits) != len(shares) or not all(number(share) and 0 <= share <= 1 for share in shares):
        return None
    return Whole(column, held, lambda values: values.quantiles_within(shares, limits))


def _types(kind: str, arguments: Arguments, column: str, held: str) -> Check | None:
    """Text is asked value by value; of the others the column's type decides, and what a file says of gaps is proven."""
    holds = accepted(kind, arguments, held)
    if holds is None:
        return None
    if held == "string":
        return Share(column, _mostly(arguments), lambda part: part.present if holds else 0)
    return Settled((column,) if held != "time" else (), holds)


def _mostly(arguments: Arguments) -> float:
    return float(arguments.get("mostly", 1))


def _pair(arguments: Arguments, kinds: Mapping[str, str]) -> Check | None:
    first, second = arguments.get("column_A"), arguments.get("column_B")
    ignored, or_equal = arguments.get("ignore_row_if", IGNORED[0]), arguments.get("or_equal") or False
    given = {*arguments} <= {"column_A", "column_B", "ignore_row_if", "or_equal", "mostly"}
    if not (given and isinstance(first, str) and isinstance(second, str) and first != second):
        return None
    alike = kinds.get(first) in NUMERIC and kinds.get(second) == kinds[first]
    if not alike or ignored not in IGNORED or not isinstance(or_equal, bool):
        return None
    return Pair((first, second), or_equal=or_equal, ignored=ignored, mostly=_mostly(arguments))
