"""The asset of continuous monitoring, materialized by hand: the sensor evaluates the same checks by itself."""

import dagster as dg

from mlauto.orchestration.assets.monitoring import CHECKS, monitoring_assets
from mlauto_tests.orchestration.conftest import World, made_product

KEY = dg.AssetKey(["tides", "live_metrics"])
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
    [asset] = monitoring_assets(made_product("tides"))

    assert asset.key == KEY
    assert sorted(spec.name for spec in asset.check_specs) == sorted(CHECKS)
    assert not any(spec.blocking for spec in asset.check_specs)
