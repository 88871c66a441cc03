"""`mlauto rollback PRODUCT`: the previous good version answers again, proven by asking the live server."""

import os

import dagster as dg

from mlauto.commands.loop import dagster_environment
from mlauto.commands.products import find_product
from mlauto.orchestration import render
from mlauto.orchestration.names import asset_key
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.steps import roll_back_release
from mlauto.product import ModelProduct
from mlauto.records import Deployment
from mlauto.settings import PACKAGE, Settings

__all__ = ["report_deployment", "roll_back_product"]


def roll_back_product(settings: Settings, product: str, to: str | None = None) -> Deployment:
    """Roll back to version `to`, or to the newest good one before the live one, and tell Dagster.

    Raises `DeliveryError` when there is none, or when the live server does not change.
    """
    found = find_product(settings, product)
    deployment = roll_back_release(Platform.from_settings(settings), found, "asked for on the command line", to)
    os.environ.update(dagster_environment(settings))
    with dg.DagsterInstance.from_config(str(PACKAGE.parent)) as instance:
        report_deployment(instance, found, deployment)
    return deployment


def report_deployment(instance: dg.DagsterInstance, product: ModelProduct, deployment: Deployment) -> None:
    """Record production and its check in Dagster's event log, so that its UI shows what no run of its own did."""
    key = asset_key(product, "production")
    result = render.deployment(deployment)
    version = result.data_version
    tags = {"dagster/data_version": version.value} if version else {}
    instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=dict(result.metadata or {}), tags=tags))
    for check in result.check_results:
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=check.check_name or "",
                passed=check.passed,
                metadata=check.metadata,
                severity=check.severity,
                description=check.description,
            )
        )
