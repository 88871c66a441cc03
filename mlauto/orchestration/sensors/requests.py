"""The pieces of work that the live sensor asks for."""

from collections.abc import Sequence

from mlauto.orchestration.attempts import Retrainings
from mlauto.orchestration.names import (
    DELIVERS_TAG,
    INCIDENT_TAG,
    PRODUCT_TAG,
    REASON_TAG,
    ROLLBACK_TAG,
    ROLLBACK_TO_TAG,
    TRIGGER_TAG,
    asset_key,
    delivery_keys,
)
from mlauto.orchestration.sensors.work import Work
from mlauto.product import ModelProduct
from mlauto.records import Deployment

__all__ = ["delivery", "retraining", "rollback"]


def retraining(product: ModelProduct, incident: str, tried: Retrainings, cause: str) -> Work:
    """A fresh model and everything after it; a retraining whose run was lost keeps its name and is asked for again."""
    return Work(
        name=tried.lost or f"{incident}/retraining/{tried.attempts + 1:03d}",
        selection=delivery_keys(product),
        tags={
            PRODUCT_TAG: product.name,
            DELIVERS_TAG: product.name,
            TRIGGER_TAG: "incident",
            INCIDENT_TAG: incident,
            REASON_TAG: f"live quality: {cause}"[:250],
        },
    )


def rollback(product: ModelProduct, production: Deployment, cause: str, to: str | None) -> Work:
    """Back to version `to`, or to the newest good one before the live one."""
    target = {ROLLBACK_TO_TAG: to} if to else {}
    return Work(
        name=f"{product.name}/rollback/{production.version}",
        selection=[asset_key(product, "production")],
        tags={PRODUCT_TAG: product.name, DELIVERS_TAG: product.name, ROLLBACK_TAG: cause[:250], **target},
    )


def delivery(product: ModelProduct, name: str, reason: str, steps: Sequence[str]) -> Work:
    """The steps that are left of a delivery that was begun."""
    return Work(
        name=name,
        selection=[asset_key(product, step) for step in steps],
        tags={
            PRODUCT_TAG: product.name,
            DELIVERS_TAG: product.name,
            TRIGGER_TAG: "unfinished",
            REASON_TAG: reason[:250],
        },
    )
