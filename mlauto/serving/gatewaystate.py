"""What the gateway should run, in one file that is replaced atomically: `gateway/state.json`."""

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from mlauto.serving.errors import StateError

__all__ = ["GatewayState", "ProductState", "RouteState", "VersionState", "load", "save"]


class VersionState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a version is reached: as a process of this gateway's own, made from a bundle directory, or at a unix socket.

    `image` is what the container behind the socket is made from; the gateway only remembers it for whoever makes it.
    """

    bundle: str = ""
    socket: str = ""
    image: str = ""

    @property
    def kind(self) -> str:
        """`process` or `container`."""
        return "container" if self.socket else "process"


class RouteState(msgspec.Struct, frozen=True, kw_only=True):
    """Which versions answer a product's users: see `mlauto.serving.supervisor.Route`."""

    champion: str | None = None
    fallback: str | None = None
    canary: str | None = None
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 0.0
    shadow: str | None = None


class ProductState(RouteState, frozen=True, kw_only=True):
    """Which versions of a product should run, and which of them answer users."""

    versions: dict[str, VersionState] = {}


class GatewayState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a gateway needs to go on where another was killed."""

    format: Literal[1] = 1
    products: dict[str, ProductState] = {}

    def product(self, name: str) -> ProductState:
        """The product's state; nothing runs of one that was never heard of."""
        return self.products.get(name, ProductState())

    def with_version(self, product: str, version: str, entry: VersionState) -> "GatewayState":
        """The same with one more version that should run."""
        known = self.product(product)
        return self._with(product, msgspec.structs.replace(known, versions={**known.versions, version: entry}))

    def without_version(self, product: str, version: str) -> "GatewayState":
        """The same with that version stopped; a product of which nothing runs is forgotten."""
        known = self.product(product)
        versions = {name: entry for name, entry in known.versions.items() if name != version}
        left = {role: None for role in ("fallback", "canary", "shadow") if getattr(known, role) == version}
        percent = 0.0 if known.canary == version else known.percent
        return self._with(product, msgspec.structs.replace(known, **left, percent=percent, versions=versions))

    def switched(self, product: str, route: RouteState) -> "GatewayState":
        """The same with another route."""
        parts = {name: getattr(route, name) for name in RouteState.__struct_fields__}
        return self._with(product, msgspec.structs.replace(self.product(product), **parts))

    def _with(self, name: str, product: ProductState) -> "GatewayState":
        products = {**self.products, name: product}
        return GatewayState(products={key: value for key, value in products.items() if value.versions})


def load(path: Path) -> GatewayState:
    """The state, or an empty one where there is no file. Raises `StateError` naming a file that does not parse."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return GatewayState()
    try:
        return msgspec.json.decode(content, type=GatewayState)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateError(f"{path} is no gateway state ({error}): move it away and deploy again") from error


def save(path: Path, state: GatewayState) -> None:
    """Replace the file so that a reader, or a crash, sees the old state or the new one. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(msgspec.json.format(msgspec.json.encode(state)))
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)  # there only if something above failed
