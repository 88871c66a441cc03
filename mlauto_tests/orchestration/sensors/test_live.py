"""The live sensor against a version in production: what it reports, and what it asks for, in one and the same tick."""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from mlauto.delivery.decisions import approve
from mlauto.errors import MlautoError
from mlauto.measured import LiveMetrics
from mlauto.monitoring.incidents import closed_incidents, open_incident
from mlauto.orchestration.names import (
    DELIVERS_TAG,
    INCIDENT_TAG,
    PRODUCT_TAG,
    REASON_TAG,
    ROLLBACK_TAG,
    ROLLBACK_TO_TAG,
    WORK_TAG,
)
from mlauto.records import CheckOutcome, Deployment, Image, Verdict
from mlauto.serving.measured import Row
from mlauto_tests.orchestration.conftest import World, made_product

DELIVERY = ["model", "image", "test_deployment", "production"]
TRUTH = [float(number % 24) for number in range(40)]
GOOD = [y + 0.1 for y in TRUTH]
BAD = [y + 9.0 for y in TRUTH]


def asked(result: dg.SensorResult) -> Sequence[dg.RunRequest]:
    return result.run_requests or ()


def names(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or ()]


def checks(result: dg.SensorResult) -> dict[str, bool]:
    """Check name -> passed, of the evaluations in a result."""
    found = [event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    return {evaluation.check_name: evaluation.passed for evaluation in found}


def metadata(result: dg.SensorResult) -> dict[str, Any]:
    """Plain metadata of the materialization in a result."""
    [event] = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
    return {name: value.value for name, value in event.metadata.items()}


def verdict(world: World) -> Verdict:
    found = world.store.read_record("tides", "verdict", Verdict)
    assert found is not None
    return found


def degraded(world: World, **monitoring: Any) -> World:
    """Bad predictions, and new data to learn from."""
    if monitoring:
        world.products = [made_product(monitoring={"every": "0s", "min_labels": 20, "window": 40, **monitoring})]
    world.serve(TRUTH, BAD)
    world.gather()
    return world


def test_nothing_in_production_is_a_note(world: World) -> None:
    """There is nothing to measure, and nothing is asked for."""
    result = world.tick("live")

    assert asked(result) == ()
    assert result.asset_events == []
    assert result.skip_reason == dg.SkipReason("tides: nothing is in production yet")


def test_a_healthy_version_is_reported_once(released: World) -> None:
    """Four checks pass, the figures are metadata; without new evidence the next tick reports nothing."""
    released.serve(TRUTH, GOOD)

    first = released.tick("live")
    second = released.tick("live")
    released.serve(TRUTH, GOOD)
    third = released.tick("live")

    assert asked(first) == ()
    assert checks(first) == {"performance": True, "service_level": True, "data_available": True, "drift": True}
    told = metadata(first)
    assert (told["verdict"], told["action"], told["version"]) == ("healthy", "none", "1")
    assert (told["requests"], told["labelled"]) == (40, 40)
    assert told["mae"] == pytest.approx(0.1)
    assert verdict(released).status == "healthy"
    assert second.asset_events == []
    recorded = released.store.read_record("tides", "live_metrics", LiveMetrics)
    assert recorded is not None
    assert recorded.label_delay is not None
    assert told["label_delay_s"] <= recorded.label_delay.p90 < 60
    assert recorded.label_delay.labels == 80
    assert (told["waiting_for_labels"], recorded.waiting) == (0, 0)
    assert metadata(third)["requests"] == 80
    assert open_incident(released.store, "tides") is None


def test_every_look_makes_metrics_for_prometheus(released: World) -> None:
    """Also one that reports nothing new to Dagster: their time says that somebody looked."""

    def shown() -> dict[tuple[str, ...], float]:
        rows = released.store.read_record("tides", "gauges", list[Row]) or []
        return {(row.name, *row.labels.values()): row.value for row in rows}

    released.serve(TRUTH, GOOD)
    released.tick("live")
    before = shown()
    second = released.tick("live")

    assert second.asset_events == []
    assert before["mlauto_verdict", "healthy"] == 1.0
    assert before["mlauto_quality", "mae"] == pytest.approx(0.1)
    assert before["mlauto_quality_limit", "mae"] > before["mlauto_quality_reference", "mae"]
    assert time.time() - before["mlauto_label_newest_timestamp_seconds",] < 60
    assert shown()["mlauto_gauges_timestamp_seconds",] > before["mlauto_gauges_timestamp_seconds",]


def test_the_failing_check_and_the_retraining_are_in_the_same_result(released: World) -> None:
    """The evaluation that failed and the request for a fresh model and all after it come from one tick."""
    degraded(released)

    result = released.tick("live")

    incident = open_incident(released.store, "tides")
    assert incident is not None
    [request] = asked(result)
    assert checks(result)["performance"] is False
    assert names(request) == DELIVERY
    assert request.tags[INCIDENT_TAG] == f"tides/{incident.opened:.3f}"
    assert request.run_key == f"tides/{incident.opened:.3f}/retraining/001#1"
    assert request.tags[REASON_TAG].startswith("live quality: attempt 1 of 3, on new data: mae 9")
    assert request.tags[PRODUCT_TAG] == request.tags[DELIVERS_TAG] == "tides"
    assert metadata(result)["action"] == "retrain"


def test_the_fresh_model_ends_the_incident(released: World) -> None:
    """The request is executed for real, its version answers, and three healthy windows on it close the incident."""
    degraded(released)
    [request] = asked(released.tick("live"))

    done = released.run(request)
    released.serve(TRUTH, GOOD)
    result = released.tick("live")
    same = released.tick("live")
    released.serve(TRUTH, GOOD)
    released.tick("live")
    still = open_incident(released.store, "tides")
    released.serve(TRUTH, GOOD)
    last = released.tick("live")

    assert done.success
    assert still is not None
    assert (still.healthy, still.attempts, still.in_vain, same.asset_events) == (2, 1, 0, [])
    assert (metadata(result)["incident_open"], metadata(result)["incident_healthy_windows"]) == (1, 1)
    assert (metadata(last)["incident_open"], metadata(last)["incident_attempts"]) == (0, 1)
    assert released.runtime.live("tides") == "2"
    assert released.model().reason == request.tags[REASON_TAG]
    assert metadata(result)["version"] == "2"
    assert checks(result)["performance"]
    assert asked(result) == ()
    assert open_incident(released.store, "tides") is None
    assert [past.version for past in closed_incidents(released.store, "tides")] == ["1"]


def test_nothing_is_asked_for_while_a_delivery_goes_on(released: World) -> None:
    """The check goes on failing; the verdict says what is waited for."""
    degraded(released)
    [request] = asked(released.tick("live"))
    released.start(request)

    released.serve(TRUTH, BAD)
    result = released.tick("live")

    assert asked(result) == ()
    assert checks(result)["performance"] is False
    assert metadata(result)["action"] == "cool_down"
    assert "a delivery is under way" in metadata(result)["cause"]


def test_after_an_attempt_there_is_a_pause_and_then_the_next(released: World) -> None:
    """Within the cool-down nothing is asked for; without one the second attempt has a name of its own."""
    degraded(released)
    [request] = asked(released.tick("live"))
    released.start(request, dg.DagsterRunStatus.SUCCESS)

    paused = released.tick("live")
    degraded(released, cooldown="0s")
    [second] = asked(released.tick("live"))

    assert asked(paused) == ()
    assert "the next retraining is due in" in metadata(paused)["cause"]
    assert second.tags[WORK_TAG].endswith("/retraining/002")
    assert second.tags[INCIDENT_TAG] == request.tags[INCIDENT_TAG]
    assert second.tags[REASON_TAG].startswith("live quality: attempt 2 of 3")


def test_after_the_last_attempt_people_are_asked(released: World) -> None:
    """The budget of an incident is bounded; the verdict escalates and stays that way."""
    degraded(released, cooldown="0s", max_attempts=2)
    for _ in range(2):
        [request] = asked(released.tick("live"))
        released.start(request, dg.DagsterRunStatus.SUCCESS)

    result = released.tick("live")

    assert asked(result) == ()
    assert metadata(result)["action"] == "escalate"
    assert "2 retrainings did not help, people are needed" in verdict(released).cause
    incident = open_incident(released.store, "tides")
    assert incident is not None
    assert incident.attempts == 2


def test_a_lost_retraining_is_asked_for_again_at_once(released: World) -> None:
    """No cool-down, the same name, the next attempt at it: a process that was killed proves nothing."""
    degraded(released)
    [request] = asked(released.tick("live"))
    released.lose(request)

    [again] = asked(released.tick("live"))

    assert again.tags[WORK_TAG] == request.tags[WORK_TAG]
    assert again.run_key == f"{request.tags[WORK_TAG]}#2"
    assert again.tags[REASON_TAG].startswith("live quality: attempt 1 of 3")


def test_a_retraining_that_is_lost_again_and_again_counts_as_an_attempt(released: World) -> None:
    """The incident goes on with the next attempt instead of standing still."""
    degraded(released, cooldown="0s")
    for _ in range(3):
        [request] = asked(released.tick("live"))
        released.lose(request)

    [following] = asked(released.tick("live"))

    assert request.run_key == f"{request.tags[WORK_TAG]}#3"
    assert following.tags[WORK_TAG].endswith("/retraining/002")


def test_a_retraining_that_failed_is_an_attempt(released: World) -> None:
    """A step failed, here for a batch that is missing: that is an outcome, and the cool-down holds."""
    degraded(released)
    [request] = asked(released.tick("live"))
    known = released.model().training_set
    missing = replace(known.batches[0], digest="f" * 64)
    released.store.write_record("tides", "training_set", replace(known, batches=(missing,), digest="e" * 64))

    done = released.run(request)
    result = released.tick("live")

    assert not done.success
    assert asked(result) == ()
    assert "the next retraining is due in" in verdict(released).cause


@pytest.mark.parametrize(
    ("monitoring", "age", "said"),
    [
        ({"min_labels": 50}, 0.0, "no verdict: 40 of 50 labels"),
        ({"stale_after": "10s"}, 100.0, "newest prediction 100 s ago"),
    ],
)
def test_unknown_is_neither_healthy_nor_a_reason_to_retrain(
    released: World, monitoring: dict[str, Any], age: float, said: str
) -> None:
    """Too few labels, or nobody asks: with whatever quality, nothing is asked for."""
    released.products = [made_product(monitoring={"every": "0s", "window": 40, **monitoring})]
    released.serve(TRUTH, GOOD, age=age)
    released.gather()

    result = released.tick("live")

    assert asked(result) == ()
    assert metadata(result)["verdict"] == "unknown"
    assert said in metadata(result)["cause"]


def test_without_any_traffic_the_verdict_is_unknown(released: World) -> None:
    """The check on available data fails, and nothing else does."""
    result = released.tick("live")

    assert checks(result) == {"performance": True, "service_level": True, "data_available": False, "drift": True}
    assert (metadata(result)["verdict"], metadata(result)["action"]) == ("unknown", "alert")


def test_without_anything_new_there_is_nothing_to_train_on(released: World) -> None:
    """A model that saw everything there is would be the same one again."""
    released.serve(TRUTH, BAD)

    result = released.tick("live")

    assert asked(result) == ()
    assert metadata(result)["action"] == "wait_for_data"


def test_a_policy_may_forbid_retraining(released: World) -> None:
    """It is an alert then."""
    released.products = [
        made_product(training={"retrain": "never"}, monitoring={"every": "0s", "min_labels": 20, "window": 40})
    ]
    released.serve(TRUTH, BAD)
    released.gather()

    result = released.tick("live")

    assert asked(result) == ()
    assert metadata(result)["action"] == "alert"


def delivered(world: World) -> World:
    """Version 2 in production, with version 1 behind it."""
    world.train()
    [request] = asked(world.tick("live"))
    assert world.run(request).success
    assert world.runtime.live("tides") == "2"
    return world


def test_a_service_fault_right_after_a_rollout_rolls_back(released: World) -> None:
    """Production alone is asked for, with the reason; executed, the version before answers again, and it stays so."""
    delivered(released)
    released.serve([1.0] * 60, [1.0] * 60, ms=900.0)

    result = released.tick("live")
    [request] = asked(result)
    done = released.run(request)

    assert checks(result)["service_level"] is False
    assert names(request) == ["production"]
    assert "service fault right after the rollout, version 1 is good" in request.tags[ROLLBACK_TAG]
    assert ROLLBACK_TO_TAG not in request.tags
    assert done.success
    assert released.runtime.live("tides") == "1"
    assert asked(released.tick("live")) == ()


def test_after_attempts_in_vain_the_better_version_comes_back(released: World) -> None:
    """The version that was live when the incident began did better than its successors: production goes back to it."""
    degraded(released, cooldown="0s", max_attempts=1)
    [request] = asked(released.tick("live"))
    released.start(request, dg.DagsterRunStatus.SUCCESS)
    delivered(released)
    released.serve(TRUTH, [y + 30.0 for y in TRUTH])

    result = released.tick("live")
    [rollback] = asked(result)

    assert "version 1 did better" in rollback.tags[ROLLBACK_TAG]
    assert rollback.tags[ROLLBACK_TO_TAG] == "1"
    assert released.run(rollback).success
    assert released.runtime.live("tides") == "1"


@pytest.mark.parametrize("began", [0, 1, 2])
def test_a_delivery_that_was_cut_short_is_finished(released: World, began: int) -> None:
    """What is left between the newest model and production is asked for, whatever was done of it."""
    released.train()
    steps = ["image", "test_deployment", "production"]
    selection = [dg.AssetKey(["tides", step]) for step in steps[:began]]
    if selection:
        released.run(dg.RunRequest(asset_selection=selection))

    result = released.tick("live")
    [request] = asked(result)
    again = released.start(request)
    waiting = released.tick("live")
    released.instance.report_run_failed(again)
    released.loop("live")

    assert names(request) == steps[began:]
    assert request.run_key == "tides/deliver/2#1"
    assert asked(waiting) == ()
    assert released.runtime.live("tides") == "2"
    assert asked(released.tick("live")) == ()


def test_a_model_that_failed_its_checks_is_not_delivered(released: World) -> None:
    """The champion stays."""
    failed = CheckOutcome(name="valid", passed=False, summary="not finite")
    released.train(checks=(failed,))

    assert asked(released.tick("live")) == ()


def test_a_version_that_waits_for_approval_waits_and_then_goes_on(released: World) -> None:
    """Image and test are made at once, production follows the approval."""
    released.products = [made_product(delivery={"mode": "approve"})]
    released.train()

    [first] = asked(released.tick("live"))
    assert released.run(first).success
    waiting = asked(released.tick("live"))
    approve("tides", "2", released.store, by="Ada", now=time.time())
    [second] = asked(released.tick("live"))

    assert names(first) == ["image", "test_deployment"]
    assert waiting == ()
    assert names(second) == ["production"]


def test_a_new_verified_commit_is_trained_from(released: World) -> None:
    """Another tree wants another model, also when nothing else happens; docs alone do not."""
    origin = released.settings.root / "models" / "tides"
    (origin / "README.md").write_text("more words")
    released.commit("Words")
    released.loop("commits")
    same = asked(released.tick("live"))

    (origin / "src" / "tide" / "extra.py").write_text("MORE = 1\n")
    released.commit("Code")
    released.loop("commits")
    [request] = asked(released.tick("live"))

    assert same == ()
    assert names(request) == DELIVERY
    assert request.tags[REASON_TAG] == "new commit"


def test_a_training_that_was_given_up_does_not_hold_up_a_delivery(released: World) -> None:
    """New code cannot be trained from: the model that is there is delivered all the same."""
    released.train()
    changed = replace(released.model().commit, tree="0" * 64)
    verified = {"commit": changed, "branch": "main"}
    released.store.write_record("tides", "verified_commit", verified)
    for _ in range(3):
        [request] = asked(released.tick("live"))
        assert request.tags[REASON_TAG] == "new commit"
        released.start(request, dg.DagsterRunStatus.FAILURE)

    [delivery] = asked(released.tick("live"))

    assert delivery.tags[WORK_TAG] == "tides/deliver/2"


def test_what_cannot_be_reached_is_an_error_and_is_started_again(released: World) -> None:
    """Nobody answers: the verdict says so, the live version is asked to start, and nothing is retrained."""
    released.serve(TRUTH, BAD)
    released.gather()
    released.runtime.routes.clear()
    released.runtime.calls.clear()

    result = released.tick("live")

    assert asked(result) == ()
    assert (metadata(result)["verdict"], metadata(result)["action"]) == ("error", "alert")
    assert "the gateway does not answer" in metadata(result)["cause"]
    assert checks(result)["data_available"] is False
    assert released.runtime.calls == [("start", "tides", "1")]


def test_what_is_seen_is_reported_even_if_nothing_can_be_done(
    released: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The address is somebody else's and the start fails, too: the verdict is in Dagster all the same."""
    released.runtime.unreachable = "port 8900 answers, but is no gateway"
    released.runtime.broken["1"] = "no memory left"

    result = released.tick("live")

    assert metadata(result)["verdict"] == "error"
    assert metadata(result)["cause"] == "could not measure: port 8900 answers, but is no gateway"
    assert verdict(released).status == "error"
    with pytest.raises(MlautoError, match="version 1 did not start: no memory left"):
        released.tick("live")


def test_a_live_version_that_is_lost_is_started_while_another_answers(
    released: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fallback answers users meanwhile, so that nothing else would show it."""
    calls = len(released.runtime.calls)
    monkeypatch.setattr(released.runtime, "running", lambda _product: {"1": "failed"})
    released.tick("live")

    assert released.runtime.calls[calls:] == [("start", "tides", "1")]


def test_a_log_that_cannot_be_read_is_an_error(released: World) -> None:
    """No verdict on quality, an alert, and never a retraining."""
    folder = released.settings.product_home("tides") / "predictions"
    folder.mkdir()
    (folder / "predictions-00000000.jsonl").mkdir()
    released.gather()

    result = released.tick("live")

    assert asked(result) == ()
    assert metadata(result)["verdict"] == "error"


def test_a_product_is_measured_when_it_is_due(released: World) -> None:
    """Between two evaluations deliveries are looked after, and nothing is measured."""
    released.products = [made_product(monitoring={"every": "1h"})]
    first = released.tick("live")
    released.train()

    second = released.tick("live")

    assert len(checks(first)) == 4
    assert second.asset_events == []
    assert [names(request) for request in asked(second)] == [["image", "test_deployment", "production"]]


def test_a_fallback_whose_time_is_over_is_stopped(released: World) -> None:
    """After the bake time the version before is not kept warm any more."""
    delivered(released)
    released.products = [made_product(delivery={"bake": "0s"}, monitoring={"every": "0s"})]
    released.serve(TRUTH, GOOD)

    released.tick("live")

    production = released.production()
    assert production is not None
    assert production.fallback is None
    assert released.runtime.running("tides") == {"2": "ready"}


def test_full_segments_of_the_log_are_compacted(released: World) -> None:
    """When enough of them wait, and once: not while it is under way, and not before the next ones are full."""
    folder = released.settings.product_home("tides") / "predictions"
    folder.mkdir(exist_ok=True)
    for number in range(130):
        (folder / f"predictions-{number:08x}.jsonl").write_text('{"id":"x","t":1.0}\n')
    released.serve(TRUTH, GOOD)

    [request] = asked(released.tick("live"))
    released.start(request)
    meanwhile = asked(released.tick("live"))
    released.run(request)
    left = list(folder.glob("predictions-*.jsonl"))

    assert names(request) == ["prediction_log"]
    assert request.tags["mlauto/work"] == "tides/prediction_log/predictions-0000003f"
    assert (meanwhile, len(left)) == ((), 66)
    assert asked(released.tick("live")) == ()


def test_what_is_too_old_goes_though_nothing_is_full(released: World) -> None:
    """A product that is hardly asked any more still forgets what it may keep no longer."""
    folder = released.settings.product_home("tides") / "predictions"
    folder.mkdir(exist_ok=True)
    for number in range(130):
        (folder / f"predictions-{number:08x}.jsonl").write_text('{"id":"x","t":1.0}\n')
    released.run(asked(released.tick("live"))[0])
    assert asked(released.tick("live")) == ()
    released.products = [made_product(monitoring={"every": "0s", "retention": "90d"})]

    [request] = asked(released.tick("live"))
    released.run(request)

    assert request.tags["mlauto/reason"] == "files older than monitoring.retention"
    assert list(folder.glob("*.parquet")) == []
    assert asked(released.tick("live")) == ()


def test_label_files_are_imported_and_bad_ones_noted(released: World) -> None:
    """Labels that land as files count like those that users send back."""
    released.serve(TRUTH, GOOD)
    log = released.settings.product_home("tides") / "predictions"
    (log / "labels-00000000.jsonl").unlink()
    folder = released.settings.resolve("landing/tides") / "labels"
    folder.mkdir()
    names_ = [f"00000000-{number:08x}-abcd" for number in range(40)]
    lines = [f"{name},{y}" for name, y in zip(names_, TRUTH, strict=True)]
    (folder / "good.csv").write_text("\n".join(["id,label", *lines]) + "\n")
    (folder / "bad.csv").write_text("nothing,of,use\n1,2,3\n")
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)

    result = released.tick("live")

    assert metadata(result)["labelled"] == 40
    assert metadata(result)["verdict"] == "healthy"
    assert "bad.csv" in str(result.skip_reason)


def test_the_record_of_a_rolled_back_image_stays(released: World) -> None:
    """Whatever is rolled back can be explained: its image and its deployment are still on record."""
    delivered(released)
    released.serve([1.0] * 60, [1.0] * 60, ms=900.0)
    [request] = asked(released.tick("live"))
    released.run(request)

    assert released.store.read_record("tides", "images/2", Image) is not None
    assert released.store.read_record("tides", "deployments/2", Deployment) is not None


def test_a_pause_that_doubles_is_told(released: World) -> None:
    """The time of the next attempt is in the incident, and on the asset."""
    degraded(released, cooldown="100s", max_attempts=9)
    [request] = asked(released.tick("live"))
    for number in (1, 2, 3):
        again = request._replace(tags={**request.tags, WORK_TAG: f"{request.tags[WORK_TAG][:-3]}{number:03d}"})
        released.start(again, dg.DagsterRunStatus.SUCCESS)

    result = released.tick("live")

    incident = open_incident(released.store, "tides")
    assert incident is not None
    assert incident.next_attempt == pytest.approx(time.time() + 400, abs=20)
    assert metadata(result)["incident_next_attempt"] == incident.next_attempt
    assert [one.action for one in incident.decisions] == ["retrain", "cool_down"]


def test_labels_that_cannot_be_right_retrain_nothing(released: World) -> None:
    """They speak against the model, and are all the same: unknown, an alert, an incident of their own kind."""
    released.products = [made_product(monitoring={"every": "0s", "min_labels": 20, "window": 300})]
    released.serve([0.0] * 300, [float(number % 24) + 5 for number in range(300)])
    released.gather()

    result = released.tick("live")

    incident = open_incident(released.store, "tides")
    assert incident is not None
    assert (asked(result), incident.kind, incident.action) == ((), "label_feed", "alert")
    assert (metadata(result)["verdict"], metadata(result)["kind"]) == ("unknown", "label_feed")
    assert checks(result)["performance"]
    assert not checks(result)["data_available"]
    assert "the newest 300 labels are all 0.0" in metadata(result)["cause"]
