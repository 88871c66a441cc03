"""How things of a product are called in Dagster: asset keys, partitions, pools and run tags."""

import dagster as dg

from mlauto.product import ModelProduct

__all__ = [
    "ATTEMPT_TAG",
    "DELIVERS_TAG",
    "DELIVERY",
    "INCIDENT_TAG",
    "PRODUCT_TAG",
    "REASON_TAG",
    "RENEWS_TAG",
    "ROLLBACK_TAG",
    "ROLLBACK_TO_TAG",
    "TRIGGER_TAG",
    "WORK_TAG",
    "asset_key",
    "batch_partitions",
    "commit_partitions",
    "delivery_keys",
]

WORK_TAG = "mlauto/work"  # what a run was asked to do; at most one active run has it
PRODUCT_TAG = "mlauto/product"  # runs that change a product's data, models or deployments
DELIVERS_TAG = "mlauto/delivers"  # the product whose models or deployments a run changes
ATTEMPT_TAG = "mlauto/attempt"
TRIGGER_TAG = "mlauto/trigger"
REASON_TAG = "mlauto/reason"
RENEWS_TAG = "mlauto/renews"  # a model is made of the live version's fits, which is its value
INCIDENT_TAG = "mlauto/incident"
ROLLBACK_TAG = "mlauto/rollback"
ROLLBACK_TO_TAG = "mlauto/rollback_to"

DELIVERY = ("model", "image", "test_deployment", "production")


def asset_key(product: ModelProduct, name: str) -> dg.AssetKey:
    """The key of one of a product's assets."""
    return dg.AssetKey([product.name, name])


def delivery_keys(product: ModelProduct, first: str = "model") -> list[dg.AssetKey]:
    """The assets from `first` to production, in order."""
    return [asset_key(product, name) for name in DELIVERY[DELIVERY.index(first) :]]


def commit_partitions(product: ModelProduct) -> dg.DynamicPartitionsDefinition:
    """One partition per tested commit."""
    return dg.DynamicPartitionsDefinition(name=f"{product.name}_commits")


def batch_partitions(product: ModelProduct) -> dg.DynamicPartitionsDefinition:
    """One partition per arrival of data."""
    return dg.DynamicPartitionsDefinition(name=f"{product.name}_batches")
