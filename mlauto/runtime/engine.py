"""The seam to a container engine: what is built, run, asked and removed there, and how it is said.

Containers are closed unless their spec opens them: no network, a read-only root, no capability, no new privilege,
bounded memory, processes and temporary space, an unprivileged user. Whatever is made through here carries the label
`mlauto.owner`, and nothing without it is ever removed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mlauto.errors import DeliveryError

__all__ = [
    "HOME_LABEL",
    "MADE_LABEL",
    "OWNER",
    "OWNER_LABEL",
    "Build",
    "ContainerSpec",
    "ContainerState",
    "Engine",
    "EngineError",
    "EngineImage",
    "Health",
    "Mount",
]

OWNER_LABEL = "mlauto.owner"
OWNER = "mlauto"
MADE_LABEL = "mlauto.made"  # of containers made through here: a container has its image's labels, whoever starts it
HOME_LABEL = "mlauto.home"  # the state directory that a container or image belongs to: engines are shared


class EngineError(DeliveryError):
    """The engine refused, failed or did not answer; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class EngineImage:
    """An image in the engine's store. `id` is the digest of its configuration; `layers` are digests, lowest first.

    `created` and `tagged` (when it last got a tag, if ever) are ISO 8601.
    """

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    layers: tuple[str, ...]
    size: int
    created: str
    config: Mapping[str, object]
    architecture: str = "amd64"
    tagged: str = ""


@dataclass(frozen=True, kw_only=True)
class Build:
    """One run of the classic builder over the directory `context`; `target` is a stage of its `dockerfile`."""

    context: Path
    dockerfile: str
    target: str
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "none"


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A file or directory of this machine that a container sees at `target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, kw_only=True)
class Health:
    """The engine runs `command` in the container every `seconds`; `retries` failures in a row make it unhealthy."""

    command: Sequence[str]
    seconds: float
    retries: int
    start_seconds: float


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """A container to be made. `image` is an id, never a tag. `tmpfs` maps paths to MB; memory counts without swap.

    `weight` is its share of the processors beside other containers, where they are short. No program runs from a
    `tmpfs` path that is not `executable`. `entrypoint` replaces the image's. `restart` has the engine start it again
    whenever it ends and after a reboot, until it is stopped.
    """

    name: str
    image: str
    command: Sequence[str]
    user: str
    entrypoint: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    tmpfs: Mapping[str, int] = field(default_factory=lambda: {"/tmp": 64})  # noqa: S108 -- the container's own
    executable: Sequence[str] = ()
    workdir: str = "/"
    memory_mb: int = 512
    cpus: float = 1.0
    weight: int = 1
    pids: int = 64
    network: str = "none"
    restart: bool = False
    health: Health | None = None


@dataclass(frozen=True, kw_only=True)
class ContainerState:
    """`status` and `health` are the engine's words (`created`, `running`, `exited`, ...); `health` may be empty.

    `created` is ISO 8601.
    """

    id: str
    name: str
    image: str
    status: str
    health: str
    exit_code: int
    oom_killed: bool
    restarts: int
    labels: Mapping[str, str]
    created: str = ""


class Engine(Protocol):
    """A container engine. Every method raises `EngineError`; what is removed twice, or unknown, is removed."""

    def version(self) -> str:
        """The engine's version, from an engine that answers."""
        ...

    def image(self, reference: str) -> EngineImage | None:
        """The image of that id, digest or tag; None where the engine has none."""
        ...

    def images(self, labels: Mapping[str, str]) -> list[EngineImage]:
        """Every image that carries all those labels; an empty value fits any."""
        ...

    def build(self, build: Build, on_line: Callable[[str], None] | None = None) -> EngineImage:
        """Build and tag; the error ends with the log's last lines."""
        ...

    def load(self, archive: Iterable[bytes]) -> None:
        """Take an archive in the format of `docker save`; the engine may lack the layers that it leaves out."""
        ...

    def tag(self, image: str, tag: str) -> None:
        """Let `tag` (`repository:name`) name that image."""
        ...

    def push(self, tag: str) -> str:
        """Push to the registry that the tag names; the digest (`sha256:...`) by which it can be pulled."""
        ...

    def pull(self, repository: str, digest: str) -> EngineImage:
        """Pull exactly that digest."""
        ...

    def remove_image(self, reference: str) -> None:
        """Remove an image, or one of its tags. Refused for one that lacks the owner's label or is in use."""
        ...

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, without starting it; its id. The error says so when the name is taken."""
        ...

    def start(self, container: str) -> None:
        """Start it; one that runs is left alone."""
        ...

    def run(self, container: str, on_chunk: Callable[[bytes], None]) -> None:
        """Start one that was just made, and hand over what it writes, until it ends."""
        ...

    def wait(self, container: str, seconds: float) -> bool:
        """Whether it has ended within that time."""
        ...

    def kill(self, container: str) -> None:
        """SIGKILL, at once; one that has ended is left alone."""
        ...

    def stop(self, container: str, seconds: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds; it is not restarted."""
        ...

    def remove(self, container: str) -> None:
        """Kill and remove it. Refused for one that lacks the owner's label."""
        ...

    def tail(self, container: str, lines: int = 40) -> str:
        """The last lines that it wrote."""
        ...

    def container(self, container: str) -> ContainerState | None:
        """The state of the container of that id or name; None where there is none."""
        ...

    def containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """Every container, running or not, that carries all those labels; an empty value fits any."""
        ...
