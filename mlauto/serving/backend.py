"""One version that runs: a child process with a model server, started again with growing pauses when it dies."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlauto.serving.batches import ANSWER_SECONDS, Batches
from mlauto.serving.calls import Done
from mlauto.serving.child import Child, Running, trim
from mlauto.serving.gatewaystate import VersionState
from mlauto.serving.web.link import Link, LinkError, LinkTimeoutError, Reply
from mlauto.serving.wire.labelkeys import with_keys
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature

__all__ = ["DRAIN_SECONDS", "READY_SECONDS", "Backend", "StartError"]

READY_SECONDS = 60.0
DRAIN_SECONDS = 10.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 30.0
STABLE_SECONDS = 60.0  # a process that lived so long is started again at once when it dies
# A process is asked for a sign of life so often; it is killed after so many that did not come in time, one after the
# other. They are counted, not timed: a gateway that was suspended itself must not blame its model servers.
PROBE_PAUSE = 2.0
PROBE_SECONDS = 2.0
MOST_MISSED = 5


class StartError(Exception):
    """The version did not become ready; the message ends with the tail of its log."""


class Backend:
    """A version's process, its state (`starting`, `ready`, `failed`, `stopped`) and the connections to it.

    `silent` is how many signs of life it owes: while it owes any, others are asked first. `generation` counts the
    processes: a request that failed on one of them may be asked again of the next.
    """

    longest_pause = LONGEST_PAUSE

    def __init__(
        self,
        product: str,
        version: str,
        entry: VersionState,
        *,
        socket: Path,
        log: Path,
        changed: Callable[[], None],
        keys: Path | None = None,
    ) -> None:
        """`keys`: the file that names the product's key columns."""
        self.product = product
        self.version = version
        self.entry = entry
        self.state = "starting"
        self.signature: Signature | None = None
        self.generation = 0
        self.failures = 0
        self.silent = 0
        self.problem = ""
        self.socket = socket
        self._log, self._keys = log, keys
        self._changed = changed
        self._link = Link(socket)
        self._batches = Batches(self._link, version)
        self._child: Running | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._child.pid if self._child else None

    @property
    def in_flight(self) -> int:
        """Requests that wait for this version or are being answered by it."""
        return self._batches.in_flight

    @property
    def hopeful(self) -> bool:
        """True while it is worth waiting for: it starts, or failed only once or twice in a row."""
        return self.state == "starting" or (self.state == "failed" and self.failures <= 2)

    @property
    def patience(self) -> float:
        """Seconds within which it has to become ready."""
        return READY_SECONDS

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
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        self._set("stopped")
        await self._end_process(STOP_SECONDS)

    def post(self, rows: bytes, count: int, done: Done) -> None:
        """`ask` for callers that do not wait: `done` gets the answer, or what `ask` raises."""
        self._batches.post(rows, count, done)

    async def ask(self, rows: bytes, count: int, *, seconds: float = ANSWER_SECONDS, alone: bool = False) -> Answer:
        """The answer to a JSON list of `count` rows, asked together with whatever else waits unless `alone`.

        Raises `LinkError` when another process may be asked instead, `RequestError` when the model refuses the values,
        `ModelError` when it fails, `UnavailableError` (504) when it takes longer than `seconds`.
        """
        return await self._batches.put(rows, count, seconds=seconds, alone=alone)

    async def metadata(self) -> Reply:
        """What the model server says of its model. Raises `LinkError` or `LinkTimeoutError`."""
        return await self._link.request("GET", f"/v2/models/{self.product}", seconds=ANSWER_SECONDS)

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
                    self.problem = await self._over(self._child)
            except StartError as error:
                self.problem = str(error)
            self.failures = 0 if time.monotonic() - began > STABLE_SECONDS else self.failures + 1
            self._set("failed")
            await self._end_process(0)
            pause = min(FIRST_PAUSE * 2 ** (self.failures - 1), self.longest_pause) if self.failures else 0.0
            reason = self.problem.splitlines()[0]
            print(f"{self.product} {self.version}: {reason}; again in {pause:g} s", file=sys.stderr, flush=True)
            await asyncio.sleep(pause)

    async def _over(self, child: Running) -> str:
        """Wait until the process has ended, or has given no sign of life for too long; what to say about it."""
        while self.silent < MOST_MISSED:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), PROBE_PAUSE if not self.silent else PROBE_SECONDS / 10)
                return f"the model server ended: {child.how()}"
            silent, self.silent = self.silent, 0 if await self._lives(child) else self.silent + 1
            if silent != self.silent or self._rekeyed():
                self._changed()
        return f"the model server gave no sign of life for {MOST_MISSED * PROBE_SECONDS:g} s and is killed"

    def _rekeyed(self) -> bool:
        """Whether the product's key columns are others than before; they are taken then."""
        before = self.signature
        self.signature = before and with_keys(before, self._keys)
        return self.signature is not before

    async def _lives(self, child: Running) -> bool:
        """Whether its event loop answers in time; a connection that is not taken counts as no answer, then."""
        try:
            await self._link.request("GET", "/v2/health/live", seconds=PROBE_SECONDS)
        except LinkTimeoutError:
            return False
        except LinkError:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.ended.wait(), PROBE_SECONDS)
            return False
        return True

    async def _launch(self) -> None:
        """Spawn a process and wait until it answers. Raises `StartError`."""
        self._set("starting")
        self.generation += 1
        self.silent = 0
        child = self._child = self._spawn()
        ended = asyncio.create_task(child.ended.wait())
        ready = asyncio.create_task(self._until_ready())
        try:
            await asyncio.wait({ended, ready}, timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                ready.result()
                self.problem = ""
                self._set("ready")
            elif ended.done():
                raise StartError(f"the model server ended before it was ready: {child.how()}\n{child.tail()}")
            else:
                raise StartError(f"the model server was not ready within {self.patience:g} s\n{child.tail()}")
        finally:
            ended.cancel()
            ready.cancel()

    def _spawn(self) -> Running:
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", "mlauto.serving.server", "--bundle", self.entry.bundle]
        return Child([*command, "--socket", str(self.socket), "--parent", str(os.getpid())], self._log, self._on_end)

    def _on_end(self, child: Running) -> None:
        if child is self._child:
            self._link.close()
            self._batches.give_up(f"the process ended: {child.how()}")
            if self.state == "ready":
                self._set("failed")  # at once, so that no further request is sent there

    async def _until_ready(self) -> None:
        while True:
            with contextlib.suppress(LinkError, LinkTimeoutError):
                found = await self._link.request("GET", "/signature", seconds=READY_SECONDS)
                said = (found.headers.get("x-mlauto-name"), found.headers.get("x-mlauto-version"))
                if said != (self.product, self.version):
                    raise StartError(f"the bundle is version {said[1]} of {said[0]}: build it for {self.product}")
                self.signature = with_keys(msgspec.json.decode(found.body, type=Signature), self._keys)
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _end_process(self, seconds: float) -> None:
        """Ask the process to end, and kill it after so many seconds."""
        child, self._child = self._child, None
        self._link.close()
        self._batches.give_up("the process was stopped")
        if child is not None:
            await child.end(seconds)
        self._forget_socket()

    def _forget_socket(self) -> None:
        self.socket.unlink(missing_ok=True)

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._changed()
