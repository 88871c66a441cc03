"""What of a validation that failed is told to people, and in which words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlauto.records import ExpectationFailure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["failures_of"]

MAX_FAILURES = 20
EXAMPLES = 5


def failures_of(batch: Any, failed: Sequence[Any], frame: "pd.DataFrame") -> tuple[ExpectationFailure, ...]:
    """The expectations that `batch`, made of `frame`, failed: at most 20, each asked again for details and examples."""
    ranked = sorted(failed, key=_rank)
    told = [_missing_column(column) for column in _missing(ranked, frame)]
    told += [_explained(batch, config) for config in _worth_telling(ranked, frame)[:MAX_FAILURES]]
    return tuple(told[:MAX_FAILURES])


def _rank(config: Any) -> tuple[bool, str, str]:
    """Failures of the whole table first, then by column."""
    column = config.kwargs.get("column")
    return (column is not None, str(column), config.type)


def _missing(failed: Sequence[Any], frame: "pd.DataFrame") -> list[str]:
    """Columns that failed because they are not there."""
    return sorted({config.kwargs["column"] for config in failed if "column" in config.kwargs} - {*frame.columns})


def _worth_telling(failed: Sequence[Any], frame: "pd.DataFrame") -> list[Any]:
    """Failures without the echoes: a missing column fails everything, and a wrong type has no range."""
    ill_typed = {config.kwargs["column"] for config in failed if config.type.endswith("_to_be_in_type_list")}
    missing = _missing(failed, frame)
    return [
        config
        for config in failed
        if (column := config.kwargs.get("column")) not in missing
        and not (column in ill_typed and config.type == "expect_column_values_to_be_between")
    ]


def _missing_column(column: str) -> ExpectationFailure:
    return ExpectationFailure(
        expectation="expect_column_to_exist", column=column, observed="no such column", expected=f"a column {column!r}"
    )


def _explained(batch: Any, config: Any) -> ExpectationFailure:
    """One failed expectation again, with what was observed and examples."""
    form = {"result_format": "SUMMARY", "partial_unexpected_count": EXAMPLES * 4}
    outcome = batch.validate(config.to_domain_obj(), result_format=form)
    unexpected = outcome.result.get("partial_unexpected_list") or ()
    examples = dict.fromkeys(str(value) for value in unexpected if value == value)  # noqa: PLR0124 - NaN tells nothing
    return ExpectationFailure(
        expectation=config.type,
        column=config.kwargs.get("column"),
        observed=_observed(outcome),
        expected=_expected(config.kwargs),
        examples=tuple(_short(text, 80) for text in list(examples)[:EXAMPLES]),
    )


def _expected(arguments: Mapping[str, Any]) -> str:
    """The arguments of an expectation in words."""
    words = [f"{k} {v}" for k, v in arguments.items() if k not in {"column", "batch_id", "mostly"}]
    if "column" in arguments:
        words.append(f"in at least {arguments['mostly']:.1%} of rows" if "mostly" in arguments else "in every row")
    return _short(", ".join(words) or "as the name says")


def _observed(outcome: Any) -> str:
    """What was seen, from whichever of its forms the result has."""
    result = outcome.result
    if "unexpected_percent" in result and result["unexpected_percent"] is not None:
        return f"{result['unexpected_count']} of {result['element_count']} rows ({result['unexpected_percent']:.1f} %)"
    mismatched = (result.get("details") or {}).get("mismatched")
    if mismatched:
        return _short("; ".join(f"{k} {', '.join(map(str, v))}" for k, v in mismatched.items()))
    if "observed_value" in result:
        return _short(str(result["observed_value"]))
    reasons = [v["exception_message"] for v in outcome.exception_info.values() if isinstance(v, dict)]
    return _short(reasons[0] if reasons else "could not be evaluated")


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
