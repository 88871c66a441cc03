"""The seam itself: whoever implements it takes what it promises to take."""

import inspect

import pytest

from mlauto.runtime.base import Answer, Route, Runtime
from mlauto.runtime.fake import FakeRuntime
from mlauto.runtime.local import LocalRuntime

METHODS = [name for name in vars(Runtime) if not name.startswith("_")]


@pytest.mark.parametrize("kind", [FakeRuntime, LocalRuntime])
@pytest.mark.parametrize("method", METHODS)
def test_implementations_have_the_same_parameters(kind: type, method: str) -> None:
    """Names, order and annotations: callers may use keywords with either."""
    assert inspect.signature(getattr(kind, method)) == inspect.signature(getattr(Runtime, method))


def test_an_answer_is_a_value() -> None:
    """Two equal answers are equal, and nothing can be changed in one."""
    answer = Answer("1", (1.0,), None, 0.5)

    assert answer == Answer("1", (1.0,), None, 0.5)
    with pytest.raises(AttributeError):
        answer.version = "2"  # type: ignore[misc]


def test_a_route_names_who_takes_part() -> None:
    """And forgets a version that no longer runs, with the share that it had."""
    route = Route("3", "2", "4", 5.0, "4")

    assert route.named() == ("3", "2", "4", "4")
    assert route.without("4") == Route("3", "2")
    assert route.without("2") == Route("3", None, "4", 5.0, "4")
    assert Route("3").named() == ("3",)
