"""What is raised inside goes on as the error that the caller makes of it, and nothing else is caught."""

from collections.abc import Callable

import pytest

from mlauto.serving.boundary import contained
from mlauto.serving.errors import ModelError


def as_ours(error: Exception) -> Exception:
    """Ours as it is."""
    return error if isinstance(error, ModelError) else ModelError(f"it failed: {error}")


def test_what_is_raised_becomes_the_callers_error() -> None:
    """With what it was as the cause."""
    with pytest.raises(ModelError, match="it failed: no such thing") as caught, contained(as_ours):
        raise LookupError("no such thing")

    assert isinstance(caught.value.__cause__, LookupError)


def test_an_error_of_the_callers_own_goes_on_as_it_is() -> None:
    """It is not wrapped, and has no other cause than its own."""
    ours = ModelError("said on purpose")

    with pytest.raises(ModelError) as caught, contained(as_ours):
        raise ours

    assert caught.value is ours
    assert ours.__cause__ is None


def test_who_raises_nothing_is_not_disturbed() -> None:
    """The body runs to its end."""
    done = []
    with contained(as_ours):
        done.append(True)

    assert done == [True]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_process_is_not_caught(kind: Callable[[], BaseException]) -> None:
    """Nobody is asked what to make of it."""
    with pytest.raises(BaseException) as caught, contained(as_ours):  # noqa: PT011 - each kind is compared below
        raise kind()

    assert isinstance(caught.value, kind)  # type: ignore[arg-type] # they are classes
