"""The assets of continuous training: batches in process, and the model that they lead to."""

from dataclasses import replace

import dagster as dg
import pytest

from mlauto.orchestration.assets.training import training_assets
from mlauto.orchestration.names import REASON_TAG
from mlauto.records import CheckOutcome, TrainingSet
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto_tests.orchestration.conftest import World, made_product, rows

BATCH, SET, MODEL = (dg.AssetKey(["tides", name]) for name in ("batch", "training_set", "model"))


def arrived(world: World, now: float = 2_000_000_000.0) -> str:
    """The landed files as a planned batch with its partition; the key."""
    plan(world.store, "tides", FolderLanding(world.settings.resolve("landing/tides")), now)
    key = pending(world.store, "tides")[-1]
    world.instance.add_dynamic_partitions("tides_batches", [key])
    return key


def test_a_good_file_is_validated_and_joins_the_training_set(world: World) -> None:
    """The blocking check passes and the training set follows in the same run; versions are digests."""
    world.land(rows(60), "a.csv")
    key = arrived(world)

    done = world.run(dg.RunRequest(asset_selection=[BATCH, SET], partition_key=key))

    assert done.success
    [check] = done.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.blocking) == ("expectations", True, True)
    assert check.description == "2 expectations hold"
    [batch] = done.asset_materializations_for_node("tides__batch")
    [training_set] = done.asset_materializations_for_node("tides__training_set")
    stored = world.store.read_record("tides", "training_set", TrainingSet)
    assert stored is not None
    assert batch.partition == key
    assert batch.metadata["dagster/row_count"].value == training_set.metadata["dagster/row_count"].value == 60
    assert (batch.tags or {})["dagster/data_version"] == stored.batches[0].digest
    assert (training_set.tags or {})["dagster/data_version"] == stored.digest


def test_unlabelled_rows_wait_and_come_back_with_their_file(world: World) -> None:
    """Through the assets: told on batch and check, left out of the training set, added once labelled."""
    (world.settings.defs / "tides" / "expectations.json").write_text('{"name": "lenient", "expectations": []}')
    full = rows(60)
    world.land(full.assign(y=full["y"].where(full.index < 40)), "a.csv")
    first = world.run(dg.RunRequest(asset_selection=[BATCH, SET], partition_key=arrived(world)))
    world.land(full.assign(y=None), "b.csv")
    second = world.run(dg.RunRequest(asset_selection=[BATCH, SET], partition_key=arrived(world)))
    world.land(full, "a.csv")  # in its place, which the folder does not show at once
    third = world.run(dg.RunRequest(asset_selection=[BATCH, SET], partition_key=arrived(world, 2_000_000_100.0)))

    assert (first.success, second.success, third.success) == (True, False, True)
    [batch] = first.asset_materializations_for_node("tides__batch")
    assert (batch.metadata["dagster/row_count"].value, batch.metadata["waiting_for_labels"].value) == (40, 20)
    [check] = first.get_asset_check_evaluations()
    assert (check.passed, "20 of 60 rows have no label in 'y': they wait" in str(check.description)) == (True, True)
    [stopped] = second.get_asset_check_evaluations()
    assert not stopped.passed
    assert str(stopped.description).startswith("no new row has a label yet: 60 wait")
    assert (world.settings.resolve("landing/tides") / "b.csv").exists()
    training_set = world.store.read_record("tides", "training_set", TrainingSet)
    assert training_set is not None
    assert [one.rows for one in training_set.batches] == [40, 20]


@pytest.mark.parametrize("broken", ["values", "columns", "bytes"])
def test_a_corrupt_file_is_stopped_at_its_batch(world: World, broken: str) -> None:
    """The check fails and says why, the training set is skipped, the file is in quarantine beside the reason."""
    frame = rows(60)
    frame["x"] = 99.0 if broken == "values" else frame["x"]
    path = world.land(frame.drop(columns="y") if broken == "columns" else frame, "bad.csv")
    if broken == "bytes":
        path.write_bytes(b"\x00\xff\xfe" * 50)
    key = arrived(world)

    done = world.run(dg.RunRequest(asset_selection=[BATCH, SET], partition_key=key))

    assert not done.success
    [check] = done.get_asset_check_evaluations()
    assert (check.passed, check.blocking) == (False, True)
    assert check.description
    [batch] = done.asset_materializations_for_node("tides__batch")
    assert batch.metadata["accepted"].value is False
    assert (batch.tags or {})["dagster/data_version"] == f"quarantined-{key}"
    assert world.instance.get_latest_materialization_event(SET) is None
    folder = world.settings.product_home("tides") / "quarantine" / key
    assert sorted(found.name for found in folder.iterdir()) == ["bad.csv", "reason.json"]
    if broken == "values":
        assert "expect_column_values_to_be_between" in str(batch.metadata["failed_expectations"].value)


def test_a_model_carries_the_reason_it_was_asked_for(released: World) -> None:
    """From the run's tag; a person who materializes it by hand needs none. Unchanged inputs train nothing anew."""
    asked = released.run(dg.RunRequest(asset_selection=[MODEL], tags={REASON_TAG: "a new season"}))
    by_hand = released.run(dg.RunRequest(asset_selection=[MODEL]))

    assert asked.success
    assert by_hand.success
    [event] = asked.asset_materializations_for_node("tides__model")
    assert event.metadata["version"].value == "1"
    assert (event.tags or {})["dagster/data_version"] == released.model().key
    assert {check.check_name: check.passed for check in asked.get_asset_check_evaluations()} == {
        "valid": True,
        "not_worse_than_champion": True,
    }
    assert len(released.registry.registrations["tides"]) == 1


def test_a_model_that_fails_a_check_stops_the_run(released: World) -> None:
    """It is recorded and shown, and nothing after it is materialized."""
    model = released.model()
    failed = CheckOutcome(name="not_worse_than_champion", passed=False, summary="worse by 5 standard errors")
    outcome = replace(model, checks=(model.checks[0], failed))
    released.store.write_record("tides", f"fits/{model.key}", outcome)

    keys = [dg.AssetKey(["tides", name]) for name in ("model", "image", "test_deployment", "production")]
    done = released.run(dg.RunRequest(asset_selection=keys))

    assert not done.success
    assert {check.check_name: check.passed for check in done.get_asset_check_evaluations()} == {
        "valid": True,
        "not_worse_than_champion": False,
    }
    assert done.asset_materializations_for_node("tides__model")
    assert released.instance.get_latest_materialization_event(keys[1]) is None


def test_a_missing_commit_fails_the_run_with_a_sentence(world: World) -> None:
    """The error in the event log says what to materialize."""
    done = world.run(dg.RunRequest(asset_selection=[MODEL]))

    assert not done.success
    error = done.failure_data_for_node("tides__model")
    assert error is not None
    assert "no verified commit yet: materialize tides/verified_commit first" in str(error.error)


@pytest.mark.filterwarnings("ignore:Specifying a partitions_def")  # which the graph asks for, knowingly
def test_the_assets_of_training_are_three() -> None:
    """All in the product's pool, so that two runs never change one product at once."""
    assets = training_assets(made_product("tides"))

    assert [asset.key for asset in assets] == [BATCH, SET, MODEL]
    assert {asset.op.pool for asset in assets} == {"tides"}
