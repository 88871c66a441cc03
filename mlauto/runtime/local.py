"""The runtime of one machine without a container engine: bundles in the store, processes under the gateway."""

import shutil
from collections.abc import Collection
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.gateway_runtime import GatewayRuntime
from mlauto.settings import Settings
from mlauto.store import Store, tree_digest

__all__ = ["LocalRuntime"]


class LocalRuntime(GatewayRuntime):
    """The gateway makes a process of each bundle."""

    def __init__(self, settings: Settings) -> None:
        """Connects to nothing and creates nothing."""
        super().__init__(settings)
        self._store = Store(settings.home)

    def build(self, product: str, version: str, key: str, content: Path) -> Image:
        """Move the bundle directory into the store. Raises `DeliveryError` when it is no bundle of that version."""
        from mlauto.serving import bundle
        from mlauto.serving.errors import BundleError

        try:
            manifest = bundle.read(content).manifest
        except BundleError as error:
            raise DeliveryError(f"{product} {version} cannot be built: {error}") from error
        if (manifest.name, manifest.version) != (product, version):
            raise DeliveryError(
                f"the bundle is version {manifest.version} of {manifest.name}, not {version} of {product}"
            )
        digest = self._store.put_tree(content)
        reference = str(self._store.tree_path(digest))
        return Image(kind="bundle", digest=digest, reference=reference, version=version, key=key)

    def holds(self, product: str, image: Image) -> bool:
        """Whether the store has the bundle, with the content that its digest says."""
        del product
        path = self._store.tree_path(image.digest)
        if path.is_dir() and tree_digest(path) == image.digest:
            return True
        shutil.rmtree(path, ignore_errors=True)
        return False

    def start(self, product: str, image: Image) -> None:
        """Start the bundle's model server; `DeliveryError` with the tail of its log when it does not become ready."""
        if image.kind != "bundle":
            raise DeliveryError(
                f"version {image.version} of {product} is a {image.kind}, which this runtime cannot start"
            )
        self.ensure()
        self._gateway.start(product, image.version, Path(image.reference))

    def tidy(self, product: str, kept: Collection[Image], now: float) -> tuple[str, ...]:
        """Nothing: bundles lie in the store, and go with whatever else no record names."""
        del product, kept, now
        return ()
