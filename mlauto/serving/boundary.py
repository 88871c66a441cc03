"""Where whatever is raised is caught: around code that is not ours, and around what must not stop others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["contained"]


@contextmanager
def contained(known: Callable[[Exception], Exception]) -> Iterator[None]:
    """The one place that catches broadly: `known` says as which error an error goes on, itself if it is one of ours."""
    try:
        yield
    except Exception as error:  # boundary: a team's estimator, or one product among several
        other = known(error)
        if other is error:
            raise
        raise other from error
