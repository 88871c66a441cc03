"""`mlauto rollback PRODUCT`: a candidate is given up, or the previous good version answers again, proven by asking."""

import os

import dagster as dg

from mlauto.commands.loop import dagster_environment
from mlauto.commands.products import find_product
from mlauto.orchestration import render
from mlauto.orchestration.deployments import production_event
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.steps import abort_rollout, roll_back_release
from mlauto.product import ModelProduct
from mlauto.records import Deployment
from mlauto.settings import PACKAGE, Settings
from mlauto.store import Store

__all__ = ["report_deployment", "roll_back_product"]

REASON = "asked for on the command line"


def roll_back_product(settings: Settings, product: str, to: str | None = None) -> Deployment:
    """Give up the candidate that is on its way; without one, or with `to`, roll back; and tell Dagster.

    Rolled back is to version `to`, or to the newest good one before the live one. Raises `DeliveryError` when there is
    none, or when the live server does not change.
    """
    found, platform = find_product(settings, product), Platform.from_settings(settings)
    deployment = abort_rollout(platform, found, REASON) if to is None else None
    if deployment is None:
        deployment = roll_back_release(platform, found, REASON, to)
    os.environ.update(dagster_environment(settings))
    with dg.DagsterInstance.from_config(str(PACKAGE.parent)) as instance:
        report_deployment(instance, found, deployment, platform.store)
    return deployment


def report_deployment(
    instance: dg.DagsterInstance, product: ModelProduct, deployment: Deployment, store: Store
) -> None:
    """Record production and its check in Dagster's event log, so that its UI shows what no run of its own did."""
    event = production_event(product, deployment, store)
    instance.report_runless_asset_event(event)
    for outcome in deployment.checks:
        check = render.check(outcome)
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=event.asset_key,
                check_name=check.check_name or "",
                passed=check.passed,
                metadata=check.metadata,
                severity=check.severity,
                description=check.description,
            )
        )
