"""All versions that should run, and which of them answer users. Orders are recorded before they are followed."""

import asyncio
import itertools
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mlauto.serving import gatewaystate
from mlauto.serving.backend import READY_SECONDS, Backend, StartError
from mlauto.serving.contained import Contained
from mlauto.serving.errors import ControlError
from mlauto.serving.gatewaystate import GatewayState, RouteState, VersionState
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.others import Alone, Others
from mlauto.serving.route import ROLES, Product, Versions, route_of

__all__ = ["Supervisor"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STARTS_AT_ONCE = max(2, os.cpu_count() or 1)
TRIM_SECONDS = 10.0


class Supervisor(Versions):
    """Starts, switches and stops versions; every order is idempotent, and followed when `others` follow it, too."""

    def __init__(self, home: Path) -> None:
        """Read the state below `home` (the gateway's own directory). Raises `StateError`."""
        super().__init__()
        self.others: Others = Alone(Metrics())
        self._home = home
        self._state = gatewaystate.load(home / "state.json")
        self._recording = asyncio.Lock()
        self._orders: dict[tuple[str, str], asyncio.Lock] = {}
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    def resume(self) -> None:
        """Start everything that the state file says, in the background, and return at once.

        Champions come first, and fallbacks only when those are settled: users get the same version as before.
        """
        self._remove_stale_sockets()
        champions: list[Backend] = []
        others: list[Backend] = []
        for name, known in self._state.products.items():
            versions = {version: self._backend(name, version, entry) for version, entry in known.versions.items()}
            route = route_of(versions, known)
            self.products[name] = Product(name, versions, route)
            for backend in versions.values():
                (champions if backend is route.champion else others).append(backend)
        self._tasks = [asyncio.create_task(self._resume(champions, others)), asyncio.create_task(self._trim_logs())]

    async def _resume(self, champions: list[Backend], others: list[Backend]) -> None:
        slots = asyncio.Semaphore(STARTS_AT_ONCE)
        for backend in champions:
            backend.resume(slots)
        for backend in champions:
            await self._settled(backend)
        for backend in others:
            if backend.state != "stopped":  # meanwhile, by an order
                backend.resume(slots)

    async def start(self, product: str, version: str, bundle: str, *, socket: str = "", image: str = "") -> None:
        """Run a version, and return when it is ready. Raises `ControlError` with the tail of its log.

        It is made from the bundle, or found at the socket of a container that runs that image. A version that runs from
        another bundle or image is replaced without a gap: the old one serves until the new one can.
        """
        for what, text in (("product", product), ("version", version)):
            if not NAME.fullmatch(text):
                raise ControlError(f"{what}: {text[:80]!r} must be letters, digits, dots, dashes or underscores", 400)
        if socket and (bundle or not Path(socket).is_absolute()):
            raise ControlError(f"socket: {socket} is no absolute path, or there is a bundle beside it", 400)
        if not socket and not (Path(bundle).is_absolute() and (Path(bundle) / "manifest.json").is_file()):
            raise ControlError(f"bundle: {bundle} is no absolute path of a bundle directory", 400)
        entry = VersionState(bundle=bundle, socket=socket, image=image)
        async with self._orders.setdefault((product, version), asyncio.Lock()):
            known = self._known(product, version)
            if known is not None and known.entry == entry and await self._settled(known):
                return
            backend = self._backend(product, version, entry)
            try:
                await backend.start()
            except StartError as error:
                raise ControlError(f"version {version} of {product} did not start: {error}", 502) from error
            try:
                async with self._recording:
                    await self._record(self._state.with_version(product, version, entry))
                    replaced = self._adopt(backend)
            except ControlError:
                await backend.stop()
                raise
            await self.others.seen()
            if replaced is not None:
                await self.others.finished()
                await replaced.stop()

    async def switch(self, product: str, wanted: RouteState) -> None:
        """Let another route decide who answers users, atomically. Raises `ControlError` when a version is not ready."""
        for role in ROLES[1:]:
            if getattr(wanted, role) == wanted.champion:
                raise ControlError(
                    f"version {wanted.champion} of {product} cannot be its own {role}: name another, or none"
                )
        if wanted.percent and wanted.canary is None:
            raise ControlError(f"{product}: percent is {wanted.percent:g}, but there is no canary: name one")
        async with self._recording:
            for version in (getattr(wanted, role) for role in ROLES):
                backend = self._known(product, version) if version is not None else None
                if version is not None and (backend is None or backend.state != "ready"):
                    state = backend.state if backend else "not running"
                    raise ControlError(f"version {version} of {product} is not ready ({state}): start it first")
            await self._record(self._state.switched(product, wanted))
            found = self.products[product]
            found.route = route_of(found.versions, wanted)
            self.changed()
        await self.others.seen()

    async def stop(self, product: str, version: str) -> None:
        """Stop a version after its requests in flight. Raises `ControlError` while it is the champion."""
        async with self._orders.setdefault((product, version), asyncio.Lock()):
            async with self._recording:
                backend = self._known(product, version)
                if backend is None:
                    return
                found = self.products[product]
                if found.route.champion is backend:
                    raise ControlError(f"version {version} of {product} answers users: switch to another version first")
                await self._record(self._state.without_version(product, version))
                del found.versions[version]
                found.route = found.route.replaced(backend, None)
                if not found.versions:
                    del self.products[product]
            await self.others.finished()
            await backend.stop()
        self._orders.pop((product, version), None)

    async def shut_down(self) -> None:
        """End all processes; the state file stays, so that the next gateway goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(b.stop() for product in self.products.values() for b in product.versions.values()))

    def ready(self) -> list[tuple[str, str]]:
        """Product and version of everything that is ready."""
        running = (backend for product in self.products.values() for backend in product.versions.values())
        return [(backend.product, backend.version) for backend in running if backend.state == "ready"]

    async def ready_again(self, wanted: Iterable[tuple[str, str]]) -> str:
        """Wait until all those are ready; returns what is wrong with one that will not be, else an empty text."""
        left = set(wanted)
        while left := left.difference(self.ready()):
            for product, version in sorted(left):
                backend = self._known(product, version)
                if backend is None or not (backend.hopeful or backend.state == "ready"):
                    problem = backend.problem if backend else "it is not in the state file"
                    return f"version {version} of {product} does not start again: {problem}"
            await self.change(READY_SECONDS)
        return ""

    def status(self, elsewhere: Mapping[tuple[str, str], int] = MappingProxyType({})) -> dict[str, Any]:
        """All products with their route, and each version's state, process and bundle.

        `elsewhere` are the requests that other processes have in flight, by product and version.
        """
        return {
            name: {
                **{role: getattr(getattr(product.route, role), "version", None) for role in ROLES},
                "percent": product.route.percent,
                "versions": {
                    version: {
                        "state": backend.state,
                        "kind": backend.entry.kind,
                        "bundle": backend.entry.bundle,
                        "image": backend.entry.image,
                        "pid": backend.pid,
                        "starts": backend.generation,
                        "in_flight": backend.in_flight + elsewhere.get((name, version), 0),
                        "problem": backend.problem,
                    }
                    for version, backend in product.versions.items()
                },
            }
            for name, product in self.products.items()
        }

    def _remove_stale_sockets(self) -> None:
        """Those of gateways that were killed."""
        for path in (self._home / "run").glob("*.sock"):
            pid = path.stem.partition("-")[0]
            if not (pid.isdigit() and Path(f"/proc/{pid}").exists()):
                path.unlink(missing_ok=True)

    def _known(self, product: str, version: str) -> Backend | None:
        found = self.products.get(product)
        return found.versions.get(version) if found else None

    def _backend(self, product: str, version: str, entry: VersionState) -> Backend:
        log = self._home / "logs" / f"{product}-{version}.log"
        keys = self._home.parent / "products" / product / "records" / "label_keys.json"
        if entry.socket:
            own = Path(entry.socket)
            return Contained(product, version, entry, socket=own, log=log, changed=self.changed, keys=keys)
        # a socket of its own for each: a replacement starts beside what it replaces, and a gateway beside another
        socket = self._home / "run" / f"{os.getpid()}-{next(self._numbers)}.sock"
        return Backend(product, version, entry, socket=socket, log=log, changed=self.changed, keys=keys)

    def _adopt(self, backend: Backend) -> Backend | None:
        """Make a started version known, and return the one whose place it takes."""
        product = self.products.setdefault(backend.product, Product(backend.product))
        old = product.versions.get(backend.version)
        product.versions[backend.version] = backend
        if old is not None:
            product.route = product.route.replaced(old, backend)
        return old

    async def _record(self, state: GatewayState) -> None:
        """Write the new state before it is acted on; to be called with `_recording` held."""
        try:
            await asyncio.to_thread(gatewaystate.save, self._home / "state.json", state)
        except OSError as error:
            raise ControlError(f"the gateway's state cannot be written: {error}", 500) from error
        self._state = state

    async def _settled(self, backend: Backend) -> bool:
        """Whether a version that runs, or is just being started, is ready in the end."""
        deadline = time.monotonic() + READY_SECONDS
        while backend.state != "ready" and backend.hopeful and time.monotonic() < deadline:
            await self.change(deadline - time.monotonic())
        return backend.state == "ready"

    async def _trim_logs(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            for product in self.products.values():
                for backend in product.versions.values():
                    backend.trim_log()
