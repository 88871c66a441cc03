"""How many processes answer users."""

import os

import pytest

from mlauto.serving.errors import StateError
from mlauto.serving.processes.workers import workers


@pytest.mark.parametrize(("cores", "number"), [(1, 1), (2, 1), (4, 1), (7, 1), (8, 2), (12, 3), (16, 4), (64, 4)])
def test_by_default_the_cores_decide(cores: int, number: int) -> None:
    """Most of them are the model servers'."""
    assert workers({}, cores) == number
    assert workers({"MLAUTO_GATEWAY_WORKERS": ""}, cores) == number


def test_the_cores_are_those_that_this_process_may_use() -> None:
    """Not those of the machine: a container, or `taskset`, gives less."""
    assert workers({}) == workers({}, len(os.sched_getaffinity(0)))


def test_a_number_that_is_set_is_taken() -> None:
    """Whatever the cores."""
    assert workers({"MLAUTO_GATEWAY_WORKERS": "3"}, 1) == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "65"])
def test_what_is_no_number_is_named(text: str) -> None:
    """With the variable and what to do."""
    with pytest.raises(StateError, match=rf"MLAUTO_GATEWAY_WORKERS='{text}' is no whole number from 1 to 64"):
        workers({"MLAUTO_GATEWAY_WORKERS": text})
