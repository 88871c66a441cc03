"""Questions about values: what they count, and which are none."""

from typing import Any

import numpy as np
import pytest

from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.rows import QUESTIONS, bounds, number

NUMBERS = Part(rows=5, present=4, values=np.array([-1.0, 0.0, 1.0, np.nan, 2.5]))
WORDS = Part(rows=9, present=6, values=np.array(["", "ab", "B1"], dtype=object), counts=np.array([1, 2, 3]))


def asked(kind: str, part: Part, **arguments: Any) -> int | None:
    """How many rows it holds in; None when it is no question."""
    make, names = QUESTIONS[f"expect_column_{kind}"]
    assert {*arguments} <= names
    question = make(arguments, "string" if part.counts is not None else "number")
    return None if question is None else question(part)


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        ({"min_value": 0}, 3),
        ({"min_value": 0, "strict_min": True}, 2),
        ({"max_value": 1}, 3),
        ({"max_value": 1, "strict_max": True}, 2),
        ({"min_value": -1, "max_value": 2.5}, 4),
        ({"min_value": -1, "max_value": 2.5, "strict_min": True, "strict_max": True}, 2),
    ],
)
def test_numbers_between(arguments: dict[str, Any], holds: int) -> None:
    """Bounds count or not; what is missing is never between."""
    assert asked("values_to_be_between", NUMBERS, **arguments) == holds


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"min_value": 2, "max_value": 1},
        {"min_value": "2024-01-01"},
        {"min_value": {"$PARAMETER": "low"}},
        {"max_value": float("nan")},
        {"max_value": True},
        {"min_value": 0, "strict_min": {"$PARAMETER": "strict"}},
    ],
)
def test_bounds_that_are_none_are_left_alone(arguments: dict[str, Any]) -> None:
    """Swapped, of another kind, or to be filled in later: Great Expectations says what comes of them."""
    assert asked("values_to_be_between", NUMBERS, **arguments) is None


def test_bounds_of_nothing_are_open() -> None:
    """Figures may have no bounds at all."""
    assert bounds({}) == (None, None, False, False)
    assert bounds({"min_value": 1, "strict_max": None}) == (1, None, False, False)


def test_a_truth_value_is_no_number() -> None:
    """Although Python says that it is."""
    assert [number(value) for value in (1, 1.5, float("inf"), True, "1", None, float("nan"))] == [True] * 3 + [
        False
    ] * 4


def test_sets_of_numbers_and_of_text() -> None:
    """In and not in add up to what is there."""
    assert asked("values_to_be_in_set", NUMBERS, value_set=[0, 1, 7]) == 2
    assert asked("values_to_not_be_in_set", NUMBERS, value_set=[0, 1, 7]) == 2
    assert asked("values_to_be_in_set", WORDS, value_set=["ab", "", 3]) == 3
    assert asked("values_to_not_be_in_set", WORDS, value_set=["ab", "", 3]) == 3
    assert asked("values_to_be_in_set", NUMBERS, value_set=[]) == 0


@pytest.mark.parametrize("allowed", [["0", 1], [None, 1], [True], [2**53], [float("nan")], None, {"$PARAMETER": "set"}])
def test_sets_that_pandas_might_read_otherwise_are_none(allowed: object) -> None:
    """Mixed kinds, and numbers that a float64 does not hold."""
    assert asked("values_to_be_in_set", NUMBERS, value_set=allowed) is None


def test_patterns_are_searched_for() -> None:
    """Anywhere in the text, and each distinct text counts its rows."""
    assert asked("values_to_match_regex", WORDS, regex="^[a-z]*$") == 3
    assert asked("values_to_match_regex", WORDS, regex="b") == 2
    assert asked("values_to_not_match_regex", WORDS, regex="b") == 4


@pytest.mark.parametrize("pattern", ["(a)b", "[", "(?P<x>a)", 5])
def test_patterns_that_warn_or_fail_are_none(pattern: object) -> None:
    """What comes of them is Great Expectations' matter."""
    assert asked("values_to_match_regex", WORDS, regex=pattern) is None


def test_lengths_of_text() -> None:
    """In characters."""
    assert asked("value_lengths_to_be_between", WORDS, min_value=1) == 5
    assert asked("value_lengths_to_be_between", WORDS, max_value=2, strict_max=True) == 1
    assert asked("value_lengths_to_equal", WORDS, value=2) == 5


@pytest.mark.parametrize("kind", ["values_to_match_regex", "value_lengths_to_be_between", "value_lengths_to_equal"])
def test_questions_of_text_are_none_of_numbers(kind: str) -> None:
    """How a number is spelled is up to Great Expectations."""
    arguments = {"values_to_match_regex": {"regex": "1"}, "value_lengths_to_equal": {"value": 1}}
    assert asked(kind, NUMBERS, **arguments.get(kind, {"min_value": 1})) is None


def test_text_between_is_no_question_here() -> None:
    """Great Expectations compares text with text only, and fails otherwise."""
    assert asked("values_to_be_between", WORDS, min_value=0) is None
