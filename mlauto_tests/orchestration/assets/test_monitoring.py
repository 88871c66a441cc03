"""The assets of continuous monitoring, materialized by hand: the sensor evaluates the same checks by itself."""

import dagster as dg
import pytest

from mlauto.monitoring.log import compaction
from mlauto.orchestration.assets.monitoring import CHECKS, monitoring_assets
from mlauto.records import Problem
from mlauto_tests.orchestration.conftest import World, made_product

KEY = dg.AssetKey(["tides", "live_metrics"])
LOG = dg.AssetKey(["tides", "prediction_log"])
TRUTH = [float(number % 24) for number in range(40)]


def measured(world: World) -> tuple[dict[str, object], dict[str, bool]]:
    """Plain metadata and checks of a materialization."""
    done = world.run(dg.RunRequest(asset_selection=[KEY]))
    assert done.success
    [event] = done.asset_materializations_for_node("tides__live_metrics")
    checks = {check.check_name: check.passed for check in done.get_asset_check_evaluations()}
    return {name: value.value for name, value in event.metadata.items()}, checks


def test_before_a_release_the_verdict_is_unknown(world: World) -> None:
    """Nothing is live: no data, and that is neither good nor a failure of the run."""
    metadata, checks = measured(world)

    assert (metadata["verdict"], metadata["version"]) == ("unknown", "none")
    assert checks["data_available"] is False


def test_a_failing_check_does_not_fail_the_run(released: World) -> None:
    """It is a measurement; what follows from it is the sensor's business."""
    released.serve(TRUTH, [y + 9.0 for y in TRUTH])

    metadata, checks = measured(released)

    assert metadata["verdict"] == "degraded"
    assert metadata["labelled"] == 40
    assert checks == {"performance": False, "service_level": True, "data_available": True, "drift": True}


def test_good_predictions_are_healthy(released: World) -> None:
    """All four checks pass."""
    released.serve(TRUTH, TRUTH)

    metadata, checks = measured(released)

    assert metadata["verdict"] == "healthy"
    assert all(checks.values())


def test_the_checks_are_those_of_the_judge() -> None:
    """None of them blocks; the names are what dashboards and alerts go by."""
    asset, log = monitoring_assets(made_product("tides"))

    assert asset.key == KEY
    assert sorted(spec.name for spec in asset.check_specs) == sorted(CHECKS)
    assert not any(spec.blocking for spec in asset.check_specs)
    assert list(log.check_specs) == []


def test_full_segments_are_compacted(released: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run says how much became of how much, and where it is; a second one has nothing to do."""
    monkeypatch.setattr(compaction, "GROUP_SEGMENTS", 3)
    monkeypatch.setattr(compaction, "KEPT_SEGMENTS", 1)
    released.serve(TRUTH, TRUTH)
    folder = released.settings.product_home("tides") / "predictions"
    for number in range(1, 4):
        (folder / f"predictions-{number:08x}.jsonl").write_text('{"id":"x","t":1.0}\n')
    runs = [released.run(dg.RunRequest(asset_selection=[LOG])) for _ in range(2)]
    first, second = (
        {name: value.value for name, value in event.metadata.items()}
        for done in runs
        for event in done.asset_materializations_for_node("tides__prediction_log")
    )

    assert (first["segments"], first["dagster/row_count"], first["files"]) == (3, 42, 1)
    assert (second["segments"], second["files"]) == (0, 1)
    assert first["folder"] == str(folder)
    assert (folder / "predictions-00000000-00000002.parquet").exists()


def test_a_log_that_was_never_written_cannot_be_compacted(released: World) -> None:
    """The run fails with a sentence, and `mlauto status` shows it."""
    done = released.run(dg.RunRequest(asset_selection=[LOG]))

    assert not done.success
    problem = released.store.read_record("tides", "problems/prediction_log", Problem)
    assert problem is not None
    assert "no prediction was logged yet" in problem.text
