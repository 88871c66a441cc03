"""What is compiled, and what is left to Great Expectations."""

from typing import Any

import pytest

from mlauto.training.pregate.answers import Figure, Gaps, Pair, PresentShare, Settled, Share, Whole
from mlauto.training.pregate.checks import compiled

KINDS = {"whole": "integer", "real": "number", "more": "number", "flag": "boolean", "word": "string", "when": "time"}


def made(kind: str, **arguments: Any) -> type | None:
    check = compiled(f"expect_column_{kind}", arguments, KINDS)
    return None if check is None else type(check)


@pytest.mark.parametrize(
    ("kind", "arguments", "check"),
    [
        ("values_to_not_be_null", {"column": "when", "mostly": 0.9}, Gaps),
        ("values_to_be_null", {"column": "word"}, Gaps),
        ("values_to_be_between", {"column": "real", "min_value": 0, "mostly": 0.9}, Share),
        ("values_to_be_in_set", {"column": "word", "value_set": ["a"]}, Share),
        ("values_to_be_unique", {"column": "word"}, Whole),
        ("values_to_be_in_type_list", {"column": "word", "type_list": ["str"]}, Share),
        ("values_to_be_in_type_list", {"column": "when", "type_list": ["str"]}, Settled),
        ("values_to_be_of_type", {"column": "whole", "type_": "int64"}, Settled),
        ("mean_to_be_between", {"column": "whole", "min_value": 0}, Figure),
        ("median_to_be_between", {"column": "real", "max_value": 0}, Whole),
        ("unique_value_count_to_be_between", {"column": "flag", "max_value": 2}, Whole),
        ("proportion_of_non_null_values_to_be_between", {"column": "word", "min_value": 0.5}, PresentShare),
        (
            "quantile_values_to_be_between",
            {"column": "real", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[None, 1]]}},
            Whole,
        ),
        ("pair_values_a_to_be_greater_than_b", {"column_A": "real", "column_B": "more", "or_equal": True}, Pair),
    ],
)
def test_common_expectations_are_compiled(kind: str, arguments: dict[str, Any], check: type) -> None:
    """Each to the computation that answers it."""
    assert made(kind, **arguments) is check


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("values_to_not_be_null", {"column": "gone"}),
        ("values_to_not_be_null", {"column": "real", "row_condition": "whole > 1", "condition_parser": "pandas"}),
        ("values_to_be_between", {"column": "real", "min_value": 0, "result_format": "COMPLETE"}),
        ("values_to_be_between", {"column": "flag", "min_value": 0}),
        ("values_to_be_between", {"column": "when", "min_value": 0}),
        ("values_to_be_in_set", {"column": "flag", "value_set": [True]}),
        ("values_to_be_unique", {"column": "real", "row_condition": "x"}),
        ("values_to_be_in_type_list", {"column": "real", "type_list": ["Timestamp"]}),
        ("mean_to_be_between", {"column": "word", "min_value": 0}),
        ("mean_to_be_between", {"column": "flag", "min_value": 0}),
        ("mean_to_be_between", {"column": "real", "min_value": "a"}),
        ("median_to_be_between", {"column": "when", "min_value": 0}),
        ("quantile_values_to_be_between", {"column": "real", "quantile_ranges": {"$PARAMETER": "ranges"}}),
        (
            "quantile_values_to_be_between",
            {"column": "real", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [["a", 1]]}},
        ),
        ("values_to_match_strftime_format", {"column": "word", "strftime_format": "%Y"}),
        ("values_to_be_increasing", {"column": "real"}),
        ("pair_values_a_to_be_greater_than_b", {"column_A": "real", "column_B": "whole"}),
        ("pair_values_a_to_be_greater_than_b", {"column_A": "real", "column_B": "real"}),
        ("pair_values_a_to_be_greater_than_b", {"column_A": "real", "column_B": "more", "ignore_row_if": "never"}),
    ],
)
def test_what_might_be_answered_otherwise_is_not_compiled(kind: str, arguments: dict[str, Any]) -> None:
    """Unknown expectations and arguments, conditions, columns that are not there or of another kind."""
    assert made(kind, **arguments) is None
