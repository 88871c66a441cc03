"""When written lines reach the disk itself: by a thread within a bound, or before the reply, many requests at a time.

A line that was written survives the death of the process, `kill -9` included, because the kernel has it. Only a power
cut or a crash of the kernel can lose it, until `fdatasync`; which costs a request as much as the whole rest of it.
"""

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from mlauto.serving.errors import StateError

__all__ = ["MODES", "Syncer", "sync_folder"]

MODES = ("background", "shared")
BOUND_SECONDS = 1.0


class Syncer:
    """One thread that runs the `fdatasync`s of any number of logs, off the thread that answers users.

    `background`: what was written is on disk within about `bound` seconds. `shared`: at once, and `durable` waits for
    it; all requests that wait at a time share one pass. The thread begins with the first task and is a daemon.
    """

    def __init__(self, mode: str = "background", *, bound: float = BOUND_SECONDS) -> None:
        """Raises `StateError` for a mode that does not exist."""
        if mode not in MODES:
            raise StateError(f"MLAUTO_LOG_SYNC={mode[:40]!r} is no way to sync the log: use {' or '.join(MODES)}")
        self.shared = mode == "shared"
        self.failures = 0
        self._pause = bound / 2  # a line may be written right after a pass began
        self._tasks: deque[Callable[[], None]] = deque()
        self._waiting: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._gathering = False
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._problem: OSError | None = None
        self._failed_at = -math.inf

    def submit(self, task: Callable[[], None]) -> None:
        """Have the thread run `task` in its next pass. The task may raise `OSError`; it is reported and counted."""
        self._tasks.append(task)
        if not self.shared:  # there it is who waits that wakes the thread, or time
            self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)
            self._thread.start()

    async def durable(self) -> None:
        """Return once all that was submitted before is done; at once unless `shared`.

        Raises `OSError` when the disk failed, now or within the last second.
        """
        if not self.shared or self._thread is None:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting.append((loop, waiter))
        if not self._gathering:  # the requests that this turn of the loop has still to answer share the pass
            self._gathering = True
            loop.call_soon(self._gathered)
        await waiter

    def _gathered(self) -> None:
        self._gathering = False
        self._wake.set()

    def stop(self) -> None:
        """Do what is left now, and end the thread; a task submitted later begins a new one."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._hurry.set()
            self._wake.set()
            thread.join()
            self._hurry.clear()

    def _run(self) -> None:
        ending = False
        while not ending:
            self._wake.wait(self._pause if self.shared else None)
            ending = self._hurry.is_set() if self.shared else self._hurry.wait(self._pause)
            self._wake.clear()
            waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._pass()
            # a line may be synced, in vain, between its write and its request's wait: failures are told for a while
            recent = time.monotonic() - self._failed_at < BOUND_SECONDS
            problem = self._problem if recent else None
            for loop in {loop for loop, _ in waiting}:
                waiters = [waiter for of, waiter in waiting if of is loop]
                with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                    loop.call_soon_threadsafe(_answer, waiters, problem)

    def _pass(self) -> None:
        """Run what was submitted so far."""
        for _ in range(len(self._tasks)):
            task = self._tasks.popleft()
            try:
                task()
            except OSError as error:
                self._problem, self._failed_at = error, time.monotonic()
                self.failures += 1
                print(f"the prediction log could not be synced to disk: {error}", file=sys.stderr, flush=True)


def _answer(waiters: list[asyncio.Future[None]], problem: OSError | None) -> None:
    for waiter in waiters:
        if waiter.done():  # the client is gone
            continue
        if problem is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(problem)


def sync_folder(folder: Path) -> None:
    """Have the names of new files in a folder survive a power cut. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
