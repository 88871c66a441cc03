"""An engine in memory, for the tests of whatever stands on the seam."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mlauto.runtime.engine import (
    MADE_LABEL,
    OWNER,
    OWNER_LABEL,
    Build,
    ContainerSpec,
    ContainerState,
    EngineError,
    EngineImage,
)

__all__ = ["FakeEngine"]


@dataclass
class FakeEngine:
    """Images are what their labels and arguments say; containers run until they are killed, stopped or `ended`.

    `down` makes every call fail with that sentence; `refuses_load` makes `load` fail. `output` is what every container
    writes, unless `said` has something for its program. `moment` is when images get their tags. `calls` lists what was
    asked, in order.
    """

    down: str = ""
    refuses_load: bool = False
    output: bytes = b""
    moment: str = "2100-01-01T00:00:00Z"
    said: Mapping[str, bytes] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    held: dict[str, EngineImage] = field(default_factory=dict)
    made: dict[str, ContainerState] = field(default_factory=dict)
    specs: dict[str, ContainerSpec] = field(default_factory=dict)

    def put(self, reference: str, labels: Mapping[str, str] | None = None, layers: tuple[str, ...] = ()) -> EngineImage:
        """Have an image of that tag, whose id follows from tag, labels and layers."""
        content = json.dumps([reference, sorted((labels or {}).items()), layers]).encode()
        image = EngineImage(
            id=f"sha256:{hashlib.sha256(content).hexdigest()}",
            tags=(reference,),
            labels=dict(labels or {}),
            layers=layers or (f"sha256:{hashlib.sha256(reference.encode()).hexdigest()}",),
            size=1,
            created="2026-01-01T00:00:00Z",
            config={"Labels": dict(labels or {})},
            tagged=self.moment,
        )
        return self._hold(image)

    def ended(self, container: str, exit_code: int, *, oom_killed: bool = False) -> None:
        """Let a container have ended."""
        state = self._found(container)
        self.made[state.id] = replace(state, status="exited", exit_code=exit_code, oom_killed=oom_killed)

    def version(self) -> str:
        """`fake`."""
        self._call("version", "")
        return "fake"

    def image(self, reference: str) -> EngineImage | None:
        """By id or tag."""
        self._call("image", reference)
        return next((i for i in self.held.values() if reference == i.id or reference in i.tags), None)

    def images(self, labels: Mapping[str, str]) -> list[EngineImage]:
        """Those with all the labels."""
        self._call("images", "")
        return [image for image in self.held.values() if _fits(image.labels, labels)]

    def build(self, build: Build, on_line: Callable[[str], None] | None = None) -> EngineImage:
        """An image with the labels asked for."""
        self._call("build", build.tag)
        if on_line is not None:
            on_line(f"built {build.target}")
        return self.put(build.tag, {OWNER_LABEL: OWNER, **build.labels, "arguments": json.dumps(dict(build.arguments))})

    def load(self, archive: Iterable[bytes]) -> None:
        """The image that the archive's manifest and configuration describe."""
        self._call("load", "")
        if self.refuses_load:
            raise EngineError("an image cannot be loaded: this engine refuses")
        with tarfile.open(fileobj=io.BytesIO(b"".join(archive))) as whole:
            (manifest,) = json.load(whole.extractfile("manifest.json") or io.BytesIO())
            content = (whole.extractfile(manifest["Config"]) or io.BytesIO()).read()
        config = json.loads(content)
        image = EngineImage(
            id=f"sha256:{hashlib.sha256(content).hexdigest()}",
            tags=tuple(manifest["RepoTags"] or ()),
            labels=config["config"].get("Labels") or {},
            layers=tuple(config["rootfs"]["diff_ids"]),
            size=1,
            created=config["created"],
            config=config["config"],
            tagged=self.moment,
        )
        self._hold(image)

    def tag(self, image: str, tag: str) -> None:
        """Move the tag there."""
        self._call("tag", tag)
        found = self.image(image)
        if found is None:
            raise EngineError(f"image {image} cannot be tagged: it is not there")
        self._hold(replace(found, tags=tuple(dict.fromkeys((*found.tags, tag))), tagged=self.moment))

    def push(self, tag: str) -> str:
        """The image's id."""
        self._call("push", tag)
        found = self.image(tag)
        if found is None:
            raise EngineError(f"{tag} cannot be pushed: it is not there")
        return found.id

    def pull(self, repository: str, digest: str) -> EngineImage:
        """What was pushed."""
        self._call("pull", f"{repository}@{digest}")
        found = self.image(digest)
        if found is None:
            raise EngineError(f"{repository}@{digest} cannot be pulled: it is not there")
        return found

    def remove_image(self, reference: str) -> None:
        """Remove it, or one of several tags."""
        self._call("remove_image", reference)
        found = self.image(reference)
        if found is None:
            return
        if found.labels.get(OWNER_LABEL) != OWNER:
            raise EngineError(f"image {reference} was not made by mlauto and is not removed")
        if any(state.image == found.id for state in self.made.values()):
            raise EngineError(f"image {reference} cannot be removed: a container uses it")
        left = tuple(tag for tag in found.tags if tag != reference)
        if reference in found.tags and left:
            self.held[found.id] = replace(found, tags=left)
        else:
            del self.held[found.id]

    def create(self, spec: ContainerSpec) -> str:
        """A container of an image that is held."""
        self._call("create", spec.name)
        if spec.image not in self.held:
            raise EngineError(f"container {spec.name} cannot be made: no image {spec.image}")
        if any(state.name == spec.name for state in self.made.values()):
            raise EngineError(f"container {spec.name} cannot be made: the name is in use")
        identity = hashlib.sha256(f"{spec.name} {len(self.calls)}".encode()).hexdigest()
        self.specs[spec.name] = spec
        self.made[identity] = ContainerState(
            id=identity,
            name=spec.name,
            image=spec.image,
            status="created",
            health="",
            exit_code=0,
            oom_killed=False,
            restarts=0,
            labels={OWNER_LABEL: OWNER, MADE_LABEL: OWNER, **spec.labels},
            created=self.moment,
        )
        return identity

    def start(self, container: str) -> None:
        """It runs."""
        self._call("start", container)
        state = self._found(container)
        self.made[state.id] = replace(state, status="running")

    def run(self, container: str, on_chunk: Callable[[bytes], None]) -> None:
        """`output` or what is `said`, at once; it has ended with 0."""
        self._call("run", container)
        spec = self.specs[self._found(container).name]
        on_chunk(self.said.get([*spec.entrypoint, *spec.command, ""][0], self.output))
        self.ended(container, 0)

    def wait(self, container: str, seconds: float) -> bool:
        """Whether it is not running."""
        del seconds
        self._call("wait", container)
        return self._found(container).status != "running"

    def kill(self, container: str) -> None:
        """It has ended with 137."""
        self._call("kill", container)
        if (state := self.container(container)) is not None and state.status == "running":
            self.ended(container, 137)

    def stop(self, container: str, seconds: float) -> None:
        """It has ended with 0."""
        del seconds
        self._call("stop", container)
        if (state := self.container(container)) is not None and state.status == "running":
            self.ended(container, 0)

    def remove(self, container: str) -> None:
        """It is gone."""
        self._call("remove", container)
        if (state := self.container(container)) is not None:
            del self.made[state.id]

    def tail(self, container: str, lines: int = 40) -> str:
        """The last lines of `output`."""
        self._call("tail", container)
        return "\n".join(self.output.decode().splitlines()[-lines:])

    def container(self, container: str) -> ContainerState | None:
        """By id or name."""
        self._call("container", container)
        return next((s for s in self.made.values() if container in (s.id, s.name)), None)

    def containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """Those with all the labels."""
        self._call("containers", "")
        return [state for state in self.made.values() if _fits(state.labels, labels)]

    def _hold(self, image: EngineImage) -> EngineImage:
        """Take an image, and its tags from whatever had them."""
        for other in list(self.held.values()):
            self.held[other.id] = replace(other, tags=tuple(t for t in other.tags if t not in image.tags))
        self.held[image.id] = image
        return image

    def _found(self, container: str) -> ContainerState:
        state = next((s for s in self.made.values() if container in (s.id, s.name)), None)
        if state is None:
            raise EngineError(f"container {container} is not there")
        return state

    def _call(self, name: str, what: str) -> None:
        self.calls.append((name, what))
        if self.down:
            raise EngineError(self.down)


def _fits(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(name in labels and value in ("", labels[name]) for name, value in wanted.items())
