"""The steps of a change: put, switch with proof, record, and cleaning up."""

from dataclasses import replace

import pytest

from mlauto.delivery.change import EVENTS, Change, serving, with_event
from mlauto.delivery.decisions import Rejection, reject
from mlauto.errors import DeliveryError
from mlauto.records import Deployment
from mlauto_tests.delivery.conftest import NOW, PRODUCT, Delivery


@pytest.fixture
def change(delivery: Delivery) -> Change:
    return Change(PRODUCT, delivery.runtime, delivery.store, delivery.promote, NOW, 0.1)


def test_a_first_version_goes_live(change: Change, delivery: Delivery) -> None:
    """Started, switched, promoted, recorded, in this order."""
    image = delivery.image("1")
    delivery.runtime.calls.clear()
    change.put(image, None)

    assert [call[0] for call in delivery.runtime.calls] == ["start", "switch"]
    assert delivery.promoted == ["1"]
    assert delivery.production().events == ("2023-11-14 22:13:20 version 1 went live",)
    assert change.checked().checks[0].passed


def test_the_version_before_stands_behind(change: Change, delivery: Delivery) -> None:
    """As fallback, as long as it runs and was not rejected."""
    change.put(delivery.image("1"), None)
    change.put(delivery.image("2"), delivery.production())
    assert (delivery.production().fallback, delivery.runtime.routes[PRODUCT].fallback) == ("1", "1")

    reject(PRODUCT, Rejection(version="2", to="1", reason="bad", at=NOW), delivery.store)
    change.put(delivery.image("3"), delivery.production())
    assert (delivery.production().fallback, delivery.runtime.routes[PRODUCT].fallback) == (None, None)

    image = delivery.image("4")
    delivery.runtime.routes.clear()
    delivery.runtime.stop(PRODUCT, "3")
    change.put(image, delivery.production())
    assert delivery.production().fallback is None


def test_a_version_that_was_lost_is_put_back(change: Change, delivery: Delivery) -> None:
    """With the fallback that it had, and a word about it."""
    change.put(delivery.image("1"), None)
    image = delivery.image("2")
    change.put(image, delivery.production())
    delivery.runtime.routes.clear()

    change.put(image, delivery.production())

    assert delivery.runtime.live(PRODUCT) == "2"
    assert delivery.production().fallback == "1"
    assert delivery.production().events[-1].endswith("version 2 was put back into production")


def test_a_switch_that_does_not_show_is_taken_back(change: Change, delivery: Delivery) -> None:
    """The old version answers again, the alias and the record stay, the error says all that."""
    change.put(delivery.image("1"), None)
    image = delivery.image("2")
    delivery.runtime.deaf.add("2")

    with pytest.raises(DeliveryError, match=r"0\.1 s after the switch to version 2 .* by none; switched back to 1"):
        change.put(image, delivery.production())

    assert delivery.runtime.live(PRODUCT) == "1"
    assert delivery.promoted == ["1"]
    assert delivery.production().version == "1"


def test_a_first_switch_that_does_not_show(change: Change, delivery: Delivery) -> None:
    """There is nothing to go back to, and nothing is recorded."""
    image = delivery.image("1")
    delivery.runtime.deaf.add("1")

    with pytest.raises(DeliveryError, match="answered by none: see the gateway's log"):
        change.put(image, None)
    assert delivery.store.read_record(PRODUCT, "production", Deployment) is None


def test_an_address_that_cannot_be_asked_is_asked_again(delivery: Delivery) -> None:
    """A gateway may take a moment: only the end of the patience decides, and its own words are in the error."""
    runtime = delivery.runtime
    image = delivery.image("1")
    answers = iter([DeliveryError("connection refused"), DeliveryError("connection refused")])

    def live(product: str) -> str | None:
        problem = next(answers, None)
        if problem is not None:
            raise problem
        return runtime.routes[product].champion if product in runtime.routes else None

    runtime.live = live  # type: ignore[method-assign]
    Change(PRODUCT, runtime, delivery.store, delivery.promote, NOW, 5.0).put(image, None)
    assert delivery.promoted == ["1"]

    answers = iter(DeliveryError("connection refused") for _ in range(1000))
    with pytest.raises(DeliveryError, match=r"by none \(connection refused\)"):
        Change(PRODUCT, runtime, delivery.store, delivery.promote, NOW, 0.05).put(image, None)


def test_leftovers_are_stopped(change: Change, delivery: Delivery) -> None:
    """Older and rejected versions are; the live one, its fallback and newer candidates go on."""
    for version in ("1", "2", "3", "4", "5"):
        delivery.image(version)
    change.stop_leftovers()
    assert len(delivery.runtime.running(PRODUCT)) == 5

    reject(PRODUCT, Rejection(version="5", to="3", reason="bad", at=NOW), delivery.store)
    change.record(delivery.image("3"), "2", None, "went live")
    change.stop_leftovers()

    assert set(delivery.runtime.running(PRODUCT)) == {"2", "3", "4"}


def test_records_are_bounded(change: Change, delivery: Delivery) -> None:
    """Twenty events, and fifty versions to return to, the newest ones."""
    image = delivery.image("1")
    before = None
    for number in range(1, 61):
        change.record(replace(image, version=str(number)), None, before, f"step {number}")
        before = delivery.production()

    kept = sorted(map(int, delivery.store.record_names(PRODUCT, "deployments")))
    assert kept == list(range(11, 61))
    assert len(delivery.production().events) == EVENTS
    assert delivery.production().events[-1].endswith("step 60")


def test_a_record_that_vanished(change: Change) -> None:
    """An error that says what to do."""
    with pytest.raises(DeliveryError, match="materialize production again"):
        change.checked()


def test_events_carry_their_time() -> None:
    """In UTC, newest last."""
    assert with_event(("before",), 0.0, "began") == ("before", "1970-01-01 00:00:00 began")


@pytest.mark.parametrize(
    ("recorded", "live", "passed"), [("1", "1", True), ("1", "2", False), ("1", None, False), (None, None, True)]
)
def test_serving_says_who_answers(recorded: str | None, live: str | None, passed: bool) -> None:
    """The check compares the record with the answer, and names both."""
    production = Deployment(environment="production", version=recorded, image="", since=0.0) if recorded else None
    check = serving(production, live)

    assert check.passed is passed
    assert check.summary == f"version {live or 'none'} answers users, {recorded or 'none'} is recorded"
