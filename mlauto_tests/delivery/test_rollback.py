"""Rollback: order, refusals, what is rejected, and candidates that are given up."""

import pytest

from mlauto.delivery.decisions import rejection
from mlauto.errors import DeliveryError
from mlauto_tests.delivery.conftest import NOW, PRODUCT, Delivery


def test_a_rollback(delivery: Delivery) -> None:
    """The version before answers, proven; the bad one is rejected and stopped; the alias goes back."""
    delivery.release("1")
    delivery.release("2")
    deployment = delivery.back(reason="p99 is 900 ms")

    assert (deployment.version, deployment.fallback, deployment.since) == ("1", None, NOW + 100)
    assert deployment.checks[0].passed
    assert deployment.events[-1].endswith("version 2 rolled back to 1: p99 is 900 ms")
    assert delivery.runtime.live(PRODUCT) == "1"
    assert delivery.runtime.running(PRODUCT) == {"1": "ready"}
    assert delivery.promoted == ["1", "2", "1"]
    assert getattr(rejection(PRODUCT, "2", delivery.store), "reason", None) == "p99 is 900 ms"


def test_a_rejected_version_does_not_come_back_by_itself(delivery: Delivery) -> None:
    """Not by another rollout; the next version replaces the good one."""
    delivery.release("1")
    delivery.release("2")
    delivery.back()
    with pytest.raises(DeliveryError, match=r"version 2 was rolled back \(slow\) and does not come back by itself"):
        delivery.release("2")
    assert delivery.runtime.live(PRODUCT) == "1"

    deployment = delivery.release("3")
    assert (deployment.version, deployment.fallback) == ("3", "1")
    assert set(delivery.runtime.running(PRODUCT)) == {"1", "3"}


def test_a_rollback_long_after_the_bake_time(delivery: Delivery) -> None:
    """The version before is started again from its image."""
    for version in ("1", "2"):
        delivery.release(version, bake=0.0)
    assert set(delivery.runtime.running(PRODUCT)) == {"2"}

    assert delivery.back().version == "1"


def test_rollbacks_go_on_to_older_versions(delivery: Delivery) -> None:
    """Past what was rejected, and only to what was in production; then there is nothing left."""
    for version in ("1", "2", "3"):
        delivery.release(version)
    delivery.test("4")
    first, second = delivery.back(), delivery.back()
    assert [first.version, second.version] == ["2", "1"]
    assert [first.rollbacks, second.rollbacks] == [1, 2]

    with pytest.raises(DeliveryError, match="no earlier version than 1 was good in production"):
        delivery.back()
    assert delivery.runtime.live(PRODUCT) == "1"
    assert rejection(PRODUCT, "1", delivery.store) is None


def test_a_person_may_name_the_version(delivery: Delivery) -> None:
    """An older one, or a rejected newer one, which is then rejected no more; the older one never was bad."""
    for version in ("1", "2", "3"):
        delivery.release(version)
    assert delivery.back(to="1").version == "1"
    assert rejection(PRODUCT, "2", delivery.store) is None

    assert delivery.back(to="3").version == "3"
    assert rejection(PRODUCT, "3", delivery.store) is None
    assert rejection(PRODUCT, "1", delivery.store) is None
    assert delivery.release("3").version == "3"


@pytest.mark.parametrize(
    ("to", "sentence"), [("2", "version 2 is in production already"), ("9", "version 9 has no image")]
)
def test_rollbacks_that_cannot_be(delivery: Delivery, to: str, sentence: str) -> None:
    """Each says why, and production keeps what it had."""
    with pytest.raises(DeliveryError, match="nothing is in production"):
        delivery.back()
    delivery.release("1")
    delivery.release("2")
    before = delivery.production()

    with pytest.raises(DeliveryError, match=sentence):
        delivery.back(to=to)
    assert delivery.production() == before


def test_a_target_that_does_not_start(delivery: Delivery) -> None:
    """Production keeps what it had: the bad version is not rejected before there is something better."""
    delivery.release("1", bake=0.0)
    delivery.release("2", bake=0.0)
    delivery.runtime.broken["1"] = "no memory"

    with pytest.raises(DeliveryError, match="no memory"):
        delivery.back()
    assert rejection(PRODUCT, "2", delivery.store) is None
    assert delivery.runtime.live(PRODUCT) == "2"


def test_a_rollback_that_does_not_show_is_finished_later(delivery: Delivery) -> None:
    """Users are answered by what was there; a newer version ends the matter, the same one finishes the rollback."""
    delivery.release("1")
    delivery.release("2")
    delivery.runtime.deaf.add("1")
    with pytest.raises(DeliveryError, match="switched back to 2"):
        delivery.back()
    assert delivery.runtime.live(PRODUCT) == "2"
    delivery.runtime.deaf.clear()

    assert delivery.release("2").version == "1"
    assert delivery.runtime.live(PRODUCT) == "1"


def test_a_newer_version_makes_a_rollback_needless(delivery: Delivery) -> None:
    """The rejected version is not kept as fallback, and is stopped."""
    delivery.release("1")
    delivery.release("2")
    delivery.runtime.deaf.add("1")
    with pytest.raises(DeliveryError, match="switched back"):
        delivery.back()

    deployment = delivery.release("3")

    assert (deployment.version, deployment.fallback) == ("3", None)
    assert set(delivery.runtime.running(PRODUCT)) == {"3"}
