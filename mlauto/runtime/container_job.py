"""One container in which commands run: made, spoken to over a socket, and removed whatever happens.

The socket lies in a directory of ours that the container sees read-only: nothing that it writes lands on this machine
but what is taken from it (`mlauto.runtime.parcel`).
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from mlauto.runtime.boxes import BOX_LABEL, box, listening
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec, Engine, EngineError, Mount
from mlauto.runtime.inside import BOX
from mlauto.runtime.parcel import Delivery, ParcelError, receive, say
from mlauto.runtime.process import Capture, Finished

__all__ = ["ContainerJob", "Order"]

START_SECONDS = 60.0
GRACE_SECONDS = 10.0  # the process inside ends a command at its limit; the container is killed so much later
FULL = ("No space left on device", "Errno 28")
UNREACHED = ("Network is unreachable", "Temporary failure in name resolution", "Name or service not known")


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command, and what to bring back of it: the names `fetch` in `folder` inside, below `into` here.

    `copy` is a tree inside that is copied to `cwd` first. `limit` bounds the output that is kept.
    """

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    timeout: float
    folder: str
    fetch: Sequence[str]
    into: Path
    limit: int = 64_000
    copy: str = ""

    def message(self) -> dict[str, Any]:
        """As it is sent."""
        named = {"argv": list(self.argv), "fetch": list(self.fetch), "env": dict(self.env), "folder": self.folder}
        return {**named, "cwd": self.cwd, "timeout": self.timeout, "copy": self.copy}


@dataclass
class ContainerJob:
    """A running container of a workshop image. Make one with `ContainerJob.started`; it may be `ended` by a command."""

    engine: Engine
    spec: ContainerSpec
    container: str
    connection: socket.socket
    stream: BinaryIO
    ended: bool = False

    @classmethod
    @contextmanager
    def started(cls, engine: Engine, spec: ContainerSpec, home: Path) -> Iterator["ContainerJob"]:
        """Start a container that waits for orders. Raises `EngineError` when it does not come up."""
        with box(home) as folder, listening(folder) as listener:
            labels = {**spec.labels, HOME_LABEL: str(home), BOX_LABEL: str(folder)}
            container = engine.create(
                replace(spec, labels=labels, mounts=(*spec.mounts, Mount(source=folder, target=BOX)))
            )
            try:
                engine.start(container)
                with _accepted(engine, container, listener) as connection, connection.makefile("rb") as stream:
                    yield cls(engine, spec, container, connection, stream)
            finally:
                engine.remove(container)

    def do(self, order: Order, on_line: Callable[[str], None] | None = None) -> Finished:
        """Do one order to its end or its time limit. Raises `EngineError` when it could not even be begun."""
        began, late = time.monotonic(), threading.Event()
        capture = Capture(order.limit, on_line)

        def stop() -> None:
            late.set()
            self.engine.kill(self.container)

        killer = threading.Timer(order.timeout + GRACE_SECONDS, stop)
        killer.daemon = True
        # even if the killing fails, nobody waits for ever
        self.connection.settimeout(order.timeout + 6 * GRACE_SECONDS)
        killer.start()
        try:
            said = self._follow(order, capture)
        finally:
            killer.cancel()
            capture.close()
        finished = Finished(None, capture.text(), time.monotonic() - began, timed_out=late.is_set())
        return self._lost(finished) if said is None else self._told(said, finished)

    def _follow(self, order: Order, capture: Capture) -> dict[str, Any] | None:
        """Lines and files until the command's end; None when the container ended before."""
        delivery = Delivery(order.into, order.fetch, limit=sum(self.spec.tmpfs.values()) << 20)
        try:
            say(self.connection, order.message())
            while (message := receive(self.stream)) is not None:
                if "line" in message:
                    capture.feed(str(message["line"]).encode(errors="replace") + b"\n")
                elif "file" in message:
                    delivery.take(message, self.stream)
                else:
                    return message
        except TimeoutError as error:
            raise EngineError(f"container {self.container[:12]} neither answers nor ends: see the engine") from error
        except ParcelError as error:
            self.ended = True  # what comes next on that connection is anybody's guess
            return {"exit": None, "why": str(error)}
        except OSError:
            return None
        return None

    def _told(self, said: Mapping[str, Any], finished: Finished) -> Finished:
        """How the command ended, in the words of the process inside."""
        if "failed" in said:
            raise EngineError(f"container {self.container[:12]} cannot begin: {str(said['failed'])[:2000]}")
        code = said.get("exit")
        code = code if isinstance(code, int) else None
        self.ended = self.ended or bool(said.get("full"))  # the next one needs room, too
        why = "; ".join(_met(said, self.spec, finished.output)) if code != 0 else ""
        if refused := said.get("refused"):
            code, why = code or 1, f"only plain files are taken: {str(refused)[:2000]}"
        return replace(
            finished, exit_code=code, timed_out=said.get("timed_out") is True, why=why or str(said.get("why", ""))[:500]
        )

    def _lost(self, finished: Finished) -> Finished:
        """How a command ended that took the container with it."""
        self.ended = True
        self.engine.wait(self.container, GRACE_SECONDS)
        state = self.engine.container(self.container)
        if finished.timed_out:
            return finished
        if state is None:
            raise EngineError(f"container {self.container[:12]} was removed while a command ran in it: run it again")
        why = f"it ended everything in its container (exit code {state.exit_code})"
        if state.oom_killed:
            why = f"the memory limit of {self.spec.memory_mb} MB was reached"
        return replace(finished, exit_code=state.exit_code or 1, why=why)


def _met(said: Mapping[str, Any], spec: ContainerSpec, output: str) -> Iterator[str]:
    """A sentence for each limit that a failed command met."""
    if said.get("oom"):
        yield f"the memory limit of {spec.memory_mb} MB was reached"
    if said.get("forks"):
        yield f"more than {spec.pids} processes and threads were wanted at a time"
    full = [space for space in spec.tmpfs if space in (said.get("full") or ())]
    yield from (f"more than {spec.tmpfs[space]} MB were written to {space}" for space in full)
    if not full and any(word in output for word in FULL):
        sizes = ", ".join(f"{size} MB in {space}" for space, size in spec.tmpfs.items())
        yield f"more was written than there is room for: {sizes}"
    if any(word in output for word in UNREACHED):
        yield "there is no network here: put what is needed into the repository"
    if "Read-only file system" in output:
        yield f"nothing but {' and '.join(spec.tmpfs)} can be written to"


def _accepted(engine: Engine, container: str, listener: socket.socket) -> socket.socket:
    """The connection of the process inside, once it is ready."""
    deadline = time.monotonic() + START_SECONDS
    listener.settimeout(1.0)
    while time.monotonic() < deadline:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            state = engine.container(container)
            if state is None or state.status not in {"created", "running"}:
                break
            continue
        listener.close()  # nobody else is let in
        return connection
    said = engine.tail(container, 5) or "it said nothing"
    raise EngineError(f"container {container[:12]} did not come up as a workshop: {said}")
