"""Who may be asked next."""

import pytest

from mlauto.serving.attempts import Attempts
from mlauto.serving.backend import Backend
from mlauto.serving.errors import ModelError
from mlauto.serving.route import Product, Route
from mlauto.serving.wire.invocations import parse_invocations


def backend(state: str = "ready") -> Backend:
    found = Backend.__new__(Backend)
    found.state, found.generation, found.silent = state, 1, 0
    return found


def attempts(product: Product, exact: Backend | None = None, canary: Backend | None = None) -> Attempts:
    return Attempts(product, b"", parse_invocations, product.route, 0.0, 0.0, exact, canary)


def test_the_best_ready_one_comes_first() -> None:
    """The canary where it was chosen, then champion and fallback, each while it is ready."""
    champion, fallback, canary = backend(), backend(), backend("starting")
    product = Product("bikes", route=Route(champion, fallback, canary, 50.0))

    assert attempts(product).candidates() == [champion, fallback]
    assert attempts(product, canary=canary).wanted() == [canary, champion, fallback]
    assert attempts(product, canary=canary).candidates() == [champion, fallback]
    assert attempts(product, canary).candidates() == []
    assert attempts(Product("bikes")).wanted() == []


def test_one_that_owes_a_sign_of_life_comes_last() -> None:
    """It is asked where there is no other."""
    champion, fallback = backend(), backend()
    champion.silent = 1

    assert attempts(Product("bikes", route=Route(champion, fallback))).candidates() == [fallback, champion]
    assert attempts(Product("bikes", route=Route(champion))).candidates() == [champion]
    fallback.silent = 3
    assert attempts(Product("bikes", route=Route(champion, fallback))).candidates() == [champion, fallback]


def test_a_process_that_failed_is_not_asked_again_but_the_next_one_is() -> None:
    """The same version counts as another once it was started again."""
    champion, fallback = backend(), backend()
    ask = attempts(Product("bikes", route=Route(champion, fallback)))
    ask.fail(champion, ModelError("no"))

    assert (ask.candidates(), ask.count, str(ask.error)) == ([fallback], 1, "no")
    champion.generation = 2
    assert ask.candidates() == [champion, fallback]


@pytest.mark.parametrize("asked", [True, False])
def test_only_what_was_asked_counts(asked: bool) -> None:
    """A connection that could not be opened costs no attempt, and a canary has only one chance."""
    champion, canary = backend(), backend()
    ask = attempts(Product("bikes", route=Route(champion)), canary=canary)
    ask.fail(canary, ModelError("no"), asked=asked)

    assert ask.count == int(asked)
    assert ask.candidates() == [champion]
    assert ask.failed is canary
