"""Model servers in containers: one for each version of a product and image, known by name, reached at a unix socket.

Name and folder follow from product, version and image id: who was killed in between finds what it had made. The engine
keeps them running; a server that hangs is ended by its own health check, from inside.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.runtime.boxes import container_user
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec, ContainerState, Engine, EngineImage, Health, Mount
from mlauto.runtime.images import PRODUCT_LABEL, VERSION_LABEL
from mlauto.runtime.unix_http import Connection
from mlauto.settings import Settings
from mlauto.store import digest_of

__all__ = ["HEALTH", "SERVER_LABEL", "Server", "Servers"]

SERVER_LABEL = "mlauto.server"  # its name; other containers inherit an image's labels, but not this one
READY_SECONDS = 60.0
DRAIN_SECONDS = 10.0
PROBE_SECONDS = 2.0
POLL_SECONDS, LOOK_SECONDS = 0.01, 0.1  # its socket is cheap to ask, the engine is not
WEIGHT = 8  # users' requests before tests and trainings
INSIDE = "/run/mlauto"
COMMAND = ("--bundle", "/model", "--socket", f"{INSIDE}/model.sock")
# A hung server is ended by the first check that begins after it hung, within 38 s; the gateway asks others after 2 s.
# It costs the engine 0.1 s of a processor to run anything in a container.
HEALTH = Health(
    command=("python", "-P", "-m", "mlauto.serving.health", f"{INSIDE}/model.sock"),
    seconds=30,
    retries=3,
    start_seconds=READY_SECONDS,
)
MEMORY_MB: Mapping[str, int] = {"compiled": 512, "sklearn": 1024}


@dataclass(frozen=True)
class Server:
    """The container of a version: its name on the engine, and the folder that it shares with this machine."""

    product: str
    version: str
    name: str
    folder: Path

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "model.sock"


class Servers:
    """The model servers of one state directory. Making one connects to nothing."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._home = str(settings.home)
        self._folder = settings.gateway_home / "containers"
        self._engine = engine

    def place(self, product: str, version: str, image: str) -> Server:
        """The server of that image id, whether it runs or not."""
        key = digest_of(self._home, product, version, image)[:12]
        return Server(product, version, f"mlauto-{product}-{version}-{key}", self._folder / key)

    @contextmanager
    def alone(self, product: str) -> Iterator[None]:
        """No other process starts or stops servers of the product within the block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{product}.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def run(self, product: str, version: str, image: EngineImage) -> Server:
        """Have a container of exactly that image run; one that is sound is left as it is. Raises `EngineError`."""
        server = self.place(product, version, image.id)
        state = self._engine.container(server.name)
        if state is not None and not _sound(state, image):
            self._engine.remove(state.id)
            state = None
        if state is None:
            self._engine.create(self._spec(server, image))
        if state is None or state.status != "running":
            self._engine.start(server.name)
        return server

    def wait(self, server: Server) -> None:
        """Return when it says that it serves its version.

        Raises `DeliveryError`, with the tail of its log, when it ends, serves something else or takes too long.
        """
        began = time.monotonic()
        looked, restarts = began, None
        while (said := _said(server.socket)) is None:
            now = time.monotonic()
            if now - began > READY_SECONDS:
                raise self._problem(server, f"was not ready within {READY_SECONDS:g} s")
            if restarts is None or now - looked > LOOK_SECONDS:
                state = self._engine.container(server.name)
                if state is None:
                    raise DeliveryError(f"{_title(server)}: container {server.name} was removed: start it again")
                restarts = state.restarts if restarts is None else restarts
                if state.status != "running" or state.restarts > restarts:
                    raise self._problem(server, f"ended before it was ready: {_how(state)}")
                looked = time.monotonic()
            time.sleep(POLL_SECONDS)
        if said != (server.product, server.version):
            raise self._problem(server, f"serves version {said[1]} of {said[0]}")

    def state(self, server: Server) -> str:
        """The engine's word for it, `unhealthy`, or an empty text where there is none."""
        found = self._engine.container(server.name)
        return "" if found is None else "unhealthy" if found.health == "unhealthy" else found.status

    def remove(self, server: Server) -> None:
        """End it after the requests in flight; nothing stays of it."""
        self._engine.stop(server.name, DRAIN_SECONDS)
        self._engine.remove(server.name)
        shutil.rmtree(server.folder, ignore_errors=True)

    def clear(self, product: str, keep: Collection[str]) -> None:
        """End every server of the product whose name is not to be kept."""
        for state in self._engine.containers({**self._ours(), PRODUCT_LABEL: product}):
            if state.name not in keep:
                key = state.name.rpartition("-")[2]
                self.remove(Server(product, state.labels[VERSION_LABEL], state.name, self._folder / key))

    def products(self) -> frozenset[str]:
        """Those that have servers."""
        return frozenset(state.labels[PRODUCT_LABEL] for state in self._engine.containers(self._ours()))

    def _ours(self) -> dict[str, str]:
        return {SERVER_LABEL: "", HOME_LABEL: self._home}

    def _spec(self, server: Server, image: EngineImage) -> ContainerSpec:
        user = container_user()
        server.folder.mkdir(parents=True, exist_ok=True)
        server.folder.chmod(0o700)
        os.chown(server.folder, user, -1)
        return ContainerSpec(
            name=server.name,
            image=image.id,
            command=COMMAND,
            user=f"{user}:{user}",
            labels={
                **self._ours(),
                SERVER_LABEL: server.name,
                PRODUCT_LABEL: server.product,
                VERSION_LABEL: server.version,
            },
            mounts=(Mount(source=server.folder, target=INSIDE, writable=True),),
            memory_mb=MEMORY_MB.get(image.labels.get("mlauto.flavour", ""), max(MEMORY_MB.values())),
            weight=WEIGHT,
            restart=True,
            health=HEALTH,
        )

    def _problem(self, server: Server, what: str) -> DeliveryError:
        tail = self._engine.tail(server.name).strip() or "it wrote nothing"
        return DeliveryError(f"{_title(server)}: container {server.name} {what}\n{tail}")


def _sound(state: ContainerState, image: EngineImage) -> bool:
    """Whether it is, or can become, what is wanted: not where it was stopped, hangs or ends again and again."""
    return state.image == image.id and state.status in ("running", "created") and state.health != "unhealthy"


def _said(path: Path) -> tuple[str, str] | None:
    """Product and version that a server names; None where none answers."""
    connection = Connection(path, PROBE_SECONDS)
    try:
        connection.request("GET", "/signature")
        reply = connection.getresponse()
        return reply.headers.get("x-mlauto-name", ""), reply.headers.get("x-mlauto-version", "")
    except (HTTPException, OSError):
        return None
    finally:
        connection.close()


def _title(server: Server) -> str:
    return f"version {server.version} of {server.product}"


def _how(state: ContainerState) -> str:
    return f"exit code {state.exit_code}" + (", out of memory" if state.oom_killed else "")
