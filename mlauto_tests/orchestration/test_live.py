"""What is observed of the live version, and what a product's runs say about an incident."""

import time
from dataclasses import replace

import pytest

from mlauto.monitoring.incidents import record_verdict
from mlauto.orchestration.attempts import Retrainings
from mlauto.orchestration.live import observe, with_action
from mlauto.records import Action, Commit, Status, VerifiedCommit
from mlauto.runtime.base import Route
from mlauto_tests.orchestration.conftest import World, made_product

TRUTH = [float(number % 24) for number in range(40)]
BAD = [y + 9.0 for y in TRUTH]


def test_before_anything_is_released_there_is_nothing_to_judge(world: World) -> None:
    """No production, no verdict on quality."""
    seen = observe(world.platform, world.product)

    assert seen.production is None
    assert seen.metrics.problem is not None
    assert seen.verdict.status is Status.UNKNOWN


def test_the_live_version_is_judged_by_its_own_reference(released: World) -> None:
    """Metrics are those of its labelled requests, drift is against what it was trained on."""
    released.serve(TRUTH, BAD)

    seen = observe(released.platform, released.product)

    assert seen.production == released.production()
    assert seen.metrics.version == "1"
    assert seen.metrics.quality is not None
    assert seen.metrics.quality.value == pytest.approx(9.0)
    if seen.metrics.drifted is not None:
        assert set(seen.metrics.drifted.shown) <= {"x", "hour", "prediction"}
    assert seen.verdict.status is Status.DEGRADED


@pytest.mark.parametrize("unreachable", [None, "another program listens on port 8900"])
def test_an_address_that_does_not_answer_gives_an_error(released: World, unreachable: str | None) -> None:
    """With the reason, and without figures from the log."""
    released.serve(TRUTH, TRUTH)
    released.runtime.routes.clear()
    released.runtime.unreachable = unreachable

    seen = observe(released.platform, released.product)

    assert seen.verdict.status is Status.ERROR
    assert seen.verdict.cause == (unreachable or "the gateway does not answer: it is being started again")
    assert seen.metrics.requests == 0


def test_new_code_is_a_reason_as_well(released: World) -> None:
    """A commit that changes the tree can help; the same tree under another commit cannot."""
    released.serve(TRUTH, BAD)
    seen = observe(released.platform, released.product)
    commit = released.model().commit
    actions = []
    for tree in (commit.tree, "0" * 64):
        changed = Commit(sha="f" * 40, tree=tree, subject="", author="", time=2.0)
        released.store.write_record("tides", "verified_commit", VerifiedCommit(commit=changed, branch="main"))
        actions.append(with_action(released.platform, released.product, seen, Retrainings(), delivering=False).action)

    assert actions == [Action.WAIT_FOR_DATA, Action.RETRAIN]


def test_a_lost_retraining_needs_no_pause(released: World) -> None:
    """One that ended by itself does."""
    released.serve(TRUTH, BAD)
    released.gather()
    seen = observe(released.platform, released.product)
    lost = Retrainings(attempts=1, last=time.time(), lost="tides/1/retraining/002")

    actions = [
        with_action(released.platform, released.product, seen, what, delivering=False).action
        for what in (lost, replace(lost, lost=None))
    ]

    assert actions == [Action.RETRAIN, Action.COOL_DOWN]


def test_a_better_version_is_one_whose_last_window_was_better(released: World) -> None:
    """The one that was live when the incident began; none when the successor does better, or it is the same one."""
    released.products = [made_product(monitoring={"every": "0s", "min_labels": 20, "window": 40, "max_attempts": 1})]
    released.serve(TRUTH, BAD)
    first = observe(released.platform, released.product)
    record_verdict(released.store, "tides", first.verdict, version="1", attempts=0, now=1.0)
    spent = Retrainings(attempts=1, last=1.0)
    same = with_action(released.platform, released.product, first, spent, delivering=False)

    production = released.production()
    assert production is not None
    model = released.train()
    released.store.write_record("tides", "production", replace(production, version=model.version, since=1.0))
    released.runtime.routes["tides"] = Route(model.version)
    released.serve(TRUTH, [y + 20.0 for y in TRUTH])
    worse = with_action(
        released.platform, released.product, observe(released.platform, released.product), spent, delivering=False
    )
    released.serve(TRUTH, [y + 5.0 for y in TRUTH])
    best = with_action(
        released.platform, released.product, observe(released.platform, released.product), spent, delivering=False
    )

    assert same.action is Action.ESCALATE
    assert (worse.action, "version 1 did better" in worse.cause) == (Action.ROLL_BACK, True)
    assert best.action is Action.ESCALATE
