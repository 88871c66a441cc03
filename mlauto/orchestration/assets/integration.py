"""Continuous integration: `commit`, `ci_report`, `verified_commit`."""

from collections.abc import Iterator

import dagster as dg

from mlauto.orchestration import render, steps
from mlauto.orchestration.names import asset_key, commit_partitions
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.reports import origin
from mlauto.product import ModelProduct

__all__ = ["commit_spec", "integration_assets"]

GROUP = "integration"


def commit_spec(product: ModelProduct) -> dg.AssetSpec:
    """The external asset: commits are made by people and reported by the commit sensor."""
    return dg.AssetSpec(
        asset_key(product, "commit"),
        group_name=GROUP,
        owners=list(product.owners),
        partitions_def=commit_partitions(product),
        description=f"Commits of {product.code.repository} ({product.code.branch}), one partition each.",
        kinds={"git"},
        metadata={"product": dg.MetadataValue.json(product.model_dump(mode="json"))},
    )


def integration_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    """`ci_report` and `verified_commit` of one product."""
    partitions = commit_partitions(product)
    report_key = asset_key(product, "ci_report")

    @dg.asset(
        key=report_key,
        deps=[asset_key(product, "commit")],
        group_name=GROUP,
        owners=list(product.owners),
        partitions_def=partitions,
        kinds={"pytest"},
        description="Lint and test verdict of one commit, on a clean export of its tree, or from outside.",
        check_specs=[
            dg.AssetCheckSpec("lint", asset=report_key, blocking=True, partitions_def=partitions),
            dg.AssetCheckSpec("tests", asset=report_key, blocking=True, partitions_def=partitions),
        ],
    )
    def ci_report(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        report = steps.report_commit(platform, product, context.partition_key, context.log.info)
        yield dg.MaterializeResult(
            metadata={**render.ci_report(report), **origin(report)},
            data_version=dg.DataVersion(report.commit.sha),
            check_results=[render.ci_check(report, "lint"), render.ci_check(report, "tests")],
        )

    @dg.asset(
        key=asset_key(product, "verified_commit"),
        deps=[ci_report],
        group_name=GROUP,
        owners=list(product.owners),
        kinds={"git"},
        description="The newest commit, in branch order, whose report is green.",
    )
    def verified_commit(platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        verified = steps.verify_newest_commit(platform, product)
        return dg.MaterializeResult(
            metadata=render.commit(verified.commit), data_version=dg.DataVersion(verified.commit.tree)
        )

    return [ci_report, verified_commit]
