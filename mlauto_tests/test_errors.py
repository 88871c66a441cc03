"""The error tree."""

import re

import pytest

from mlauto import errors
from mlauto.errors import MlautoError

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_can_be_caught_at_the_root(error: type[Exception]) -> None:
    """One `except MlautoError` shows any of them as a sentence."""
    with pytest.raises(MlautoError, match="what to do"):
        raise error("what to do")


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_drawn_with_its_next_step(error: type[Exception]) -> None:
    """The tree in the module's docstring is the whole tree: each class has a line that says more than its name."""
    line = next(line for line in (errors.__doc__ or "").splitlines() if re.search(rf"\b{error.__name__}\b", line))

    assert len(line.split(error.__name__)[1].strip()) > 20


def test_the_tree_is_flat() -> None:
    """One level below the root: who catches one kind never catches another by accident."""
    assert {error.__mro__[1] for error in CLASSES if error is not MlautoError} == {MlautoError}
    assert MlautoError.__mro__[1] is Exception
