"""What images are called: for people's eyes, and for a registry. Nothing is found by these names."""

import hashlib
import re

from mlauto.settings import Settings

__all__ = ["repository", "slug"]


def repository(settings: Settings, product: str) -> str:
    """`mlauto/<home>/<product>`: state directories that share an engine do not take each other's tags."""
    home = hashlib.sha256(str(settings.home).encode()).hexdigest()[:8]
    return f"mlauto/{home}/{slug(product)}"


def slug(product: str) -> str:
    """A product's name with what every registry takes: small letters, digits, single dashes."""
    return re.sub("[^a-z0-9]+", "-", product.lower()).strip("-") or "model"
