"""Stages carried out: routes, rejections, history, and being killed between any two steps of every stage."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mlauto.delivery.decisions import rejection
from mlauto.delivery.history import changes
from mlauto.delivery.progress import Plan, Rollout, Stage
from mlauto.delivery.rollback import abort
from mlauto.delivery.rollout import retire_expired, waits_for
from mlauto.delivery.stages import Way, current_rollout, is_due
from mlauto.errors import DeliveryError
from mlauto.records import Commit, Deployment
from mlauto.runtime.base import Route
from mlauto.store import Store
from mlauto_tests.delivery.conftest import NOW, PRODUCT, Delivery, Fuse, FusedRuntime, FusedStore, Killed, make_evidence

PLAN = Plan(shadow=10.0, canary=(5.0, 25.0), step=10.0, bake=60.0)
FAULTY = {"requests": {"2": 10}, "errors": {"2": 5}}


def way(**evidence: object) -> Way:
    return Way(plan=PLAN, gather=lambda rollout: make_evidence(**evidence))


def begin(delivery: Delivery) -> Deployment:
    """Version 1 is live, 2 has begun its way."""
    delivery.release("1")
    return delivery.release("2", way=way())


def rollout_of(delivery: Delivery) -> Rollout:
    found = current_rollout(PRODUCT, delivery.store)
    assert found is not None
    return found


def due(delivery: Delivery, after: float, **evidence: object) -> str | None:
    found = is_due(PRODUCT, delivery.runtime, delivery.store, way(**evidence), now=NOW + after)
    return found[1] if found else None


def test_the_whole_way(delivery: Delivery) -> None:
    """The champion stays in production until the last stage; alias, fallback and copies follow."""
    assert begin(delivery).version == "1"
    routes = [delivery.runtime.route(PRODUCT)]
    for after in (10.0, 20.0, 30.0):
        assert due(delivery, after - 1) is None
        assert due(delivery, after) in {"canary", "baking"}
        deployment = delivery.step(way(), after)
        routes.append(delivery.runtime.route(PRODUCT))
        assert due(delivery, after) is None

    assert routes == [
        Route("1", shadow="2"),
        Route("1", None, "2", 5.0, "2"),
        Route("1", None, "2", 25.0, "2"),
        Route("2", "1", shadow="1"),
    ]
    assert (deployment.version, deployment.fallback, deployment.since) == ("2", "1", NOW + 30)
    assert delivery.promoted == ["1", "2"]
    assert [event.split(" ", 2)[2] for event in deployment.events] == [
        "version 1 went live",
        "version 2 shadow: verified, gets copies of requests for 10 s",
        "version 2 canary of 5 %: nothing against it in 10 s",
        "version 2 canary of 25 %: nothing against it in 10 s",
        "version 2 baking: nothing against it in 10 s",
        "version 2 replaced 1",
    ]
    assert [(c.champion, c.canary, c.percent, c.shadow) for c in changes(delivery.store, PRODUCT)] == [
        ("1", None, 0.0, None),
        ("1", None, 0.0, "2"),
        ("1", "2", 5.0, "2"),
        ("1", "2", 25.0, "2"),
        ("2", None, 0.0, None),
    ]


def test_the_bake_time_ends_it(delivery: Delivery) -> None:
    """The fallback is stopped, and gets no copies any more."""
    begin(delivery)
    for after in (10.0, 20.0, 30.0):
        delivery.step(way(), after)
    assert rollout_of(delivery).stage is Stage.BAKING

    retire_expired(PRODUCT, delivery.runtime, delivery.store, bake=60.0, now=NOW + 90)

    assert rollout_of(delivery).stage is Stage.PROMOTED
    assert delivery.runtime.route(PRODUCT) == Route("2")
    assert set(delivery.runtime.running(PRODUCT)) == {"2"}


def test_what_the_watch_came_to_is_on_record(delivery: Delivery) -> None:
    """When the fallback is stopped, the event and the rollout say how long it was kept and why no longer."""
    begin(delivery)
    for after in (10.0, 20.0, 30.0):
        delivery.step(way(), after)

    delivery.release("2", way=replace(way(), outcome="no loss is proven"), now=NOW + 430)

    assert rollout_of(delivery).stage is Stage.PROMOTED
    assert rollout_of(delivery).why == "version 1 retired after 400 s of baking: no loss is proven"
    assert delivery.production().events[-1].endswith("after 400 s of baking: no loss is proven")


@pytest.mark.parametrize("dead", [False, True])
def test_lost_copies_to_the_former_champion_come_back(delivery: Delivery, dead: bool) -> None:
    """The gateway lost its route or the process; the next run restores both, and asks for nothing more."""
    begin(delivery)
    for after in (10.0, 20.0, 30.0):
        delivery.step(way(), after)
    assert due(delivery, 31.0) is None
    delivery.runtime.switch(PRODUCT, Route("2"))
    if dead:
        delivery.runtime.stop(PRODUCT, "1")
    assert due(delivery, 32.0) == "route"

    delivery.release("2", way=way(), now=NOW + 32)

    assert delivery.runtime.route(PRODUCT) == Route("2", "1", shadow="1")
    assert delivery.runtime.running(PRODUCT) == {"1": "ready", "2": "ready"}
    assert due(delivery, 33.0) is None
    assert rollout_of(delivery).settled
    assert rollout_of(delivery).since == NOW + 30


def test_copies_that_are_not_wanted_are_not_missed(delivery: Delivery) -> None:
    """Without a bake time, after a rollback, and once the fallback is retired, nothing is due."""
    begin(delivery)
    for after in (10.0, 20.0, 30.0):
        delivery.step(way(), after)
    delivery.runtime.switch(PRODUCT, Route("2", "1"))
    short = Way(plan=replace(PLAN, bake=0.0))

    assert is_due(PRODUCT, delivery.runtime, delivery.store, short, now=NOW + 31) is None
    retire_expired(PRODUCT, delivery.runtime, delivery.store, bake=60.0, now=NOW + 90)
    assert due(delivery, 91.0) is None


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_proven_fault_aborts(delivery: Delivery, steps: int) -> None:
    """The candidate is rejected, leaves the route and is stopped; the champion and its alias never changed."""
    begin(delivery)
    for number in range(steps):
        delivery.step(way(), 10.0 * (number + 1))
    assert due(delivery, 10.0 * steps, **FAULTY) == "aborted"

    deployment = delivery.step(way(**FAULTY), 10.0 * steps + 1)

    assert deployment.version == delivery.runtime.live(PRODUCT) == "1"
    assert deployment.checks[0].passed
    assert delivery.runtime.route(PRODUCT) == Route("1")
    assert set(delivery.runtime.running(PRODUCT)) == {"1"}
    assert delivery.promoted == ["1"]
    assert "it failed 5 of 10 requests" in deployment.events[-1]
    rejected = rejection(PRODUCT, "2", delivery.store)
    assert rejected is not None
    assert rejected.to == "1"
    assert changes(delivery.store, PRODUCT)[-1].canary is None
    with pytest.raises(DeliveryError, match="version 2 was rolled back"):
        delivery.release("2", way=way())
    assert due(delivery, 1000.0) is None


def test_a_candidate_that_does_not_start_any_more(delivery: Delivery) -> None:
    """It is aborted, not tried for ever."""
    begin(delivery)
    delivery.runtime.broken["2"] = "out of memory"

    delivery.step(way(), 10.0)

    assert rollout_of(delivery).stage is Stage.ABORTED
    assert "out of memory" in rollout_of(delivery).why
    assert delivery.runtime.live(PRODUCT) == "1"


def test_a_newer_candidate_supersedes(delivery: Delivery) -> None:
    """The older one is stopped, not rejected; its late run changes nothing."""
    begin(delivery)
    delivery.step(way(), 10.0)
    delivery.image("3")
    delivery.test("3")
    assert set(delivery.runtime.running(PRODUCT)) == {"1", "2", "3"}  # it answers users until it is superseded

    delivery.release("3", way=way(), now=NOW + 12)

    assert delivery.runtime.route(PRODUCT) == Route("1", shadow="3")
    assert set(delivery.runtime.running(PRODUCT)) == {"1", "3"}
    assert rejection(PRODUCT, "2", delivery.store) is None
    late = delivery.release("2", way=way(), now=NOW + 13)
    assert late.events[-1] == "version 2 was not rolled out: 3 is newer and on its way"
    assert rollout_of(delivery).version == "3"


@pytest.fixture
def beside(delivery: Delivery) -> Delivery:
    """Version 2 has begun its way; 3 is of the same code, 4 of other code."""
    for version in ("2", "3"):
        delivery.store.write_record(PRODUCT, f"models/{version}", delivery.model(version))
    commit = Commit(sha="e" * 40, tree="f" * 64, subject="another", author="somebody", time=2.0)
    delivery.store.write_record(PRODUCT, "models/4", delivery.model("4", commit=commit))
    begin(delivery)
    return delivery


def test_a_candidate_of_the_same_code_waits(beside: Delivery) -> None:
    """New data faster than a rollout: the first one gets to users before the newest begins, which its run helps."""
    for after in (10.0, 20.0):
        waiting = beside.release("3", way=way(), now=NOW + after)

        assert waiting.events[-1] == "version 3 waits until the rollout of 2 has ended"
        assert "waits" not in beside.production().events[-1]
        assert rollout_of(beside).version == "2"
        assert set(beside.runtime.running(PRODUCT)) >= {"1", "2"}

    assert beside.release("3", way=way(), now=NOW + 30).version == "2"
    beside.release("3", way=way(), now=NOW + 31)
    assert (rollout_of(beside).version, rollout_of(beside).champion) == ("3", "2")


def test_a_faulty_candidate_is_not_waited_for_any_longer(beside: Delivery) -> None:
    """The run of the newer one finds out, and the next one begins its rollout."""
    beside.release("3", way=way(**FAULTY), now=NOW + 5)
    assert rejection(PRODUCT, "2", beside.store) is not None

    beside.release("3", way=way(), now=NOW + 6)

    assert (rollout_of(beside).version, rollout_of(beside).champion) == ("3", "1")


def test_who_does_not_wait(beside: Delivery) -> None:
    """New code, what people approve, who replaces a bad champion, and whoever follows one that cannot go on."""
    ask = partial(waits_for, PRODUCT, store=beside.store)
    assert ask("3", mode="auto", hurry=False) == rollout_of(beside)
    assert ask("4", mode="auto", hurry=False) is None
    assert ask("3", mode="approve", hurry=False) is None
    assert ask("3", mode="auto", hurry=True) is None
    assert ask("2", mode="auto", hurry=False) is None

    beside.store.record_path(PRODUCT, "images/2").unlink()
    assert ask("3", mode="auto", hurry=False) is None


def test_a_lost_route_is_restored(delivery: Delivery) -> None:
    """Somebody, or a gateway that lost its state, took the candidate out of the route."""
    begin(delivery)
    delivery.step(way(), 10.0)
    delivery.runtime.switch(PRODUCT, Route("1"))
    assert due(delivery, 11.0) == "route"

    delivery.step(way(), 11.0)

    assert delivery.runtime.route(PRODUCT) == Route("1", None, "2", 5.0, "2")
    assert due(delivery, 11.0) is None


def test_a_person_gives_up(delivery: Delivery) -> None:
    """The candidate is rejected with the person's reason; without a candidate there is nothing to give up."""
    delivery.release("1")
    assert abort(PRODUCT, delivery.runtime, delivery.store, delivery.promote, reason="no", now=NOW) is None
    delivery.release("2", way=way())

    deployment = abort(PRODUCT, delivery.runtime, delivery.store, delivery.promote, reason="odd answers", now=NOW + 5)

    assert deployment is not None
    assert deployment.version == "1"
    assert deployment.events[-1].endswith("version 2 aborted: odd answers")
    assert set(delivery.runtime.running(PRODUCT)) == {"1"}


def test_a_rollback_ends_what_is_under_way(delivery: Delivery) -> None:
    """The champion that the candidate is compared with is gone; the candidate is free to begin again."""
    delivery.release("1")
    delivery.release("2")
    delivery.release("3", way=way())

    assert delivery.back().version == "1"

    assert rollout_of(delivery).stage is Stage.SUPERSEDED
    assert set(delivery.runtime.running(PRODUCT)) == {"1"}
    delivery.release("3", way=way())
    assert delivery.runtime.route(PRODUCT) == Route("1", shadow="3")


def test_a_rollback_of_what_bakes(delivery: Delivery) -> None:
    """The rollout says how it ended."""
    begin(delivery)
    for after in (10.0, 20.0, 30.0):
        delivery.step(way(), after)

    delivery.back()

    assert rollout_of(delivery).stage is Stage.ROLLED_BACK
    assert delivery.runtime.route(PRODUCT) == Route("1")


def fused(store: Store, tree: Path, before: float) -> Delivery:
    """Version 2 on its way, so many seconds after it began, with every change a step of the fuse."""
    fuse, runtime, records = Fuse(), FusedRuntime(), FusedStore(store.home)
    runtime.fuse = records.fuse = fuse
    delivery = Delivery(records, runtime, tree, fuse=fuse)
    begin(delivery)
    for number in range(int(before // 10)):
        delivery.step(way(), 10.0 * (number + 1))
    fuse.count = 0
    return delivery


def onwards(delivery: Delivery, at: float) -> None:
    delivery.step(way(), at)


def faulty(delivery: Delivery, at: float) -> None:
    delivery.step(way(**FAULTY), at)


@pytest.mark.parametrize("killed", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("action", "before"), [(onwards, 0.0), (onwards, 10.0), (onwards, 20.0), (faulty, 0.0), (faulty, 10.0)]
)
def test_killed_between_any_two_steps(
    tmp_path: Path, tree: Path, action: Callable[[Delivery, float], None], before: float, killed: bool
) -> None:
    """Wherever the process dies the rollout is due again, and then ends where an undisturbed one ends."""
    undisturbed = fused(Store(tmp_path / "undisturbed"), tree, before)
    action(undisturbed, before + 10)
    steps = undisturbed.fuse.count
    assert steps >= 4
    for step in range(1, steps + 1):
        delivery = fused(Store(tmp_path / f"{step}"), tree, before)
        delivery.fuse.step, delivery.fuse.after = step, killed
        with pytest.raises(Killed):
            action(delivery, before + 10)
        delivery.fuse.step = 0
        assert delivery.runtime.live(PRODUCT) in {"1", "2"}

        if due(delivery, before + 11, **(FAULTY if action is faulty else {})):
            action(delivery, before + 11)

        found, expected = rollout_of(delivery), rollout_of(undisturbed)
        assert (found.stage, found.percent, found.settled) == (expected.stage, expected.percent, True)
        assert delivery.runtime.route(PRODUCT) == undisturbed.runtime.route(PRODUCT)
        assert delivery.production().version == undisturbed.production().version
        assert delivery.promoted[-1] == undisturbed.promoted[-1]
        assert len(delivery.production().events) == len(undisturbed.production().events)
        assert set(delivery.runtime.running(PRODUCT)) == set(undisturbed.runtime.running(PRODUCT))
        assert (rejection(PRODUCT, "2", delivery.store) is not None) == (action is faulty)
