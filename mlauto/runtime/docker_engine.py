"""The engine behind Docker's API, through Docker's own SDK. The address is `DOCKER_HOST`, or the engine's usual socket.

Only the classic builder is asked for, which every engine has.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlauto.runtime.docker_replies import check_socket, image_of, label_filters, problem, said, state_of
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

if TYPE_CHECKING:
    from docker import APIClient

__all__ = ["DockerEngine"]

SECONDS = 120.0  # for one answer of the engine
LOG_LINES = 20
LOG_LIMIT = {"max-size": "8m", "max-file": "2"}
NANO = 1_000_000_000
SHARES = 1024  # of a container of which nothing else is said


class DockerEngine:
    """See `mlauto.runtime.engine.Engine`. Making one connects to nothing."""

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        if "_sdk" in self.__dict__:
            self._sdk.close()

    def version(self) -> str:
        """The engine's version, from an engine that answers."""
        with said("the Docker engine cannot be asked"):
            return str(self._client.version()["Version"])

    def image(self, reference: str) -> EngineImage | None:
        """The image of that id, digest or tag; None where the engine has none."""
        from docker.errors import ImageNotFound

        with said(f"image {reference} cannot be looked at"):
            try:
                return image_of(self._client.inspect_image(reference))
            except ImageNotFound:
                return None

    def images(self, labels: Mapping[str, str]) -> list[EngineImage]:
        """Every image that carries all those labels; an empty value fits any."""
        with said("the images cannot be listed"):
            found = self._client.images(quiet=True, filters={"label": label_filters(labels)})
        images = [self.image(one) for one in dict.fromkeys(found)]
        return [image for image in images if image is not None]

    def build(self, build: Build, on_line: Callable[[str], None] | None = None) -> EngineImage:
        """Build and tag; the error ends with the log's last lines."""
        lines: list[str] = []
        with said(f"image {build.tag} cannot be built"):
            events = self._client.build(
                path=str(build.context),
                dockerfile=build.dockerfile,
                target=build.target,
                tag=build.tag,
                buildargs=dict(build.arguments),
                labels={OWNER_LABEL: OWNER, **build.labels},
                network_mode=build.network,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in events:
                text = str(event.get("stream") or event.get("error") or "").strip("\n")
                for line in filter(str.strip, text.splitlines()):
                    lines.append(line)
                    if on_line is not None:
                        on_line(line)
                if "error" in event:
                    raise problem(f"image {build.tag} cannot be built", "\n".join(lines[-LOG_LINES:]))
        built = self.image(build.tag)
        if built is None:
            raise EngineError(f"image {build.tag} was built, but another process took its tag: build it again")
        return built

    def load(self, archive: Iterable[bytes]) -> None:
        """Take an archive in the format of `docker save`; the engine may lack the layers that it leaves out."""
        with said("an image cannot be loaded"):
            for event in self._client.load_image(iter(archive)):
                if "error" in event:
                    raise problem("an image cannot be loaded", str(event["error"]))

    def tag(self, image: str, tag: str) -> None:
        """Let `tag` (`repository:name`) name that image."""
        with said(f"image {image} cannot be tagged {tag}"):
            self._client.tag(image, *tag.rsplit(":", 1))

    def push(self, tag: str) -> str:
        """Push to the registry that the tag names; the digest (`sha256:...`) by which it can be pulled."""
        digest = ""
        with said(f"{tag} cannot be pushed"):
            for event in self._client.push(*tag.rsplit(":", 1), stream=True, decode=True):
                if "error" in event:
                    raise problem(f"{tag} cannot be pushed", str(event["error"]))
                digest = event.get("aux", {}).get("Digest", digest)
        if not digest:
            raise EngineError(f"{tag} was pushed, but the registry told no digest: see the registry's log")
        return digest

    def pull(self, repository: str, digest: str) -> EngineImage:
        """Pull exactly that digest."""
        name = f"{repository}@{digest}"
        with said(f"{name} cannot be pulled"):
            for event in self._client.pull(repository, tag=digest, stream=True, decode=True):
                if "error" in event:
                    raise problem(f"{name} cannot be pulled", str(event["error"]))
        pulled = self.image(name)
        if pulled is None:
            raise EngineError(f"{name} was pulled, but is not there: pull it again")
        return pulled

    def remove_image(self, reference: str) -> None:
        """Remove an image, or one of its tags. Refused for one that lacks the owner's label or is in use."""
        from docker.errors import ImageNotFound

        found = self.image(reference)
        if found is None:
            return
        if found.labels.get(OWNER_LABEL) != OWNER:
            raise EngineError(f"image {reference} was not made by mlauto and is not removed")
        with said(f"image {reference} cannot be removed"):
            try:
                self._client.remove_image(reference)
            except ImageNotFound:
                return

    def create(self, spec: ContainerSpec) -> str:
        """Make a container, without starting it; its id. The error says so when the name is taken."""
        from docker.types import Healthcheck

        health = spec.health and Healthcheck(
            test=["CMD", *spec.health.command],
            interval=int(spec.health.seconds * NANO),
            timeout=int(spec.health.seconds * NANO),
            retries=spec.health.retries,
            start_period=int(spec.health.start_seconds * NANO),
        )
        with said(f"container {spec.name} cannot be made"):
            made = self._client.create_container(
                spec.image,
                command=list(spec.command),
                entrypoint=list(spec.entrypoint) or None,
                name=spec.name,
                user=spec.user,
                environment=dict(spec.environment),
                working_dir=spec.workdir,
                labels={OWNER_LABEL: OWNER, MADE_LABEL: OWNER, **spec.labels},
                healthcheck=health,
                host_config=self._host_config(spec),
            )
        return str(made["Id"])

    def start(self, container: str) -> None:
        """Start it; one that runs is left alone."""
        with said(f"container {container} cannot be started"):
            self._client.start(container)

    def run(self, container: str, on_chunk: Callable[[bytes], None]) -> None:
        """Start one that was just made, and hand over what it writes, until it ends."""
        seen = 0
        with said(f"container {container} cannot be run"):
            self._client.start(container)
            for chunk in self._client.logs(container, stream=True, follow=True):
                seen += len(chunk)
                on_chunk(chunk)
            self._client.wait(container)
            # following may miss the last words of one that ends at once
            rest = bytes(self._client.logs(container))[seen:]
        if rest:
            on_chunk(rest)

    def wait(self, container: str, seconds: float) -> bool:
        """Whether it has ended within that time."""
        import requests

        with said(f"container {container} cannot be waited for"):
            try:
                self._client.wait(container, timeout=max(seconds, 0.001))
            except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
                if "timed out" not in str(error).lower():
                    raise
                return False
        return True

    def kill(self, container: str) -> None:
        """SIGKILL, at once; one that has ended is left alone."""
        from docker.errors import APIError

        with said(f"container {container} cannot be killed"):
            try:
                self._client.kill(container)
            except APIError as error:
                if error.status_code not in (404, 409):  # not there, or not running
                    raise

    def stop(self, container: str, seconds: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds; it is not restarted."""
        from docker.errors import NotFound

        with said(f"container {container} cannot be stopped"):
            try:
                self._client.stop(container, timeout=round(seconds))
            except NotFound:
                return

    def remove(self, container: str) -> None:
        """Kill and remove it. Refused for one that lacks the owner's label."""
        from docker.errors import APIError, NotFound

        found = self.container(container)
        if found is None:
            return
        if found.labels.get(OWNER_LABEL) != OWNER:
            raise EngineError(f"container {container} was not made by mlauto and is not removed")
        with said(f"container {container} cannot be removed"):
            try:
                self._client.remove_container(found.id, force=True, v=True)
            except NotFound:
                return
            except APIError as error:
                if "already in progress" not in str(error):
                    raise
        while self.container(found.id) is not None:  # somebody else is removing it
            time.sleep(0.02)

    def tail(self, container: str, lines: int = 40) -> str:
        """The last lines that it wrote."""
        with said(f"the log of container {container} cannot be read"):
            return bytes(self._client.logs(container, tail=lines)).decode(errors="replace").strip()

    def container(self, container: str) -> ContainerState | None:
        """The state of the container of that id or name; None where there is none."""
        from docker.errors import NotFound

        with said(f"container {container} cannot be looked at"):
            try:
                return state_of(self._client.inspect_container(container))
            except NotFound:
                return None

    def containers(self, labels: Mapping[str, str]) -> list[ContainerState]:
        """Every container, running or not, that carries all those labels; an empty value fits any."""
        with said("the containers cannot be listed"):
            found = self._client.containers(quiet=True, all=True, filters={"label": label_filters(labels)})
        states = [self.container(one["Id"]) for one in found]
        return [state for state in states if state is not None]

    @property
    def _client(self) -> "APIClient":
        check_socket(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
        return self._sdk

    @cached_property
    def _sdk(self) -> "APIClient":
        import docker
        from docker.utils import kwargs_from_env

        return docker.APIClient(version="auto", timeout=SECONDS, **kwargs_from_env())

    def _host_config(self, spec: ContainerSpec) -> Any:
        from docker.types import LogConfig, Mount

        return self._client.create_host_config(
            network_mode=spec.network,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs={
                path: f"rw,nosuid,nodev,{'exec' if path in spec.executable else 'noexec'},size={size}m,mode=1777"
                for path, size in spec.tmpfs.items()
            },
            mounts=[Mount(m.target, str(m.source), type="bind", read_only=not m.writable) for m in spec.mounts],
            mem_limit=f"{spec.memory_mb}m",
            memswap_limit=f"{spec.memory_mb}m",
            nano_cpus=int(spec.cpus * NANO),
            cpu_shares=SHARES * spec.weight,
            pids_limit=spec.pids,
            restart_policy={"Name": "unless-stopped"} if spec.restart else None,
            init=True,  # reaps what other people's code leaves behind, and passes signals on
            ipc_mode="private",
            log_config=LogConfig(type="json-file", config=LOG_LIMIT),
        )
