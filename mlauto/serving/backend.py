"""One version that runs: a child process with a model server, started again with growing pauses when it dies."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlauto.serving.child import Child, trim
from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.gatewaystate import VersionState
from mlauto.serving.link import Link, LinkError, LinkTimeoutError, Reply
from mlauto.serving.protocol import Answer
from mlauto.serving.signature import Signature

__all__ = ["READY_SECONDS", "Backend", "StartError"]

READY_SECONDS = 60.0
ANSWER_SECONDS = 30.0
DRAIN_SECONDS = 10.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 30.0
STABLE_SECONDS = 60.0  # a process that lived so long is started again at once when it dies


class StartError(Exception):
    """The version did not become ready; the message ends with the tail of its log."""


class Backend:
    """A version's process, its state (`starting`, `ready`, `failed`, `stopped`) and the connections to it.

    `generation` counts the processes: a request that failed on one of them may be asked again of the next.
    """

    def __init__(
        self, product: str, version: str, entry: VersionState, *, socket: Path, log: Path, changed: Callable[[], None]
    ) -> None:
        self.product = product
        self.version = version
        self.entry = entry
        self.state = "starting"
        self.signature: Signature | None = None
        self.generation = 0
        self.failures = 0
        self.in_flight = 0
        self.problem = ""
        self._socket = socket
        self._log = log
        self._changed = changed
        self._link = Link(socket)
        self._child: Child | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._child.pid if self._child else None

    @property
    def hopeful(self) -> bool:
        """True while it is worth waiting for: it starts, or failed only once or twice in a row."""
        return self.state == "starting" or (self.state == "failed" and self.failures <= 2)

    async def start(self) -> None:
        """Start the process, return when it is ready, and keep it running. Raises `StartError`, with nothing left."""
        try:
            await self._launch()
            self._keeper = asyncio.create_task(self._keep(launched=True))
        finally:
            if self._keeper is None:  # it failed, or whoever wanted it was cancelled
                await self._end_process(0)
                self._set("stopped")

    def resume(self, slots: asyncio.Semaphore) -> None:
        """Start the process in the background and keep it running, however often it fails."""
        self._keeper = asyncio.create_task(self._keep(launched=False, slots=slots))

    async def stop(self) -> None:
        """Let requests in flight finish (10 s at most), then end the process."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), DRAIN_SECONDS)
        self._set("stopped")
        await self._end_process(STOP_SECONDS)

    async def ask(self, rows: bytes) -> Answer:
        """The answer to a JSON list of rows. Raises `LinkError` when another process may be asked instead.

        Raises `RequestError` when the model refuses the values, `ModelError` when it fails, `UnavailableError` (504)
        when it takes more than 30 s.
        """
        try:
            found = await self.request("POST", "/rows", rows)
        except LinkTimeoutError as error:
            raise UnavailableError(f"version {self.version}: {error}", 504, self.version) from None
        if found.status == 200:
            try:
                return msgspec.json.decode(found.body, type=Answer)
            except msgspec.MsgspecError as error:
                raise ModelError(f"version {self.version} answered something that is no prediction: {error}") from None
        message = _sentence(found.body)
        if found.status == 422:
            raise RequestError(message, 422)
        raise ModelError(f"version {self.version}: {message}")

    async def request(self, method: str, path: str, body: bytes = b"") -> Reply:
        """One exchange with the model server. Raises `LinkError` or `LinkTimeoutError`."""
        self.in_flight += 1
        self._idle.clear()
        try:
            return await self._link.request(method, path, body, seconds=ANSWER_SECONDS)
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()

    def trim_log(self) -> None:
        """Empty a log that grew too large."""
        trim(self._log)

    async def _keep(self, *, launched: bool, slots: asyncio.Semaphore | None = None) -> None:
        """Start the process whenever there is none, until cancelled."""
        while True:
            began = time.monotonic()
            try:
                if not launched:
                    async with slots or contextlib.nullcontext():
                        await self._launch()
                launched = False
                if self._child is not None:
                    await self._child.ended.wait()
                    self.problem = f"the model server ended: {self._child.how()}"
            except StartError as error:
                self.problem = str(error)
            self.failures = 0 if time.monotonic() - began > STABLE_SECONDS else self.failures + 1
            self._set("failed")
            await self._end_process(0)
            pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), LONGEST_PAUSE) if self.failures else 0.0
            reason = self.problem.splitlines()[0]
            print(f"{self.product} {self.version}: {reason}; again in {pause:g} s", file=sys.stderr, flush=True)
            await asyncio.sleep(pause)

    async def _launch(self) -> None:
        """Spawn a process and wait until it answers. Raises `StartError`."""
        self._set("starting")
        self.generation += 1
        child = self._child = self._spawn()
        ended = asyncio.create_task(child.ended.wait())
        ready = asyncio.create_task(self._until_ready())
        try:
            await asyncio.wait({ended, ready}, timeout=READY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                self.problem = ""
                self._set("ready")
            elif ended.done():
                raise StartError(f"the model server ended before it was ready: {child.how()}\n{child.tail()}")
            else:
                raise StartError(f"the model server was not ready within {READY_SECONDS:.0f} s\n{child.tail()}")
        finally:
            ended.cancel()
            ready.cancel()

    def _spawn(self) -> Child:
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "mlauto.serving.server", "--bundle", self.entry.bundle]
        return Child([*command, "--socket", str(self._socket), "--parent", str(os.getpid())], self._log, self._on_end)

    def _on_end(self, child: Child) -> None:
        if child is self._child:
            self._link.close()
            if self.state == "ready":
                self._set("failed")  # at once, so that no further request is sent there

    async def _until_ready(self) -> None:
        while True:
            with contextlib.suppress(LinkError, LinkTimeoutError):
                found = await self._link.request("GET", "/signature", seconds=READY_SECONDS)
                said = (found.headers.get("x-mlauto-name"), found.headers.get("x-mlauto-version"))
                if said != (self.product, self.version):
                    raise StartError(f"the bundle is version {said[1]} of {said[0]}: build it for {self.product}")
                self.signature = msgspec.json.decode(found.body, type=Signature)
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _end_process(self, seconds: float) -> None:
        """Ask the process to end, and kill it after so many seconds."""
        child, self._child = self._child, None
        self._link.close()
        if child is not None:
            await child.end(seconds)
        self._socket.unlink(missing_ok=True)

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._changed()


def _sentence(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "the model server answered something that is no JSON"
    return found.get("error", "the model server gave no reason")
