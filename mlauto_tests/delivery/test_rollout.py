"""Rollout and rollback: order, refusals, modes, bake time, and being killed between any two steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlauto.delivery.decisions import approve, rejection
from mlauto.delivery.exclusive import BusyError, exclusive
from mlauto.delivery.progress import Plan
from mlauto.delivery.rollout import retire_expired, roll_out, serving_expected_version
from mlauto.delivery.stages import Way
from mlauto.errors import DeliveryError
from mlauto.records import Deployment
from mlauto.store import Store
from mlauto_tests.delivery.conftest import NOW, PRODUCT, Delivery, Fuse, FusedRuntime, FusedStore, Killed


def retire(delivery: Delivery, *, bake: float, after: float) -> Deployment | None:
    return retire_expired(PRODUCT, delivery.runtime, delivery.store, bake=bake, now=NOW + after)


def test_versions_follow_one_another(delivery: Delivery) -> None:
    """Each with the one before as fallback; what is beyond both is stopped; the alias follows."""
    for version in ("1", "2", "3"):
        deployment = delivery.release(version)

    assert (deployment.version, deployment.fallback, deployment.environment) == ("3", "2", "production")
    assert [event.split(" ", 2)[2] for event in deployment.events] == [
        "version 1 went live",
        "version 2 replaced 1",
        "version 3 replaced 2",
    ]
    assert deployment.checks == (serving_expected_version(PRODUCT, delivery.runtime, delivery.store),)
    assert deployment == delivery.production()
    assert set(delivery.runtime.running(PRODUCT)) == {"2", "3"}
    assert delivery.promoted == ["1", "2", "3"]


def test_again_changes_nothing(delivery: Delivery) -> None:
    """No second promotion, no event, the same time."""
    first = delivery.release("1")

    assert delivery.release("1", now=NOW + 50) == first
    assert delivery.promoted == ["1"]


def test_a_live_server_that_lost_the_version_gets_it_back(delivery: Delivery) -> None:
    """The record alone is no proof: the public address is asked."""
    delivery.release("1")
    delivery.runtime.routes.clear()
    assert not serving_expected_version(PRODUCT, delivery.runtime, delivery.store).passed

    assert delivery.release("1").events[-1].endswith("put back into production")
    assert serving_expected_version(PRODUCT, delivery.runtime, delivery.store).passed


def test_an_older_version_does_not_replace_a_newer_one(delivery: Delivery) -> None:
    """A late rollout leaves production as it is, and says so; nothing is written. Ten is newer than nine."""
    delivery.release("10")
    before = delivery.production()
    deployment = delivery.release("9")

    assert deployment.version == "10"
    assert deployment.events[-1] == "version 9 was not rolled out: 10 is newer"
    assert deployment.checks[0].passed
    assert delivery.production() == before


def test_a_mode_that_only_suggests(delivery: Delivery) -> None:
    """Whatever is approved, nothing is rolled out; it is said that something could be."""
    delivery.release("1")
    approve(PRODUCT, "1", delivery.store, by="ann", now=NOW)
    delivery.image("2")
    approve(PRODUCT, "2", delivery.store, by="ann", now=NOW)

    deployment = delivery.release("2", mode="suggest")

    assert deployment.version == delivery.runtime.live(PRODUCT) == "1"
    assert deployment.events[-1] == "version 2 is ready for production; delivery mode suggest only says so"


def test_modes_that_wait_for_people(delivery: Delivery) -> None:
    """Nothing is switched before the approval; then it is."""
    with pytest.raises(DeliveryError, match=r"version 1 waits for approval .* mlauto approve bikes"):
        delivery.release("1", mode="approve")
    assert delivery.runtime.live(PRODUCT) is None
    approve(PRODUCT, "1", delivery.store, by="ann", now=NOW)
    assert delivery.release("1", mode="approve").version == "1"
    assert delivery.release("1", mode="approve").events[-1].endswith("went live")

    waiting = delivery.release("2", mode="approve")
    assert waiting.version == "1"
    assert "version 2 waits for approval" in waiting.events[-1]
    assert delivery.runtime.live(PRODUCT) == "1"
    assert set(delivery.runtime.running(PRODUCT)) == {"1", "2"}


def test_only_what_was_verified_is_rolled_out(delivery: Delivery) -> None:
    """A failed check, or the test deployment of something else, is refused by name."""
    image, test = delivery.image("1"), delivery.test("1")
    failed = replace(test, checks=(replace(test.checks[0], passed=False, summary="too slow"), *test.checks[1:]))
    other = replace(test, image="other")
    for wrong, sentence in ((failed, "it failed contract: too slow"), (other, "materialize test_deployment")):
        with pytest.raises(DeliveryError, match=sentence):
            roll_out(
                PRODUCT,
                image,
                wrong,
                delivery.runtime,
                delivery.store,
                delivery.promote,
                mode="auto",
                way=Way(),
                now=NOW,
            )
    assert delivery.runtime.live(PRODUCT) is None


def test_the_bake_time(delivery: Delivery) -> None:
    """The fallback is warm until it is over, then it is stopped, once."""
    delivery.release("1")
    delivery.release("2")
    assert retire(delivery, bake=60.0, after=59.0) is None
    assert set(delivery.runtime.running(PRODUCT)) == {"1", "2"}

    after = retire(delivery, bake=60.0, after=60.0)

    assert after is not None
    assert (after.version, after.fallback, after.since) == ("2", None, NOW)
    assert after.events[-1].endswith("version 1 retired after 60 s of baking")
    assert set(delivery.runtime.running(PRODUCT)) == {"2"}
    assert retire(delivery, bake=60.0, after=61.0) is None


def test_no_bake_time_keeps_no_fallback(delivery: Delivery) -> None:
    """With zero seconds the version before is gone when the rollout ends."""
    delivery.release("1", bake=0.0)

    assert delivery.release("2", bake=0.0).fallback is None
    assert set(delivery.runtime.running(PRODUCT)) == {"2"}


def test_nothing_is_retired_while_production_changes(delivery: Delivery) -> None:
    """A tick that comes in the middle of a rollout keeps its hands off."""
    assert retire(delivery, bake=0.0, after=0.0) is None
    delivery.release("1")
    delivery.release("2")
    with exclusive(PRODUCT, delivery.store, wait=0):
        assert retire(delivery, bake=0.0, after=1.0) is None
        assert issubclass(BusyError, DeliveryError)

    assert set(delivery.runtime.running(PRODUCT)) == {"1", "2"}


def fused(store: Store, tree: Path) -> Delivery:
    """A delivery of which every change is a step, with versions 1 and 2 released and 3 verified."""
    fuse = Fuse()
    runtime, records = FusedRuntime(), FusedStore(store.home)
    runtime.fuse = records.fuse = fuse
    delivery = Delivery(records, runtime, tree, fuse=fuse)
    delivery.release("1")
    delivery.release("2")
    delivery.image("3")
    delivery.test("3")
    fuse.count = 0
    return delivery


def attempt(delivery: Delivery, what: str) -> Deployment:
    if what == "rollback":
        return delivery.back()
    image, test = delivery.image("3"), delivery.store.read_record(PRODUCT, "test_deployment", Deployment)
    assert test is not None
    return roll_out(
        PRODUCT,
        image,
        test,
        delivery.runtime,
        delivery.store,
        delivery.promote,
        mode="auto",
        way=Way(plan=Plan(bake=60.0)),
        now=NOW + 10,
        patience=0.1,
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", ["rollout", "rollback"])
def test_killed_between_any_two_steps(tmp_path: Path, tree: Path, what: str, after: bool) -> None:
    """Wherever the process dies, users are answered, and doing it again ends where an undisturbed one ends."""
    undisturbed = fused(Store(tmp_path / "undisturbed"), tree)
    attempt(undisturbed, what)
    steps = undisturbed.fuse.count
    assert steps >= 5
    for step in range(1, steps + 1):
        delivery = fused(Store(tmp_path / f"{what}-{step}"), tree)
        delivery.fuse.step, delivery.fuse.after = step, after
        with pytest.raises(Killed):
            attempt(delivery, what)
        delivery.fuse.step = 0
        assert delivery.runtime.live(PRODUCT) in {"1", "2", "3"}

        if what == "rollout" or delivery.production().version == "2":
            attempt(delivery, what)

        expected = undisturbed.production()
        found = delivery.production()
        assert (found.version, found.fallback, found.image) == (expected.version, expected.fallback, expected.image)
        assert delivery.runtime.live(PRODUCT) == expected.version
        assert delivery.promoted[-1] == expected.version
        assert len(found.events) == len(expected.events)
        assert serving_expected_version(PRODUCT, delivery.runtime, delivery.store).passed


def test_a_rollback_that_was_killed_is_not_undone(tmp_path: Path, tree: Path) -> None:
    """Whatever rolls out next, with the same version: the rollback is finished, the bad version does not return."""
    for step in range(1, 12):
        delivery = fused(Store(tmp_path / str(step)), tree)
        attempt(delivery, "rollout")
        delivery.fuse.count, delivery.fuse.step = 0, step
        try:
            delivery.back()
        except Killed:
            rejected = rejection(PRODUCT, "3", delivery.store) is not None
            delivery.fuse.step = 0
            if rejected and delivery.production().version == "3":
                assert attempt(delivery, "rollout").version == "2"
            assert delivery.runtime.live(PRODUCT) == ("2" if rejected else "3")
        else:
            assert delivery.runtime.live(PRODUCT) == "2"
            return
    pytest.fail("a rollback has fewer than twelve steps")
