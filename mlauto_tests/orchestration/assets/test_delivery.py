"""The assets of continuous delivery: image, test, production; forward, and back by a run's tag."""

import dagster as dg
import pytest

from mlauto.orchestration.assets.delivery import delivery_assets
from mlauto.orchestration.names import ROLLBACK_TAG, ROLLBACK_TO_TAG
from mlauto.records import CheckOutcome
from mlauto_tests.orchestration.conftest import World, made_product

KEYS = [dg.AssetKey(["tides", name]) for name in ("image", "test_deployment", "production")]


def deliver(world: World, **tags: str) -> dg.ExecuteInProcessResult:
    """All three assets in one run."""
    return world.run(dg.RunRequest(asset_selection=KEYS, tags=tags))


def checks(done: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in done.get_asset_check_evaluations()}


def test_a_new_version_goes_all_the_way(released: World) -> None:
    """Every check passes, the new version answers, and the run that did it is on record."""
    released.train()

    done = deliver(released)

    assert done.success
    assert checks(done) == {
        "golden_predictions": True,
        "unprivileged": True,
        "contract": True,
        "parity": True,
        "latency": True,
        "replay": True,
        "serving_expected_version": True,
    }
    image, test, production = (done.asset_materializations_for_node(f"tides__{key.path[-1]}")[0] for key in KEYS)
    digest = str(image.metadata["digest"].value)
    assert (image.tags or {})["dagster/data_version"] == digest
    assert (test.tags or {})["dagster/data_version"] == (production.tags or {})["dagster/data_version"] == f"{digest}@2"
    assert production.metadata["fallback"].value == "1"
    assert released.runtime.live("tides") == "2"
    assert released.store.read_record("tides", "runs/2", dict[str, str]) == {"run_id": done.run_id}


def test_without_replay_its_check_is_no_part_of_the_graph() -> None:
    """`delivery.replay: 0` takes it out of the asset, so that a run does not wait for its outcome."""
    _, test, _ = delivery_assets(made_product("tides", delivery={"replay": 0}))

    assert {spec.name for spec in test.check_specs} == {"contract", "parity", "latency"}


def test_unchanged_inputs_change_nothing(released: World) -> None:
    """Delivering the live version again leaves it as it is: same data versions, no switch."""
    first = deliver(released)
    released.runtime.calls.clear()
    again = deliver(released)

    versions = [
        [
            (done.asset_materializations_for_node(f"tides__{key.path[-1]}")[0].tags or {})["dagster/data_version"]
            for key in KEYS
        ]
        for done in (first, again)
    ]
    assert versions[0] == versions[1]
    assert not [call for call in released.runtime.calls if call[0] == "switch"]


def test_a_version_that_answers_wrongly_stops_at_its_image(released: World) -> None:
    """It does not predict as when it was trained: nothing after the image is materialized, users keep what they had."""
    released.train()
    released.runtime.wrong.add("2")

    done = deliver(released)

    assert not done.success
    assert checks(done) == {"golden_predictions": False, "unprivileged": True}
    assert [released.instance.get_latest_materialization_event(key) for key in KEYS[1:]] == [None, None]
    assert released.runtime.live("tides") == "1"


def test_a_version_that_does_not_start_says_why(released: World) -> None:
    """The error in the event log is the runtime's own sentence."""
    released.train()
    released.runtime.broken["2"] = "not enough memory"

    done = deliver(released)

    assert not done.success
    error = done.failure_data_for_node("tides__image")
    assert error is not None
    assert "version 2 did not start: not enough memory" in str(error.error)
    assert released.runtime.live("tides") == "1"


@pytest.mark.parametrize("to", [None, "1"])
def test_a_run_with_the_tag_rolls_back(released: World, to: str | None) -> None:
    """To the version before, or to the one that the tag names; the reason is among the events."""
    released.train()
    assert deliver(released).success
    tags = {ROLLBACK_TAG: "it was | slow", **({ROLLBACK_TO_TAG: to} if to else {})}

    done = released.run(dg.RunRequest(asset_selection=KEYS[2:], tags=tags))

    assert done.success
    assert released.runtime.live("tides") == "1"
    [event] = done.asset_materializations_for_node("tides__production")
    assert event.metadata["version"].value == "1"
    assert "it was \\| slow" in str(event.metadata["events"].value)


def test_a_model_that_failed_a_check_is_refused(released: World) -> None:
    """Also when somebody asks for its image by hand."""
    released.train(checks=(CheckOutcome(name="valid", passed=False, summary="not finite"),))

    done = deliver(released)

    error = done.failure_data_for_node("tides__image")
    assert error is not None
    assert "model 2 failed valid and is not delivered" in str(error.error)


def test_the_assets_of_delivery_are_three() -> None:
    """In order, and in the product's pool: rollouts of one product never race."""
    assets = delivery_assets(made_product("tides"))

    assert [asset.key for asset in assets] == KEYS
    assert {asset.op.pool for asset in assets} == {"tides"}
    assert [asset.asset_deps[asset.key] for asset in assets] == [
        {dg.AssetKey(["tides", "model"])},
        {KEYS[0]},
        {KEYS[1]},
    ]
