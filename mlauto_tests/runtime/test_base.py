"""The seam itself: whoever implements it takes what it promises to take."""

import inspect

import pytest

from mlauto.runtime.base import Answer, Runtime
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
