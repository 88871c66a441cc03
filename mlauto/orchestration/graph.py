"""One product's graph: the factory under the Component, and the heart of mlauto's use of Dagster."""

import warnings

import dagster as dg
from dagster._utils.warnings import PreviewWarning

from mlauto.orchestration.assets.delivery import delivery_assets
from mlauto.orchestration.assets.integration import commit_spec, integration_assets
from mlauto.orchestration.assets.monitoring import monitoring_assets
from mlauto.orchestration.assets.training import training_assets
from mlauto.product import ModelProduct

__all__ = ["product_definitions", "products_in"]


def product_definitions(product: ModelProduct) -> dg.Definitions:
    """All assets and checks of one product, keyed `<product>/<asset>`; sensors and resources belong to the location."""
    with warnings.catch_warnings():
        # partitioned checks are a preview feature; without them a commit's check would hide every other commit's
        warnings.simplefilter("ignore", PreviewWarning)
        assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
            commit_spec(product),
            *integration_assets(product),
            *training_assets(product),
            *delivery_assets(product),
            *monitoring_assets(product),
        ]
    return dg.Definitions(assets=assets)


def products_in(definitions: dg.Definitions) -> tuple[ModelProduct, ...]:
    """The products whose graphs are part of `definitions`, in the order of their names."""
    found = [
        ModelProduct.model_validate(spec.metadata["product"].value)
        for spec in definitions.assets or ()
        if isinstance(spec, dg.AssetSpec) and spec.key.path[-1] == "commit" and "product" in spec.metadata
    ]
    return tuple(sorted(found, key=lambda product: product.name))
