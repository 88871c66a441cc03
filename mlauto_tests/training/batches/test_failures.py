"""What is told of failures, from real ones."""

from pathlib import Path
from typing import Any

import pandas as pd

from mlauto.records import ExpectationFailure
from mlauto.training.batches.expectations import batch_of, suite_of
from mlauto.training.batches.failures import failures_of


def told(frame: pd.DataFrame, *entries: tuple[str, dict[str, Any]]) -> tuple[ExpectationFailure, ...]:
    suite = suite_of({"expectations": [{"type": f"expect_{kind}", "kwargs": kw} for kind, kw in entries]}, Path("s"))
    return failures_of(batch_of(frame), [one.configuration for one in suite.expectations], frame)


def test_a_failure_says_what_was_seen_expected_and_examples() -> None:
    """At most five distinct examples, in the order of the rows, missing ones left out."""
    frame = pd.DataFrame({"a": [9.0, 9.0, None, 8.0, 7.0, 6.0, 5.0, 4.0]})

    (failure,) = told(frame, ("column_values_to_be_between", {"column": "a", "max_value": 1, "mostly": 0.5}))

    assert failure.observed == "7 of 8 rows (100.0 %)"
    assert failure.expected == "max_value 1.0, in at least 50.0% of rows"
    assert failure.examples == ("9.0", "8.0", "7.0", "6.0", "5.0")


def test_the_table_comes_first_then_columns_in_order() -> None:
    """People read from the whole to the part."""
    frame = pd.DataFrame({"a": [1, 1], "b": [2, 2]})

    failures = told(
        frame,
        ("column_values_to_be_unique", {"column": "b"}),
        ("column_values_to_be_unique", {"column": "a"}),
        ("table_row_count_to_equal", {"value": 3}),
    )

    assert [failure.column for failure in failures] == [None, "a", "b"]
    assert failures[0].observed == "2"


def test_a_missing_column_and_a_wrong_type_have_no_echoes() -> None:
    """What follows from another failure is not told."""
    frame = pd.DataFrame({"a": ["x", "y"]})

    failures = told(
        frame,
        ("column_values_to_be_unique", {"column": "gone"}),
        ("column_values_to_not_be_null", {"column": "gone"}),
        ("column_values_to_be_in_type_list", {"column": "a", "type_list": ["int64"]}),
        ("column_values_to_be_between", {"column": "a", "min_value": 0}),
    )

    assert [(failure.expectation, failure.column) for failure in failures] == [
        ("expect_column_to_exist", "gone"),
        ("expect_column_values_to_be_in_type_list", "a"),
    ]


def test_differences_of_names_are_told_by_name() -> None:
    """Which columns are missing, and which nobody expected."""
    (failure,) = told(pd.DataFrame({"a": [1]}), ("table_columns_to_match_set", {"column_set": ["b"]}))

    assert failure.observed == "unexpected a; missing b"


def test_what_cannot_be_evaluated_says_why() -> None:
    """Text above a number is no question; the reason is Great Expectations' own."""
    (failure,) = told(pd.DataFrame({"a": ["x"]}), ("column_mean_to_be_between", {"column": "a", "min_value": 0}))

    assert failure.observed
    assert failure.observed != "could not be evaluated"
