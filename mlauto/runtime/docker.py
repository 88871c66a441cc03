"""The runtime of a machine with a container engine: images on the engine, their containers behind the gateway.

The gateway, which faces users, has no part in the engine: it is told of a container's socket when the version is ready.
"""

import shutil
from collections.abc import Collection
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import Engine, EngineError
from mlauto.runtime.gateway_runtime import GatewayRuntime
from mlauto.runtime.images import Images
from mlauto.runtime.servers import Servers
from mlauto.settings import Settings

__all__ = ["DockerRuntime"]


class DockerRuntime(GatewayRuntime):
    """The engine runs a container of each version. Without an engine, what answers users goes on answering."""

    def __init__(self, settings: Settings, engine: Engine | None = None, images: Images | None = None) -> None:
        """Connects to nothing and creates nothing."""
        super().__init__(settings)
        self._engine = engine or DockerEngine()
        self._images = images or Images(settings, self._engine)
        self._servers = Servers(settings, self._engine)

    def build(self, product: str, version: str, key: str, content: Path) -> Image:
        """The bundle as the last layer of an image. Raises `DeliveryError` when it is no bundle of that version."""
        image = self._images.model(product, version, key, content)
        shutil.rmtree(content, ignore_errors=True)
        return image

    def holds(self, product: str, image: Image) -> bool:
        """Whether the engine has it and it says that it is what the record says. Raises `EngineError` without one."""
        try:
            self._images.found(product, image)
        except EngineError:
            raise
        except DeliveryError:
            return False
        return True

    def start(self, product: str, image: Image) -> None:
        """Have a container of exactly that image behind the gateway; the error carries the tail of its log.

        One that is ready already is known by the gateway: then the engine is not even asked.
        """
        self.ensure()
        known = self._versions(product).get(image.version)
        if known is not None and (known["image"], known["state"]) == (image.digest, "ready"):
            return
        found = self._images.found(product, image)
        with self._servers.alone(product):
            server = self._servers.run(product, image.version, found)
            try:
                self._servers.wait(server)
                self._gateway.attach(product, image.version, server.socket, found.id)
            except DeliveryError:
                if server.name not in self._names(product):
                    self._servers.remove(server)
                raise
            self._servers.clear(product, self._names(product))

    def running(self, product: str) -> dict[str, str]:
        """What the gateway says, but `failed` for what it waits for and no container is there to become ready."""
        states = {}
        for version, entry in self._versions(product).items():
            states[version] = str(entry["state"])
            if entry["image"] and entry["state"] != "ready":
                server = self._servers.place(product, version, entry["image"])
                states[version] = "starting" if self._servers.state(server) == "running" else "failed"
        return states

    def stop(self, product: str, version: str) -> None:
        """The gateway lets go of it first, after the requests in flight; then its container is ended and removed."""
        self.ensure()
        with self._servers.alone(product):
            self._gateway.stop(product, version)
            self._servers.clear(product, self._names(product))

    def tidy(self, product: str, kept: Collection[Image], now: float) -> tuple[str, ...]:
        """Remove what no kept image needs: by labels, and of this state directory only."""
        return self._images.tidy(product, kept, now)

    def shut_down(self) -> None:
        """End the gateway, then the containers behind it; the next `ensure` makes them again."""
        super().shut_down()
        for product in self._servers.products():
            with self._servers.alone(product):
                self._servers.clear(product, ())

    def _wake(self) -> None:
        """The gateway remembers which images should run; after a shut-down nobody else starts them."""
        problems = []
        for product, known in self._gateway.status()["products"].items():
            with self._servers.alone(product):
                for version, entry in known["versions"].items():
                    image = self._engine.image(entry["image"]) if entry["image"] else None
                    if image is not None:
                        self._servers.run(product, version, image)
                    elif entry["image"]:
                        problems.append(f"version {version} of {product}: image {entry['image']} is gone: build it")
        if problems:
            raise DeliveryError("; ".join(problems))

    def _names(self, product: str) -> frozenset[str]:
        """The containers that should run, as the gateway remembers them."""
        known = self._versions(product).items()
        return frozenset(self._servers.place(product, v, entry["image"]).name for v, entry in known if entry["image"])
