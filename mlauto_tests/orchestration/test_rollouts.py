"""Rollouts that go on by themselves, from tick to tick, judged by what the prediction log shows."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from mlauto.delivery.decisions import approved
from mlauto.delivery.progress import Rollout, Stage
from mlauto.delivery.stages import current_rollout
from mlauto.orchestration import rollouts
from mlauto.orchestration.names import ROLLBACK_TAG, ROLLBACK_TO_TAG, WORK_TAG
from mlauto.runtime.base import Route
from mlauto.serving.predictionlog import PredictionLog
from mlauto_tests.delivery.conftest import make_evidence
from mlauto_tests.orchestration.conftest import World, made_product

STAGES: dict[str, Any] = {"shadow": "1h", "canary": [20, 50], "step": "1h", "bake": "1h"}
TRUTH = [float(number % 24) for number in range(60)]


@pytest.fixture
def careful(released: World) -> World:
    """Version 1 is live, and version 2 has begun its way by stages."""
    released.products = [made_product(delivery=STAGES)]
    released.train()
    released.loop("live")
    return released


def rollout_of(world: World) -> Rollout:
    found = current_rollout("tides", world.store)
    assert found is not None
    return found


def later(world: World) -> None:
    """The stage has lasted its time."""
    found = rollout_of(world)
    world.store.write_record("tides", "rollout", replace(found, since=found.since - 4000))


def copies(world: World, said: list[float], champion: list[float], *, by: str, user: str) -> None:
    """Users' requests, the copies' answers, and the truth."""
    log = PredictionLog(world.settings.product_home("tides") / "predictions")
    for truth, mine, theirs in zip(TRUTH, said, champion, strict=True):
        name = log.new_id()
        log.answered(name, version=user, seconds=0.005, rows=b'[{"x": 0.0, "hour": 1}]', predictions=[theirs])
        log.shadowed(name, version=by, seconds=0.005, predictions=[mine])
        log.labelled(name, [truth])
    log.close()


def test_stage_follows_stage(careful: World) -> None:
    """Each tick after a stage's time asks for one run of production; between them nothing is asked for."""
    routes = [careful.runtime.route("tides")]
    names = []
    for _ in range(3):
        assert careful.tick("live").run_requests == []
        later(careful)
        [request] = careful.loop("live")
        names.append(request.tags[WORK_TAG])
        assert [key.path[-1] for key in request.asset_selection or ()] == ["production"]
        routes.append(careful.runtime.route("tides"))

    assert routes == [
        Route("1", shadow="2"),
        Route("1", None, "2", 20.0, "2"),
        Route("1", None, "2", 50.0, "2"),
        Route("2", "1", shadow="1"),
    ]
    first = int(names[0].split("/")[3])
    assert names == [
        f"tides/rollout/2/{first:06d}/canary",
        f"tides/rollout/2/{first + 1:06d}/canary",
        f"tides/rollout/2/{first + 2:06d}/baking",
    ]
    event = careful.instance.get_latest_materialization_event(dg.AssetKey(["tides", "production"]))
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert str(shown["rollout"].value).startswith("version 2 baking: nothing against it")
    assert "copied requests" in str(shown["rollout_evidence"].value)


def test_a_worse_candidate_is_given_up(careful: World) -> None:
    """Proven on the requests that both predicted; it is rejected, and nothing is asked for any more."""
    copies(careful, [y + 3.0 + y % 2 for y in TRUTH], [y + 0.1 for y in TRUTH], by="2", user="1")

    [request] = careful.loop("live")

    assert request.tags[WORK_TAG].endswith("/aborted")
    assert careful.runtime.route("tides") == Route("1")
    assert "its mae is worse than that of version 1" in rollout_of(careful).why
    assert careful.tick("live").run_requests == []


def test_a_loss_after_the_rollout_is_undone(careful: World) -> None:
    """The version before gets copies while the new one bakes; proven to be better, it comes back."""
    for _ in range(3):
        later(careful)
        careful.loop("live")
    assert careful.runtime.live("tides") == "2"
    copies(careful, [y + 0.1 for y in TRUTH], [y + 3.0 + y % 2 for y in TRUTH], by="1", user="2")

    [request] = careful.tick("live").run_requests or ()

    assert "version 2: its mae is worse than that of version 1" in request.tags[ROLLBACK_TAG]
    assert request.tags[ROLLBACK_TO_TAG] == "1"
    assert careful.run(request).success
    assert careful.runtime.live("tides") == "1"
    assert rollout_of(careful).stage is Stage.ROLLED_BACK


def test_a_degraded_champion_is_not_waited_for(careful: World) -> None:
    """An incident opens while copies are compared: the candidate goes to all users at the next tick."""
    careful.serve(TRUTH[:40], [y + 9.0 for y in TRUTH[:40]])
    careful.gather()
    assert careful.tick("live").run_requests == []  # no retraining on top of the candidate that is on its way

    [request] = careful.loop("live")

    assert request.tags[WORK_TAG].endswith("/baking")
    assert careful.runtime.live("tides") == "2"


def test_a_newer_model_supersedes_when_it_is_verified(careful: World) -> None:
    """Until then the older candidate goes on."""
    careful.train()
    assert careful.runtime.route("tides") == Route("1", shadow="2")

    careful.loop("live")

    assert careful.runtime.route("tides") == Route("1", shadow="3")
    assert set(careful.runtime.running("tides")) == {"1", "3"}


def test_a_newer_model_that_fails_holds_nothing_up(careful: World) -> None:
    """The candidate before it goes on, although it is not the newest model."""
    careful.train()
    careful.runtime.wrong.add("3")
    careful.loop("live")
    later(careful)

    [request] = careful.loop("live")

    assert "/rollout/2/" in request.tags[WORK_TAG]
    assert careful.runtime.route("tides") == Route("1", None, "2", 20.0, "2")


def test_a_run_by_hand_is_an_approval(released: World) -> None:
    """Somebody materialized production in the UI; a sensor's run waits for a person."""
    released.products = [made_product(delivery={"mode": "approve"})]
    released.train()
    released.loop("live")
    selection = [dg.AssetKey(["tides", "production"])]
    released.run(dg.RunRequest(asset_selection=selection, tags={WORK_TAG: "a sensor's"}))
    assert released.runtime.live("tides") == "1"

    released.run(dg.RunRequest(asset_selection=selection))

    assert released.runtime.live("tides") == "2"
    assert approved("tides", "2", released.store)


def test_the_other_side_of_a_comparison() -> None:
    """Signs and ends change places, and the shadow's own faults are nobody's."""
    found = rollouts.mirrored(
        make_evidence(
            difference=0.2, difference_low=0.1, difference_high=0.4, shadows=9, shadow_errors=3, requests={"1": 7}
        )
    )

    assert (found.candidate, found.champion) == ("1", "2")
    assert (found.difference, found.difference_low, found.difference_high) == (-0.2, -0.4, -0.1)
    assert (found.shadows, found.shadow_errors, found.requests) == (0, 0, {"1": 7})
    assert rollouts.mirrored(make_evidence()).difference is None
