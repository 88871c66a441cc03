"""Requests for work: once while it goes on, again when it was lost, and not for ever."""

import dagster as dg
import pytest

from mlauto.errors import DataError, MlautoError
from mlauto.orchestration.names import ATTEMPT_TAG, WORK_TAG
from mlauto.orchestration.sensors.work import (
    ACTIVE,
    MAX_ATTEMPTS,
    Tick,
    Work,
    active,
    attempts_made,
    each_product,
    request,
)
from mlauto.product import ModelProduct
from mlauto_tests.orchestration.conftest import World, made_product

KEY = dg.AssetKey(["tides", "model"])
WORK = Work(name="tides/model/abc", selection=[KEY], partition="p", tags={"mlauto/reason": "new commit"})


def asked(instance: dg.DagsterInstance) -> dg.RunRequest:
    """The request there is now."""
    wanted = request(instance, WORK)
    assert isinstance(wanted, dg.RunRequest)
    return wanted


def test_a_request_says_everything_about_the_work(instance: dg.DagsterInstance) -> None:
    """Run key, selection, partition and tags; the attempt is part of the key, so that no key is consumed for ever."""
    wanted = asked(instance)

    assert wanted.run_key == "tides/model/abc#1"
    assert (wanted.asset_selection, wanted.partition_key) == ([KEY], "p")
    assert dict(wanted.tags) == {"mlauto/reason": "new commit", WORK_TAG: WORK.name, ATTEMPT_TAG: "1"}


def test_a_queued_run_is_active() -> None:
    """A run that waits for its turn counts as under way."""
    assert dg.DagsterRunStatus.QUEUED in ACTIVE


@pytest.mark.parametrize("status", [status for status in ACTIVE if status is not dg.DagsterRunStatus.QUEUED])
def test_work_that_goes_on_is_not_asked_for(world: World, status: dg.DagsterRunStatus) -> None:
    """From the queue to a cancellation under way, there is one run for one piece of work."""
    world.start(asked(world.instance), status=status)

    assert request(world.instance, WORK) == "tides/model/abc: in progress"
    assert active(world.instance, {WORK_TAG: WORK.name})
    assert not Tick(instance=world.instance, cursors={}).exhausted(WORK)


def test_lost_work_is_asked_for_again_and_then_given_up(world: World) -> None:
    """Each attempt has its own run key; after the last the sentence says what to do."""
    keys = []
    for _ in range(MAX_ATTEMPTS):
        wanted = asked(world.instance)
        keys.append(wanted.run_key)
        world.lose(wanted)
    tick = Tick(instance=world.instance, cursors={})

    assert keys == ["tides/model/abc#1", "tides/model/abc#2", "tides/model/abc#3"]
    assert attempts_made(world.instance, WORK) == 3
    assert tick.exhausted(WORK)
    assert not tick.ask(WORK)
    assert tick.requests == []
    assert tick.notes == ["tides/model/abc: gave up after 3 attempts; see the failed runs, then materialize it by hand"]


def test_each_piece_of_work_counts_for_itself(world: World) -> None:
    """Another name starts at its own first attempt."""
    world.lose(asked(world.instance))
    other = request(world.instance, Work(name="tides/model/xyz", selection=[KEY]))

    assert isinstance(other, dg.RunRequest)
    assert other.run_key == "tides/model/xyz#1"


PRODUCTS = [made_product(name) for name in ("ayr", "boston", "cork")]


def evaluated(instance: dg.DagsterInstance, evaluate: object, cursor: str | None = None) -> dg.SensorResult:
    result = each_product(dg.build_sensor_context(instance, cursor), PRODUCTS, evaluate)  # type: ignore[arg-type]
    assert isinstance(result, dg.SensorResult)
    return result


@pytest.mark.parametrize(
    "fault", [DataError("the folder is gone"), OSError("disk full"), KeyError("a bug"), ZeroDivisionError("another")]
)
def test_a_products_fault_does_not_stop_the_others(
    instance: dg.DagsterInstance, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with one, the others' requests are made; the log names the product."""

    def evaluate(tick: Tick, product: ModelProduct) -> None:
        if product.name == "boston":
            raise fault
        tick.ask(Work(name=product.name, selection=[KEY]))

    result = evaluated(instance, evaluate)

    assert [wanted.run_key for wanted in result.run_requests or ()] == ["ayr#1", "cork#1"]
    assert result.skip_reason is None


def test_a_tick_without_anything_to_lose_fails_with_every_fault(instance: dg.DagsterInstance) -> None:
    """Dagster shows the tick as failed, and each product's sentence is in it."""

    def evaluate(tick: Tick, product: ModelProduct) -> None:
        if product.name != "cork":
            raise DataError(f"landing/{product.name} cannot be read")

    with pytest.raises(MlautoError, match="ayr: landing/ayr cannot be read; boston: landing/boston cannot be read"):
        evaluated(instance, evaluate)


def test_what_products_remember_comes_back_in_the_next_tick(instance: dg.DagsterInstance) -> None:
    """The cursor holds a memory for each product."""

    def evaluate(tick: Tick, product: ModelProduct) -> None:
        memory = tick.cursors.setdefault(product.name, {})
        memory["seen"] = [*(memory.get("seen") or []), product.name]  # type: ignore[misc]

    first = evaluated(instance, evaluate)
    second = evaluated(instance, evaluate, first.cursor)
    seen: list[object] = []
    evaluated(instance, lambda tick, product: seen.append(tick.cursors[product.name]), second.cursor)

    assert seen == [{"seen": [name, name]} for name in ("ayr", "boston", "cork")]


@pytest.mark.parametrize("cursor", ["", "not JSON", "[]", '{"ayr": 3}'])
def test_a_cursor_that_is_not_ours_is_begun_anew(instance: dg.DagsterInstance, cursor: str) -> None:
    """Losing the memory costs a longer look, not the sensor."""
    seen: list[object] = []

    evaluated(instance, lambda tick, _: seen.append(tick.cursors), cursor)

    assert seen == [{}, {}, {}]


def test_a_tick_without_requests_says_why(instance: dg.DagsterInstance) -> None:
    """The skip reason holds the first notes; without any it says that nothing is new."""
    quiet = evaluated(instance, lambda tick, product: None)
    noted = evaluated(instance, lambda tick, product: tick.notes.append(f"{product.name} waits"))

    assert quiet.skip_reason == dg.SkipReason("nothing new")
    assert noted.skip_reason == dg.SkipReason("ayr waits; boston waits; cork waits")
