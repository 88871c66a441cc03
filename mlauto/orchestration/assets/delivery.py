"""Continuous delivery: `image`, `test_deployment`, `production`."""

from collections.abc import Iterator, Sequence

import dagster as dg

from mlauto.orchestration import deployments, render, steps
from mlauto.orchestration.names import ROLLBACK_TAG, ROLLBACK_TO_TAG, WORK_TAG, asset_key
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.tidy import tidy_up
from mlauto.product import ModelProduct

__all__ = ["delivery_assets"]

GROUP = "delivery"


def _blocking(key: dg.AssetKey, names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=key, blocking=True) for name in names]


def delivery_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    """`image`, `test_deployment` and `production` of one product."""
    image_key = asset_key(product, "image")
    test_key = asset_key(product, "test_deployment")
    production_key = asset_key(product, "production")
    owners = list(product.owners)
    asked_again = product.delivery.replay > 0

    @dg.asset(
        key=image_key,
        deps=[asset_key(product, "model")],
        group_name=GROUP,
        owners=owners,
        pool=product.name,
        description="What a runtime can start, addressed by digest: a bundle directory, or a container image.",
        check_specs=_blocking(image_key, ["golden_predictions", "unprivileged"]),
    )
    def image(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        built = steps.build_model_image(platform, product)
        yield dg.MaterializeResult(
            metadata=render.image(built, platform.store),
            data_version=dg.DataVersion(built.digest),
            check_results=[render.check(outcome) for outcome in built.checks],
        )

    @dg.asset(
        key=test_key,
        deps=[image],
        group_name=GROUP,
        owners=owners,
        pool=product.name,
        description="The image running in the test environment, verified; no user's request reaches it.",
        check_specs=_blocking(test_key, ["contract", "parity", "latency", *(["replay"] if asked_again else [])]),
    )
    def test_deployment(platform: dg.ResourceParam[Platform]) -> Iterator[dg.MaterializeResult[None]]:
        yield deployments.deployment(steps.deploy_to_test(platform, product))

    @dg.asset(
        key=production_key,
        deps=[test_deployment],
        group_name=GROUP,
        owners=owners,
        pool=product.name,
        description="Which version answers users; rollout and rollback happen here.",
        check_specs=_blocking(production_key, ["serving_expected_version"]),
    )
    def production(
        context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]
    ) -> Iterator[dg.MaterializeResult[None]]:
        rollback = context.run.tags.get(ROLLBACK_TAG)
        if rollback is not None:
            to = context.run.tags.get(ROLLBACK_TO_TAG)
            released = steps.roll_back_release(platform, product, rollback, to)
        else:
            by_hand = WORK_TAG not in context.run.tags
            released = steps.release(platform, product, context.run.run_id, by_hand=by_hand)
        yield deployments.production(released, product.name, platform.store)
        tidy_up(platform, product, context.log.info)  # after the outcome is on record: nobody waits for it

    return [image, test_deployment, production]
