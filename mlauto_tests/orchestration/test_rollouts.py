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
from mlauto.records import Action, Status, Verdict
from mlauto.runtime.base import Route
from mlauto.serving.log.predictionlog import PredictionLog
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


@pytest.fixture
def watched(careful: World) -> World:
    """Version 2 answers all users since ten minutes; its bake time is over, and no label came yet."""
    for _ in range(3):
        later(careful)
        careful.loop("live")
    careful.products = [made_product(delivery={**STAGES, "bake": "60s"})]
    aged(careful, 600.0)
    careful.tick("live")
    return careful


def aged(world: World, seconds: float) -> None:
    """The promotion was that long ago."""
    production, rollout = world.production(), rollout_of(world)
    assert production is not None
    world.store.write_record("tides", "production", replace(production, since=production.since - seconds))
    world.store.write_record("tides", "rollout", replace(rollout, since=rollout.since - seconds))


def asked(world: World, said: list[float], former: list[float]) -> list[str]:
    """Users' requests to version 2 and their copies to version 1, without labels."""
    log = PredictionLog(world.settings.product_home("tides") / "predictions")
    names = []
    for mine, theirs in zip(said, former, strict=True):
        names.append(log.new_id())
        log.answered(names[-1], version="2", seconds=0.005, rows=b'[{"x": 0.0, "hour": 1}]', predictions=[mine])
        log.shadowed(names[-1], version="1", seconds=0.005, predictions=[theirs])
    log.close()
    return names


def label(world: World, names: list[str]) -> None:
    """The truth, late."""
    log = PredictionLog(world.settings.product_home("tides") / "predictions")
    for name, truth in zip(names, TRUTH, strict=True):
        log.labelled(name, [truth])
    log.close()


def shown_of(world: World) -> dict[str, Any]:
    """The newest metadata of production."""
    event = world.instance.get_latest_materialization_event(dg.AssetKey(["tides", "production"]))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_labels_after_the_bake_time_still_undo_a_loss(watched: World) -> None:
    """The version before is warm, gets copies, and comes back when the labels prove it to be better."""
    assert watched.runtime.route("tides") == Route("2", "1", shadow="1")
    names = asked(watched, [y + 3.0 + y % 2 for y in TRUTH], [y + 0.1 for y in TRUTH])
    assert watched.tick("live").run_requests == []
    watched.cursors.clear()  # the daemon was restarted
    label(watched, names)

    [request] = watched.tick("live").run_requests or ()

    assert request.tags[ROLLBACK_TO_TAG] == "1"
    assert watched.run(request).success
    assert watched.runtime.live("tides") == "1"
    shown = shown_of(watched)
    assert shown["watch"].startswith("rolled back: its mae is worse than that of version 1 by 3.4")
    assert shown["watch_rows"] == 60
    assert shown["watch_e_value"] >= 50
    for row in ("outcome | rolled back", "version 2 with version 1", "proven from | 50", "confidence sequence"):
        assert row in shown["watch_evidence"]
    assert watched.tick("live").run_requests == []


def test_a_proven_loss_is_not_retrained_away(watched: World) -> None:
    """The live check fails too and there is new data: the version before is warm, and comes back first."""
    names = asked(watched, [y + 9.0 + y % 2 for y in TRUTH], [y + 0.1 for y in TRUTH])
    label(watched, names)
    watched.gather()

    [request] = watched.tick("live").run_requests or ()

    verdict = watched.store.read_record("tides", "verdict", Verdict)
    assert verdict is not None
    assert (verdict.status, verdict.action) == (Status.DEGRADED, Action.ROLL_BACK)
    assert verdict.cause == request.tags[ROLLBACK_TAG]
    assert request.tags[ROLLBACK_TO_TAG] == "1"


def test_a_version_that_is_proven_not_worse_is_settled_early(watched: World) -> None:
    """The version before is stopped long before the watch's time is over, and the asset says on what proof."""
    names = asked(watched, [y + 0.1 for y in TRUTH], [y + 3.0 + y % 2 for y in TRUTH])
    label(watched, names)
    events = watched.tick("live").asset_events

    assert watched.runtime.route("tides") == Route("2")
    assert set(watched.runtime.running("tides")) == {"2"}
    assert rollout_of(watched).stage is Stage.PROMOTED
    [shown] = [event.metadata for event in events if event.asset_key.path[-1] == "production"]
    told = "its mae is not worse than that of version 1: by -3."
    assert str(shown["watch"].value).startswith(f"proven not worse: {told}")
    assert told in str(shown["rollout"].value)


def test_a_watch_ends_with_its_time(watched: World) -> None:
    """Labels that prove nothing, or none: the version before does not stay for ever."""
    label(watched, asked(watched, [y + 0.1 for y in TRUTH], [y - 0.1 for y in TRUTH]))
    watched.tick("live")
    assert watched.runtime.route("tides") == Route("2", "1", shadow="1")
    aged(watched, 3600.0)

    watched.tick("live")

    assert set(watched.runtime.running("tides")) == {"2"}
    assert "ended without proof" in rollout_of(watched).outcome(None)
    assert "no loss is proven" in rollout_of(watched).why


@pytest.mark.parametrize("given", [{"watch": "0s"}, {"bake": "0s"}])
def test_a_product_without_a_watch(watched: World, given: dict[str, str]) -> None:
    """The fallback is stopped after the bake time, as the YAML asks."""
    watched.products = [made_product(delivery={**STAGES, "bake": "60s", **given})]

    watched.tick("live")

    assert set(watched.runtime.running("tides")) == {"2"}
    assert rollout_of(watched).stage is Stage.PROMOTED


def test_the_copies_survive_a_gateway_without_memory(watched: World) -> None:
    """The route is restored by a run of production, and the watch goes on where it was."""
    since = rollout_of(watched).since
    watched.runtime.switch("tides", Route("2"))

    [request] = watched.loop("live")

    assert request.tags[WORK_TAG].endswith("/route")
    assert watched.runtime.route("tides") == Route("2", "1", shadow="1")
    assert rollout_of(watched).since == since
    assert watched.tick("live").run_requests == []


def test_a_log_that_cannot_be_read_keeps_what_was_proven(watched: World) -> None:
    """Neither a rollback nor an end of the watch comes from not being able to look."""
    label(watched, asked(watched, [y + 0.1 for y in TRUTH], [y - 0.1 for y in TRUTH]))
    before = rollouts.watched(watched.platform, watched.product, rollout_of(watched))
    folder = watched.settings.product_home("tides") / "predictions"
    (folder / "labels-000000ff.jsonl").mkdir()

    assert before is not None
    assert rollouts.watched(watched.platform, watched.product, rollout_of(watched)) == before


def test_a_degraded_champion_is_not_waited_for(careful: World) -> None:
    """An incident opens while copies are compared: the candidate goes to all users at the next tick."""
    careful.serve(TRUTH[:40], [y + 9.0 for y in TRUTH[:40]])
    careful.gather()
    assert careful.tick("live").run_requests == []  # no retraining on top of the candidate that is on its way

    [request] = careful.loop("live")

    assert request.tags[WORK_TAG].endswith("/baking")
    assert careful.runtime.live("tides") == "2"


def test_new_code_supersedes_when_it_is_verified(careful: World) -> None:
    """Until then the older candidate goes on."""
    careful.train(commit=replace(careful.model().commit, tree="f" * 64))
    assert careful.runtime.route("tides") == Route("1", shadow="2")

    careful.loop("live")

    assert careful.runtime.route("tides") == Route("1", shadow="3")
    assert set(careful.runtime.running("tides")) == {"1", "3"}


def test_new_data_starves_nobody(careful: World) -> None:
    """A model for each stage, as when batches come faster than a rollout takes: each one begun gets to users."""
    live = []
    for _ in range(8):
        careful.train()
        careful.loop("live")
        later(careful)
        careful.loop("live")
        live.append(careful.runtime.live("tides"))

    assert live[0] == "1"
    assert len(set(live)) >= 3
    assert rollout_of(careful).earlier.get("superseded", 0) == 0


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
