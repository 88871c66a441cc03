"""What a follower knows of the versions and routes: a copy of what its leader told it, with links of its own."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from mlauto.serving.backend import DRAIN_SECONDS, Backend
from mlauto.serving.gatewaystate import RouteState, VersionState
from mlauto.serving.route import ROLES, Product, Route, Versions, route_of
from mlauto.serving.wire.signature import Signature

__all__ = ["Mirror", "Mirrored", "View"]

POLL_SECONDS = 0.02


class _VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """A version as its process is now, and where that listens."""

    socket: str
    entry: VersionState
    state: str
    signature: Signature | None
    generation: int
    failures: int
    silent: int
    problem: str


class _ProductView(msgspec.Struct, frozen=True, kw_only=True):
    """A product's versions and its route."""

    versions: dict[str, _VersionView]
    route: RouteState


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a follower must know, and the processes that answer users, the leader first."""

    pids: tuple[int, ...]
    products: dict[str, _ProductView]

    @classmethod
    def of(cls, versions: Versions, pids: tuple[int, ...]) -> "View":
        """What is so now."""
        return cls(pids=pids, products={name: _product(product) for name, product in versions.products.items()})


class Mirrored(Backend):
    """A version whose process is the leader's: asked as any other, but never started or stopped from here."""

    def follow(self, told: _VersionView) -> None:
        """Be as the leader says. What waited for a process that is gone is asked of another."""
        gone = self.state == "ready" and (told.state != "ready" or told.generation != self.generation)
        self.generation, self.failures, self.silent = told.generation, told.failures, told.silent
        self.problem = told.problem
        if told.signature != self.signature:
            self.signature = told.signature
        self.state = told.state
        if gone:
            self._link.close()
            self._batches.give_up(told.problem or "the process ended")

    def leave(self) -> None:
        """Nothing is asked of it any more."""
        self._link.close()
        self._batches.give_up("the process was stopped")


class Mirror(Versions):
    """The copy. A request that has begun keeps the product that it began with, as at the leader's."""

    def __init__(self) -> None:
        super().__init__()
        self.pids: tuple[int, ...] = ()
        self._leaving: set[Mirrored] = set()

    def follow(self, view: View) -> None:
        """Be as the leader says, at once and as a whole."""
        self.pids = view.pids
        for name in [name for name in self.products if name not in view.products]:
            self._leaving.update(_mirrored(self.products.pop(name).versions))
        for name, told in view.products.items():
            product = self.products.setdefault(name, Product(name))
            before = product.versions
            product.versions = {version: self._version(product, version, one) for version, one in told.versions.items()}
            self._leaving.update(_mirrored(before) - _mirrored(product.versions))
            product.route = route_of(product.versions, told.route)
        self.changed()

    async def finish(self) -> list[tuple[str, str]]:
        """Let requests finish (10 s at most) on what is no longer here; returns the versions that have left."""
        leaving = list(self._leaving)
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(backend.in_flight for backend in leaving) and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        for backend in leaving:
            backend.leave()
        if leaving:
            await asyncio.sleep(POLL_SECONDS)  # who was just answered counts that in one of the loop's next turns
        left = [backend for backend in leaving if backend in self._leaving]
        self._leaving.difference_update(left)
        return [(one.product, one.version) for one in left if not self._has(one.product, one.version)]

    def in_flight(self) -> dict[tuple[str, str], int]:
        """Requests in flight by product and version, where there are any."""
        here = (backend for product in self.products.values() for backend in product.versions.values())
        return {(one.product, one.version): one.in_flight for one in here if one.in_flight}

    def _has(self, product: str, version: str) -> bool:
        return product in self.products and version in self.products[product].versions

    def _version(self, product: Product, version: str, told: _VersionView) -> Backend:
        found = product.versions.get(version)
        if not isinstance(found, Mirrored) or str(found.socket) != told.socket:
            found = Mirrored(
                product.name,
                version,
                told.entry,
                socket=Path(told.socket),
                log=Path(told.socket),
                changed=self.changed,
            )
        found.follow(told)
        return found


def _mirrored(versions: Mapping[str, Backend]) -> set[Mirrored]:
    return {backend for backend in versions.values() if isinstance(backend, Mirrored)}


def _product(product: Product) -> _ProductView:
    versions = {
        version: _VersionView(
            socket=str(backend.socket),
            entry=backend.entry,
            state=backend.state,
            signature=backend.signature,
            generation=backend.generation,
            failures=backend.failures,
            silent=backend.silent,
            problem=backend.problem,
        )
        for version, backend in product.versions.items()
    }
    return _ProductView(versions=versions, route=_route(product.route))


def _route(route: Route) -> RouteState:
    names = {role: getattr(getattr(route, role), "version", None) for role in ROLES}
    return RouteState(**names, percent=route.percent)
