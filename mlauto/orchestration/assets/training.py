"""Continuous training: `batch`, `training_set`, `model`."""

from collections.abc import Iterator

import dagster as dg

from mlauto.orchestration import render, steps
from mlauto.orchestration.names import REASON_TAG, RENEWS_TAG, asset_key, batch_partitions
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.tidy import tidy_up
from mlauto.product import ModelProduct

__all__ = ["training_assets"]

GROUP = "training"


def training_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    """`batch`, `training_set` and `model` of one product."""
    return [*_data_assets(product), _model_asset(product)]


def _data_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    partitions = batch_partitions(product)
    batch_key = asset_key(product, "batch")

    @dg.asset(
        key=batch_key,
        group_name=GROUP,
        owners=list(product.owners),
        partitions_def=partitions,
        pool=product.name,
        kinds={"parquet"},
        description=f"One arrival of data files in {product.data.landing}, as typed Parquet; bad ones are quarantined.",
        check_specs=[dg.AssetCheckSpec("expectations", asset=batch_key, blocking=True, partitions_def=partitions)],
    )
    def batch(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        taken = steps.take_batch(platform, product, context.partition_key)
        yield dg.MaterializeResult(
            metadata=render.batch(taken),
            data_version=dg.DataVersion(taken.digest or f"quarantined-{taken.key}"),
            check_results=[render.expectations(taken)],
        )

    @dg.asset(
        key=asset_key(product, "training_set"),
        deps=[batch],
        group_name=GROUP,
        owners=list(product.owners),
        pool=product.name,
        kinds={"parquet"},
        description="Manifest of the accepted batches, their weights, and the digest of it all.",
    )
    def training_set(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> dg.MaterializeResult[None]:
        assembled = steps.assemble_training_set(platform, product, context.log.info)
        return dg.MaterializeResult(
            metadata=render.training_set(assembled), data_version=dg.DataVersion(assembled.digest)
        )

    return [batch, training_set]


def _model_asset(product: ModelProduct) -> dg.AssetsDefinition:
    key = asset_key(product, "model")

    @dg.asset(
        key=key,
        deps=[asset_key(product, "verified_commit"), asset_key(product, "training_set")],
        group_name=GROUP,
        owners=list(product.owners),
        pool=product.name,
        kinds={"scikitlearn", "mlflow"},
        description="Estimator fitted at the verified commit on the training set; MLflow run and registered version.",
        check_specs=[
            dg.AssetCheckSpec("valid", asset=key, blocking=True),
            dg.AssetCheckSpec("not_worse_than_champion", asset=key, blocking=True),
        ],
    )
    def model(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        reason = context.run.tags.get(REASON_TAG, "asked for by hand")
        renew = RENEWS_TAG in context.run.tags
        trained = steps.train_model(platform, product, reason, context.log.info, renew=renew)
        yield dg.MaterializeResult(
            metadata=render.model(trained, platform),
            data_version=dg.DataVersion(trained.key),
            check_results=[render.check(outcome) for outcome in trained.checks],
        )
        if not trained.passed:  # nothing after it runs, so nothing else tidies up
            tidy_up(platform, product, context.log.info)

    return model
