"""What the YAML's sections share, and the search's own."""

from typing import Any

import pytest
from pydantic import ValidationError

from mlauto.product_training import Training
from mlauto.sections import Duration, Range, Search, Section


class Pause(Section):
    """A section of this test."""

    seconds: float = 1.0
    wait: Duration = 1.0


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("30s", 30.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0), (7, 7.0)]
)
def test_durations_have_units(written: object, seconds: float) -> None:
    """A plain number is in seconds."""
    assert Pause.model_validate({"wait": written}).wait == seconds


@pytest.mark.parametrize("written", ["soon", "5 weeks", "-3s", -3, ""])
def test_what_is_no_duration_is_refused(written: object) -> None:
    """Neither words nor negative times."""
    with pytest.raises(ValidationError, match=r"no duration|greater than or equal to 0"):
        Pause.model_validate({"wait": written})


def test_a_section_is_frozen_and_refuses_unknown_keys() -> None:
    """A typing error in the YAML is never silently ignored."""
    pause = Pause.model_validate({"seconds": 2})

    with pytest.raises(ValidationError, match="frozen"):
        pause.seconds = 3.0
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Pause.model_validate({"second": 2})


def test_a_search_as_it_is_written() -> None:
    """Values keep their kinds, a range of whole numbers stays one, a budget is a duration."""
    search = Search.model_validate(
        {
            "parameters": {"depth": [3, None, 5.0, "deep", True], "leaves": {"low": 8, "high": 64}},
            "candidates": 9,
            "budget": "2m",
        }
    )

    assert [type(value) for value in search.parameters["depth"]] == [int, type(None), float, str, bool]
    assert search.parameters["leaves"] == Range(low=8, high=64)
    assert isinstance(search.parameters["leaves"], Range)
    assert isinstance(search.parameters["leaves"].low, int)
    assert (search.candidates, search.budget) == (9, 120.0)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ([1], "name at least two values, none twice"),
        ([1, 2, 1], "name at least two values, none twice"),
        ([], "name at least two values"),
        ([1, [2]], r"\[2\] is no value"),
        ([1, float("nan")], "nan is no value"),
        ("fast", "should be a valid tuple"),
        ({"low": 3, "high": 3}, "low must be below high"),
        ({"low": 0, "high": 1, "log": True}, "has no logarithm"),
        ({"low": 0, "high": float("inf")}, "low must be below high"),
        ({"low": 0, "high": 1, "lg": True}, "Extra inputs are not permitted"),
        ({"low": "a", "high": 1}, "valid integer"),
    ],
)
def test_a_space_that_offers_nothing_is_refused(space: Any, said: str) -> None:
    """With the parameter's name in the message."""
    with pytest.raises(ValidationError, match=said) as caught:
        Search.model_validate({"parameters": {"alpha": space}})

    assert "alpha" in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"parameters": {}},
        {},
        {"parameters": {"a": [1, 2]}, "candidates": 1},
        {"parameters": {"a": [1, 2]}, "budget": 0},
    ],
)
def test_a_search_of_nothing_is_refused(keys: dict[str, Any]) -> None:
    """No parameter, one candidate, or no time."""
    with pytest.raises(ValidationError):
        Search.model_validate(keys)


def test_a_search_must_leave_time_to_train() -> None:
    """Else every training would end at its time limit."""
    search = {"parameters": {"alpha": [1, 2]}, "budget": "30m"}

    with pytest.raises(ValidationError, match=r"search.budget 1800 s must be below timeout 1800 s"):
        Training.model_validate({"search": search})
    assert Training.model_validate({"search": search, "timeout": "1h"}).search is not None
    assert Training().search is None
