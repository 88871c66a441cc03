"""mlauto: a scikit-learn model's whole life, unattended, as Dagster assets."""

from typing import Any

__all__ = ["ModelProduct"]


def __getattr__(name: str) -> Any:
    """`mlauto.ModelProduct`, the component, without importing Dagster for those who only want a room."""
    if name == "ModelProduct":
        from mlauto.orchestration.component import ModelProduct

        return ModelProduct
    raise AttributeError(f"module 'mlauto' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is here, as `dg` reads it when it looks for components."""
    return [*globals(), *__all__]
