"""`type: mlauto.ModelProduct`: the Dagster Component, a skin over `graph.product_definitions`."""

import dagster as dg
from pydantic import BaseModel

from mlauto.errors import ProductError
from mlauto.orchestration.graph import product_definitions
from mlauto.product import ModelProduct as Product

__all__ = ["ModelProduct"]


class ModelProduct(dg.Component):
    """One scikit-learn model product: assets and checks for its whole life-cycle, from one YAML file."""

    def __init__(self, product: Product) -> None:
        self.product = product

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The YAML's schema: unknown keys are errors with file and line."""
        return Product

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "ModelProduct":
        """The component of one YAML document, validated against the schema already.

        Raises `ProductError` when its folder is not called like the product: its expectations would not be found.
        """
        product = Product.model_validate(attributes)
        if context.path.name != product.name:
            raise ProductError(
                f"{context.path / 'defs.yaml'}: the product is called {product.name!r}, its folder"
                f" {context.path.name!r}: rename one of them, files beside the YAML are looked for by the name"
            )
        return cls(product)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The product's graph."""
        del context
        return product_definitions(self.product)
