"""Rollback from the command line, on a real gateway's absence."""

import dagster as dg
import pytest

from mlauto.commands.example import define
from mlauto.commands.products import find_product
from mlauto.commands.rollback import report_deployment, roll_back_product
from mlauto.errors import DeliveryError, ProductError
from mlauto.records import CheckOutcome, Deployment
from mlauto.settings import Settings
from mlauto.store import Store


def test_nothing_to_roll_back_is_a_sentence(settings: Settings) -> None:
    """Without a product, or without production, the error says so; nothing is started for it."""
    settings.defs.mkdir(parents=True)
    define(settings)

    with pytest.raises(ProductError, match="no product 'churn'"):
        roll_back_product(settings, "churn")
    with pytest.raises(DeliveryError, match="nothing is in production"):
        roll_back_product(settings, "demand")
    assert not (settings.home / "gateway").exists()


def test_dagster_shows_what_the_command_line_did(settings: Settings) -> None:
    """No run did it, so production and its check are reported: the UI names the version that answers."""
    settings.defs.mkdir(parents=True)
    define(settings)
    check = CheckOutcome(name="serving_expected_version", passed=True, summary="version 1 answers", details={})
    deployment = Deployment(
        environment="production", version="1", image="1" * 64, since=3600.0, fallback=None, checks=(check,), events=()
    )

    with dg.DagsterInstance.ephemeral() as instance:
        report_deployment(instance, find_product(settings, "demand"), deployment, Store(settings.home))
        event = instance.get_latest_materialization_event(dg.AssetKey(["demand", "production"]))
        key = dg.AssetCheckKey(dg.AssetKey(["demand", "production"]), "serving_expected_version")
        (checked,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)

    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["version"].value == "1"
    assert event.asset_materialization.tags == {"dagster/data_version": f"{'1' * 64}@1"}
    assert checked.status.value == "SUCCEEDED"
