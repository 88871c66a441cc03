"""The workshop in containers: a commit is tested and trained in one and the same image, and reaches nothing else.

What runs there sees the tree and its inputs read-only and writes to memory; what is wanted of it comes over a socket,
bounded. No network, no capability, no environment of ours; memory, processors, processes, space and time are limited.
"""

import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mlauto.runtime.boxes import container_user, remove_leftovers
from mlauto.runtime.container_job import ContainerJob, Order
from mlauto.runtime.engine import ContainerSpec, Engine, EngineImage, Mount
from mlauto.runtime.process import Finished
from mlauto.runtime.workshop import Bench, OnLine, RunPython, bench_environment

__all__ = ["DockerWorkshop", "Limits", "WorkshopImages"]

FLAVOUR = "workshop"
SCRATCH = "/scratch"
HOST_ONLY = ("PATH", "MPLCONFIGDIR", "TMPDIR")  # of an environment: what names places of this machine


class WorkshopImages(Protocol):
    """Where images come from: `mlauto.runtime.flavours.Flavours`."""

    def get(self, name: str) -> EngineImage:
        """The image of that flavour, built unless it is there."""
        ...

    def dependencies_key(self, name: str) -> str:
        """Digest of what decides its dependencies; builds nothing."""
        ...


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one container. `space_mb` is what it may write, which counts as memory too.

    `pids` is far above what a test suite or a training on all cores starts, and far below what an engine's host bears.
    """

    memory_mb: int = 4096
    space_mb: int = 1024
    pids: int = 512
    cpus: float = field(default_factory=lambda: float(len(os.sched_getaffinity(0))))


@dataclass(frozen=True)
class DockerWorkshop:
    """See `mlauto.runtime.workshop.Workshop`. `home` is the state directory, on the engine's machine."""

    engine: Engine
    images: WorkshopImages
    home: Path
    limits: Limits = field(default_factory=Limits)

    def image(self) -> str:
        """The id of the workshop image."""
        return self.images.get(FLAVOUR).id

    def environment(self) -> str:
        """That of the image's dependencies."""
        return self.images.dependencies_key(FLAVOUR)

    @contextmanager
    def bench(self, tree: Path) -> Iterator[Bench]:
        """One container for all commands; after one that brought it down, the next gets a fresh one."""
        image = self.image()
        with tempfile.TemporaryDirectory(prefix="mlauto-ci-") as received, ExitStack() as stack:
            yield _ContainerBench(self, image, tree, Path(received), stack)

    def python(self, tree: Path) -> RunPython:
        """In a container of its own, which lives as long as the module runs."""
        image = self.image()

        def run_python(
            module: str,
            argument: Path,
            *,
            cwd: Path,
            env: Mapping[str, str],
            timeout: float,
            on_line: OnLine | None = None,
            reads: Sequence[Path] = (),
            fetch: Sequence[str] = (),
        ) -> Finished:
            argv = ["python", "-m", module, str(argument)]
            order = Order(
                argv=argv, env=_there(env), timeout=timeout, fetch=fetch, into=cwd, cwd=str(cwd), folder=str(cwd)
            )
            with self.started(image, "training", str(cwd), [tree, *reads, *_handed_over(cwd)]) as job:
                return job.do(order, on_line)

        return run_python

    def tidy(self) -> tuple[str, ...]:
        """Containers whose makers are gone."""
        return tuple(f"container {name}" for name in remove_leftovers(self.engine, self.home))

    @contextmanager
    def started(self, image: str, what: str, space: str, reads: Sequence[Path]) -> Iterator[ContainerJob]:
        """A container that may write to `space` and sees `reads`; what killed processes left is removed first."""
        remove_leftovers(self.engine, self.home)
        tmpfs = {space: self.limits.space_mb, "/tmp": 64}  # noqa: S108 -- the container's own
        user = container_user()
        spec = ContainerSpec(
            name=f"mlauto-{what}-{uuid.uuid4().hex[:12]}",
            image=image,
            command=["python", "-m", "mlauto.runtime.inside", *tmpfs],
            user=f"{user}:{user}",
            mounts=[Mount(source=path, target=str(path)) for path in reads if path.exists()],
            tmpfs=tmpfs,
            executable=(space,),
            memory_mb=self.limits.memory_mb,
            cpus=self.limits.cpus,
            pids=self.limits.pids,
        )
        with ContainerJob.started(self.engine, spec, self.home) as job:
            yield job


@dataclass
class _ContainerBench:
    workshop: DockerWorkshop
    image: str
    source: Path
    received: Path
    stack: ExitStack
    tree: str = f"{SCRATCH}/tree"
    scratch: str = SCRATCH
    job: ContainerJob | None = None

    def run(
        self, argv: Sequence[str], *, timeout: float, on_line: OnLine | None, limit: int, report: str = ""
    ) -> Finished:
        fresh = self.job is None or self.job.ended
        if self.job is None or self.job.ended:
            self.stack.close()  # removes the one that ended
            self.job = self.stack.enter_context(self.workshop.started(self.image, "checks", SCRATCH, [self.source]))
        order = Order(
            argv=argv,
            cwd=self.tree,
            env=bench_environment(self.source, self.tree, self.scratch),
            timeout=timeout,
            folder=self.scratch,
            fetch=[report] if report else [],
            into=self.received,
            limit=limit,
            copy=str(self.source) if fresh else "",
        )
        return self.job.do(order, on_line)

    def file(self, report: str) -> Path:
        return self.received / report


def _there(env: Mapping[str, str]) -> dict[str, str]:
    """An environment without what names places of this machine."""
    return {name: value for name, value in env.items() if name not in HOST_ONLY}


def _handed_over(folder: Path) -> list[Path]:
    """The files that lie in a folder of ours, made the container user's; it sees them read-only."""
    found = sorted(folder.iterdir())
    for path in found:
        os.chown(path, container_user(), -1)
    return found
