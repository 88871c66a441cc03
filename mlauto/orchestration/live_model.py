"""Which model answers users."""

from mlauto.product import ModelProduct
from mlauto.records import Deployment, TrainedModel
from mlauto.store import Store

__all__ = ["live_model"]


def live_model(store: Store, product: ModelProduct) -> TrainedModel | None:
    """The model of the version in production; None before anything was released."""
    production = store.read_record(product.name, "production", Deployment)
    return store.read_record(product.name, f"models/{production.version}", TrainedModel) if production else None
