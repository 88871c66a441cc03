"""Who answers a product's users."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlauto.serving.backend import Backend
from mlauto.serving.gatewaystate import RouteState

__all__ = ["ROLES", "Product", "Route", "Versions", "route_of"]

ROLES = ("champion", "fallback", "canary", "shadow")


@dataclass(frozen=True)
class Route:
    """Who answers users; replaced as a whole, so that a request sees one or the other.

    `fallback` stands behind the champion, `canary` answers `percent` of the requests with the champion behind it, and
    `shadow` gets a copy of them all.
    """

    champion: Backend | None = None
    fallback: Backend | None = None
    canary: Backend | None = None
    percent: float = 0.0
    shadow: Backend | None = None

    def replaced(self, old: Backend, new: Backend | None) -> "Route":
        """The same with another backend, or none, wherever this one stood."""
        return Route(
            new if self.champion is old else self.champion,
            new if self.fallback is old else self.fallback,
            new if self.canary is old else self.canary,
            0.0 if self.canary is old and new is None else self.percent,
            new if self.shadow is old else self.shadow,
        )

    def ready(self) -> Iterable[Backend]:
        """Those that can answer now, best first."""
        return (backend for backend in (self.champion, self.fallback) if backend and backend.state == "ready")


@dataclass
class Product:
    """A product's running versions and its route."""

    name: str
    versions: dict[str, Backend] = field(default_factory=dict)
    route: Route = Route()


class Versions:
    """All products with their running versions and routes; to be used from one event loop."""

    def __init__(self) -> None:
        self.products: dict[str, Product] = {}
        self._change = asyncio.Event()

    async def change(self, seconds: float) -> None:
        """Return when some version's state or a route has changed, or when time is up."""
        try:
            await asyncio.wait_for(self._change.wait(), max(0.0, seconds))
        except TimeoutError:
            return

    def changed(self) -> None:
        """Wake those that wait for a change."""
        self._change.set()
        self._change = asyncio.Event()


def route_of(versions: Mapping[str, Backend], wanted: RouteState) -> Route:
    """The route of that state, with running backends for the versions that it names."""
    champion, fallback, canary, shadow = (versions.get(getattr(wanted, role) or "") for role in ROLES)
    return Route(champion, fallback, canary, wanted.percent if canary else 0.0, shadow)
