"""Commands of other people, run with a time limit, a clean environment and bounded output.

Each command gets a process group of its own, and the whole group is gone when `run_command` returns: neither a server
that a test forgot nor a child that ignores SIGTERM outlives it.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

__all__ = ["Capture", "Finished", "run_command", "run_program", "scrubbed_environment", "truncated"]

NO_PROGRAM = "no such program here: install it, or correct code.checks"
KEPT = ("TZ", "TMPDIR")
# A grandchild that left the group may hold the pipe open for ever; so long it is listened to after the command's end.
LAST_WORDS_SECONDS = 0.5
LONGEST_LINE = 16_384


@dataclass(frozen=True)
class Finished:
    """How a command ended. `exit_code` is None when it was killed at the time limit, -n when signal n ended it.

    `why` names what it met where that is known, as far as exit code and output do not tell it.
    """

    exit_code: int | None
    output: str
    seconds: float
    timed_out: bool
    why: str = ""


def scrubbed_environment(**extra: str) -> dict[str, str]:
    """The whole environment that other people's code gets: search path, locale, one thread per library, and `extra`.

    Nothing else of this process passes: no token, no password, no setting of ours or of Dagster's. Give `HOME` a
    temporary directory; without one it names a directory that does not exist. The directory of this Python comes first
    in `PATH`, so that `pytest` and `ruff` are those of this installation.
    """
    here = str(Path(sys.executable).parent)
    path = [here, *(p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if p and p != here)]
    environment = {
        "PATH": os.pathsep.join(path),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment.update({name: os.environ[name] for name in KEPT if name in os.environ})
    return {**environment, **extra}


def truncated(output: str, limit: int) -> str:
    """The text, or its beginning and end with a note between them when it is longer than `limit` characters."""
    if len(output) <= limit:
        return output
    head = limit // 2
    tail = limit - head
    return f"{output[:head]}\n[... {len(output) - limit:,} characters left out ...]\n{output[-tail:]}"


def run_program(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    on_line: Callable[[str], None] | None = None,
    limit: int = 64_000,
) -> Finished:
    """`run_command` of a program on `PATH` of `env`, or of one below `cwd` when it is named with a slash."""
    found = shutil.which(cwd / argv[0]) if "/" in argv[0] else shutil.which(argv[0], path=env["PATH"])
    if found is None:
        return Finished(127, f"{argv[0]}: {NO_PROGRAM}", 0.0, timed_out=False, why=NO_PROGRAM)
    return run_command([str(found), *argv[1:]], cwd=cwd, env=env, timeout=timeout, on_line=on_line, limit=limit)


def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    on_line: Callable[[str], None] | None = None,
    limit: int = 64_000,
) -> Finished:
    """Run a command to its end or to the time limit (seconds); its output and errors, as one text of about `limit`.

    `on_line` gets each line as it comes, without its newline. A command that does not exist or may not be executed
    ends with 127 or 126 and a sentence, as in a shell. Memory is bounded whatever the command prints.
    """
    began = time.monotonic()
    if not cwd.is_dir():
        return Finished(127, f"the directory {cwd} does not exist", 0.0, timed_out=False)
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        code = 126 if isinstance(error, PermissionError) else 127
        return Finished(code, f"{argv[0]}: {error.strerror or error}", time.monotonic() - began, timed_out=False)
    capture = Capture(limit, on_line)
    try:
        timed_out = _follow(process, capture, began + timeout)
    finally:
        # the process is not reaped yet, so its group's number cannot belong to anybody else
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        _drain(process, capture)
    ended: int | None = None if timed_out else process.returncode
    return Finished(ended, capture.text(), time.monotonic() - began, timed_out=timed_out)


def _follow(process: subprocess.Popen[bytes], capture: "Capture", deadline: float) -> bool:
    """Read until the process ends (False) or the deadline passes (True)."""
    stdout = _pipe(process)
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                if stdout in ready:
                    chunk = os.read(stdout.fileno(), 65_536)
                    if chunk:
                        capture.feed(chunk)
                    else:
                        selector.unregister(stdout)
                elif ended in ready:
                    return False
                if time.monotonic() > deadline:
                    return True
    finally:
        os.close(ended)


def _pipe(process: subprocess.Popen[bytes]) -> IO[bytes]:
    return cast(IO[bytes], process.stdout)  # it was opened with PIPE


def _drain(process: subprocess.Popen[bytes], capture: "Capture") -> None:
    """What still lies in the pipe."""
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    with _pipe(process) as stream, selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())) and time.monotonic() < deadline:
            chunk = os.read(stream.fileno(), 65_536)
            if not chunk:
                break
            capture.feed(chunk)
    capture.close()


class Capture:
    """The first and the last `limit / 2` bytes of a stream, and its lines as they come.

    `feed` it every chunk, then `close` it; `text` is what was kept, with a note where something was left out.
    """

    def __init__(self, limit: int, on_line: Callable[[str], None] | None) -> None:
        self._half = max(1, limit // 2)
        self._on_line = on_line
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._pending = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        room = self._half - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[max(0, room) :]
        excess = len(self._tail) - self._half
        if excess > 0:
            del self._tail[:excess]
            self._left_out += excess
        if self._on_line is not None:
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            if len(self._pending) > LONGEST_LINE:
                lines, self._pending = [*lines, self._pending], b""
            for line in lines:
                self._on_line(line.decode(errors="replace").rstrip("\r"))

    def close(self) -> None:
        """No more bytes: hand on the last line, if it had no newline."""
        if self._on_line is not None and self._pending:
            self._on_line(self._pending.decode(errors="replace"))
            self._pending = b""

    def text(self) -> str:
        """What was kept."""
        note = f"\n[... {self._left_out:,} bytes left out ...]\n".encode() if self._left_out else b""
        return bytes(self._head + note + self._tail).decode(errors="replace")
