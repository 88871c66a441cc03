"""Continuous monitoring: `live_metrics` and the checks that retrain; `prediction_log`, compacted."""

from collections.abc import Iterator

import dagster as dg

from mlauto.monitoring.incidents import open_incident
from mlauto.orchestration import driftpages, live, render
from mlauto.orchestration.incident_shown import incident_metadata
from mlauto.orchestration.names import asset_key
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct

__all__ = ["CHECKS", "monitoring_assets"]

GROUP = "monitoring"
CHECKS = ("performance", "service_level", "data_available", "drift")


def monitoring_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    """`live_metrics` of one product, whose checks the live sensor evaluates by itself too, and `prediction_log`."""
    key = asset_key(product, "live_metrics")
    production = asset_key(product, "production")

    @dg.asset(
        key=key,
        deps=[production],
        group_name=GROUP,
        owners=list(product.owners),
        description="Quality, latency, errors and drift of the live version over the last window.",
        check_specs=[dg.AssetCheckSpec(name, asset=key) for name in CHECKS],
    )
    def live_metrics(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        observed = live.observe(platform, product)
        yield dg.MaterializeResult(
            metadata={
                **render.live_metrics(observed.metrics, observed.verdict),
                **driftpages.findings(observed.metrics.drifted),
                **driftpages.explained(platform, product, observed.metrics),
                **incident_metadata(open_incident(platform.store, product.name)),
            },
            check_results=[render.check(outcome) for outcome in observed.verdict.checks],
        )

    @dg.asset(
        key=asset_key(product, "prediction_log"),
        deps=[production],
        group_name=GROUP,
        owners=list(product.owners),
        description="What users asked and were answered. Materializing it turns full segments into Parquet files.",
    )
    def prediction_log(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        folder = platform.settings.product_home(product.name) / "predictions"
        yield dg.MaterializeResult(metadata=render.compaction(live.compact_log(platform, product), folder))

    return [live_metrics, prediction_log]
