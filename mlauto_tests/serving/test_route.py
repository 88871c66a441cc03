"""Routes as values: who takes part, and who takes whose place."""

import asyncio
import time
from typing import cast

from mlauto.serving.backend import Backend
from mlauto.serving.gatewaystate import RouteState
from mlauto.serving.route import Product, Route, Versions, route_of


def backend(state: str = "ready") -> Backend:
    found = Backend.__new__(Backend)
    found.state = state
    return found


def test_a_route_is_made_of_what_runs() -> None:
    """A version that does not run plays no part, and a canary that does not run has no share."""
    one, two = backend(), backend()
    state = RouteState(champion="1", fallback="9", canary="2", percent=5, shadow="2")

    assert route_of({"1": one, "2": two}, state) == Route(one, None, two, 5.0, two)
    assert route_of({"1": one}, state) == Route(one)
    assert route_of({}, RouteState()) == Product("bikes").route


def test_only_ready_backends_answer_the_best_first() -> None:
    """The champion, then its fallback, each only while it is ready."""
    one, two = backend(), backend()

    assert list(Route(one, two).ready()) == [one, two]
    one.state = "failed"
    assert list(Route(one, two).ready()) == [two]
    assert list(Route().ready()) == []


def test_a_replaced_backend_keeps_its_parts() -> None:
    """Another process in its place plays the same parts; none in its place plays none."""
    one, two, other = (cast(Backend, object()) for _ in range(3))
    route = Route(one, two, two, 5.0, two)

    assert route.replaced(two, other) == Route(one, other, other, 5.0, other)
    assert route.replaced(two, None) == Route(one)
    assert route.replaced(one, other).champion is other


def test_whoever_waits_for_a_change_is_woken() -> None:
    """All of them, at once; without a change, when time is up."""

    async def scenario() -> float:
        versions = Versions()
        waiting = [asyncio.create_task(versions.change(30)) for _ in range(2)]
        await asyncio.sleep(0)
        versions.changed()
        await asyncio.wait_for(asyncio.gather(*waiting), 5)
        began = time.monotonic()
        await versions.change(0.05)
        return time.monotonic() - began

    assert asyncio.run(scenario()) >= 0.04
