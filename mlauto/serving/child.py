"""A child process whose end is noticed at once, with its output in a file of bounded size."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["Child", "Running", "trim"]

LOG_LIMIT = 8 << 20
TAIL = 4000
POLL_SECONDS = 0.02
# Other people's code runs there: it gets what it needs to start, and no secret of whoever started the gateway.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONWARNINGS")


class Running(Protocol):
    """A server from when it is looked for to its end, whoever started it."""

    ended: asyncio.Event

    @property
    def pid(self) -> int | None:
        """The process, where it is ours."""
        ...

    def how(self) -> str:
        """How it ended."""
        ...

    def tail(self) -> str:
        """The last that it wrote, or where to look for it."""
        ...

    async def end(self, seconds: float) -> None:
        """Have nothing more to do with it after so many seconds."""
        ...


class Child:
    """One process from its start to its end; `ended` is set when it is gone and reaped."""

    def __init__(self, command: Sequence[str], log: Path, on_end: Callable[["Child"], None]) -> None:
        """Start it now, within a running event loop; `on_end` is called in that loop when it ends by itself."""
        self.ended = asyncio.Event()
        self._log = log
        self._on_end: Callable[[Child], None] | None = on_end
        log.parent.mkdir(parents=True, exist_ok=True)
        trim(log)
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # an interrupt from a terminal is for the gateway, which drains first
            )
        self.pid = self._process.pid
        self._watched = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._reap)

    def how(self) -> str:
        """How it ended: a signal or an exit code."""
        code = self._process.returncode
        if code is not None and code < 0:
            return f"signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"

    def tail(self) -> str:
        """The last 4 kB that it wrote."""
        with contextlib.suppress(FileNotFoundError), self._log.open("rb") as stream:
            size = self._log.stat().st_size
            stream.seek(max(self._log_start if self._log_start <= size else 0, size - TAIL))
            return stream.read().decode(errors="replace").strip()
        return ""

    async def end(self, seconds: float) -> None:
        """Ask it to end, kill it after so many seconds (0: at once), and return when it is reaped."""
        self._on_end = None
        if self.ended.is_set():
            return
        self._process.send_signal(signal.SIGTERM if seconds else signal.SIGKILL)
        deadline = time.monotonic() + seconds
        while not self.ended.is_set() and time.monotonic() < deadline:
            await asyncio.sleep(POLL_SECONDS)
        if not self.ended.is_set():
            self._process.kill()
            self._process.wait()
            self._reap()

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._watched)
        os.close(self._watched)
        self._process.wait()  # it has ended: this only collects its exit code
        self.ended.set()
        if self._on_end is not None:
            self._on_end(self)


def trim(log: Path) -> None:
    """Empty a log that grew beyond 8 MB; a model that prints on every request must not fill the disk."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            os.truncate(log, 0)
