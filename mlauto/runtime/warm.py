"""A warm process: libraries imported once, work done in forked children.

Imports are the loop's cost (FACTS: Great Expectations 3.1 s, MLflow 1.2 s, scikit-learn 1.1 s), so one process per
installation imports them and then only listens on a unix socket; `mlauto.runtime.forkserver` is that process, and this
is how to ask it. It lives exactly as long as the pipe on its standard input: whoever started it needs not stop it.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from io import FileIO
from pathlib import Path

from mlauto.errors import MlautoError
from mlauto.runtime.forkserver import Request, send
from mlauto.runtime.process import Capture, Finished, run_command
from mlauto.serving.web.sockets import short_path

__all__ = ["LIBRARIES", "NotWarmError", "WarmProcess", "start_time"]

# What runs and trainings import. Dagster's own modules are named by the launcher, which knows Dagster.
LIBRARIES = (
    "pandas",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.dummy",
    "sklearn.inspection",
    "skops.io",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mlflow",
    "mlflow.sklearn",
    "great_expectations",
)
START_LIMIT = 120.0
KILL_SECONDS = 10.0  # so long is waited for the end of a child that was killed
LAST_WORDS_SECONDS = 0.5


def start_time(pid: int) -> str | None:
    """A process's start in kernel ticks, which tells it from a later one with the same pid; None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else fields[19]


class NotWarmError(MlautoError):
    """No warm process took the request, and nothing was started: another may be asked."""


class WarmProcess:
    """Client of the warm process that listens on `address`, and imports `libraries` when this client starts it."""

    def __init__(self, address: Path, libraries: Sequence[str] = LIBRARIES) -> None:
        self.address = address
        self.libraries = libraries

    def running(self) -> bool:
        """True when a warm process answers."""
        connection = self._connect()
        if connection is None:
            return False
        connection.close()
        return True

    def begin(self, modules: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start one that imports `modules` first, without waiting for it; of several, all but the first end at once.

        It ends with this process, or when the returned object's standard input is closed.
        """
        self.address.parent.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        imports = [",".join(modules), ",".join(self.libraries)]
        command = [sys.executable, "-m", "mlauto.runtime.forkserver", str(self.address), *imports]
        with self.address.with_suffix(".log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def start(self, modules: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """`begin`, and wait until one listens. Raises `MlautoError` when none comes up."""
        process = self.begin(modules)
        deadline = time.monotonic() + START_LIMIT
        while not self.running():
            if process.poll() not in (None, 0) or time.monotonic() > deadline:
                process.kill()
                process.communicate()
                raise MlautoError(f"the warm process did not start: see {self.address.with_suffix('.log')}")
            time.sleep(0.02)
        return process

    def spawn(self, module: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> int:
        """Run a module in a detached child that appends its output to a file; its pid.

        Raises `NotWarmError`, and nothing was started, when no warm process runs or this one is just ending.
        """
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as stream:
            request = Request(module, list(arguments), str(cwd), dict(env), detached=True)
            connection = self._ask(request, stream.fileno())
        if connection is None:
            raise NotWarmError(f"no warm process listens on {self.address}: start it first")
        with connection, connection.makefile("rb") as answers:
            try:
                answer = answers.readline()
            except ConnectionResetError:  # it went away without reading the request
                raise NotWarmError(f"the warm process on {self.address} is ending: start another") from None
        if not answer:
            raise MlautoError(
                f"the warm process ended before it started {module}: see {self.address.with_suffix('.log')}"
            )
        return int(json.loads(answer)["pid"])

    def run_python(
        self,
        module: str,
        argument: Path,
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout: float,
        on_line: Callable[[str], None] | None = None,
        limit: int = 64_000,
        reads: Sequence[Path] = (),
        fetch: Sequence[str] = (),
    ) -> Finished:
        """What `run_command([python, "-m", module, argument])` does, from a warm child when there is one.

        The whole process group is gone when it returns. A child whose warm process died ends with exit code 1. It sees
        this machine's files, `reads` and what there is to `fetch` among them.
        """
        del reads, fetch
        began = time.monotonic()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as stream:
            with os.fdopen(writing, "wb", buffering=0) as end:
                request = Request(module, [str(argument)], str(cwd), dict(env), detached=False)
                connection = self._ask(request, end.fileno()) if cwd.is_dir() else None
            if connection is not None:
                # hanging up early, for whatever reason, has the child killed; a reset: the request was not read
                with connection, contextlib.suppress(ConnectionResetError):
                    capture = Capture(limit, on_line)
                    code, timed_out = _follow(connection, stream, capture, began + timeout)
                    return Finished(code, capture.text(), time.monotonic() - began, timed_out=timed_out)
        command = [sys.executable, "-m", module, str(argument)]
        return run_command(command, cwd=cwd, env=env, timeout=timeout, on_line=on_line, limit=limit)

    def _ask(self, request: Request, output: int) -> socket.socket | None:
        """The connection on which the request was sent; None when there is no warm process."""
        connection = self._connect()
        if connection is None:
            return None
        try:
            send(connection, request, output)
        except (BrokenPipeError, ConnectionResetError):  # it is about to end
            connection.close()
            return None
        except MlautoError:
            connection.close()
            raise
        return connection

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(self.address) as name:
                connection.connect(name)
        except OSError as error:
            connection.close()
            if not isinstance(error, FileNotFoundError | ConnectionRefusedError):
                raise
            return None
        return connection


def _follow(connection: socket.socket, stream: FileIO, capture: Capture, deadline: float) -> tuple[int | None, bool]:
    """Read output until the child has ended, or was killed at the deadline (monotonic): exit code, and which it was."""
    said, timed_out = b"", False
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        while said.count(b"\n") < 2:
            ready = {key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
            if stream in ready:
                if not _feed(stream, capture):
                    selector.unregister(stream)
            elif connection in ready:
                part = connection.recv(4096)
                if not part:
                    break
                said += part
            if time.monotonic() > deadline:
                if timed_out:
                    break
                timed_out, deadline = True, time.monotonic() + KILL_SECONDS
                connection.shutdown(socket.SHUT_WR)
    answers = [json.loads(line) for line in said.splitlines()]
    if len(answers) == 1:  # the warm process was killed: nobody but us knows the child
        with contextlib.suppress(ProcessLookupError):
            os.killpg(answers[0]["pid"], signal.SIGKILL)
    _drain(stream, capture)
    return None if timed_out else int(answers[-1].get("exit", 1) if answers else 1), timed_out


def _feed(stream: FileIO, capture: Capture) -> bool:
    """Take what is there; False at the end of the stream."""
    chunk = stream.read(65_536)
    if chunk:
        capture.feed(chunk)
    return bool(chunk)


def _drain(stream: FileIO, capture: Capture) -> None:
    """What still lies in the pipe; a process that left the group may hold it open for ever."""
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(0) and time.monotonic() < deadline and _feed(stream, capture):
            pass
    capture.close()
