"""The servers of the serving benchmark: how any of them is started, asked and ended, and ours."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from serving_load import UnavailableError
from serving_model import NAME, body

from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto.store import Store

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
START_SECONDS = 90.0
END_SECONDS = 10.0
CHECKED_ROWS = (1, 32)  # of which the answers are compared; the first one ends the cold start


@dataclass(frozen=True)
class Form:
    """What a server is asked, as a function of the number of rows, and where its answer has the predictions."""

    request: Callable[[int], bytes] = body
    predictions: Callable[[Any], Any] = lambda answer: answer["predictions"]


@dataclass(frozen=True)
class Server:
    """A running server: where and how to ask it, its processes, and seconds from start to its first correct answer."""

    url: str
    form: Form
    members: Callable[[], tuple[int, ...]]
    seconds: float


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str, body: bytes) -> Any:
    """The decoded answer; None while nobody listens, or an error is answered."""
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.loads(reply.read())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


@contextlib.contextmanager
def started(
    command: list[str],
    url: str,
    wanted: dict[int, Any] | None,
    log: Path,
    *,
    form: Form | None = None,
    variables: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """A process, from its first correct answer until the end of the block, which ends its whole session.

    `wanted` has the predictions for each number of `CHECKED_ROWS`. Raises `UnavailableError` with the log's last line
    when no answer comes, or another one.
    """
    form = form or Form()
    requests = {rows: form.request(rows) for rows in CHECKED_ROWS}
    settings = {**os.environ, **ENVIRONMENT, **(variables or {})}
    settings["PATH"] = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=settings, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        while (answer := ask(url, requests[1])) is None:
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise UnavailableError(f"does not answer: {last_line(log)} (see {log.parent.name}/{log.name})")
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        if wanted is not None:
            answers = {rows: answer if rows == 1 else ask(url, request) for rows, request in requests.items()}
            found = {rows: form.predictions(one) if one else None for rows, one in answers.items()}
            if found != wanted:
                raise UnavailableError(f"answers {found}, not {wanted} (see {log.parent.name}/{log.name})")
        yield Server(url, form, lambda: tuple(members(process.pid)), seconds)
    finally:
        end(process)


def last_line(log: Path) -> str:
    """What a server said last; a traceback's last line is its error."""
    said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return said[-1][:200] if said else "it said nothing"


class Alive(NamedTuple):
    """A living process: its parent, its session, and when it started, which tells it from a later one of its number."""

    parent: int
    session: int
    began: int


def living() -> dict[int, Alive]:
    """All processes of this machine that have not ended."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            said = stat.read_text().rpartition(")")[2].split()
            if said[0] not in "ZX":
                found[int(stat.parent.name)] = Alive(int(said[1]), int(said[3]), int(said[19]))
    return found


def members(leader: int) -> dict[int, Alive]:
    """A process that leads a session, and what it started: whoever is in its session or descends from one that is."""
    everyone = living()
    found = {pid: one for pid, one in everyone.items() if one.session == leader}
    while more := {pid: one for pid, one in everyone.items() if one.parent in found and pid not in found}:
        found |= more
    return found


def end(process: "subprocess.Popen[bytes]") -> None:
    """Asked to end, a process and all that it started have some seconds; then whatever is left is killed."""
    known = members(process.pid)

    def left() -> list[int]:
        known.update(members(process.pid))
        return [pid for pid, one in living().items() if pid in known and known[pid].began == one.began]

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.perf_counter() + END_SECONDS
    while time.perf_counter() < deadline and left():
        process.poll()
        time.sleep(0.05)
    for pid in left():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def family(pid: int) -> tuple[int, ...]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (pid, *(found for child in children for found in family(int(child))))


@contextlib.contextmanager
def scratch() -> "Iterator[tuple[Settings, Store, LocalRuntime]]":
    """A local runtime in a temporary directory and on a free port; all of it ends with the block.

    So many processes answer as `MLAUTO_GATEWAY_WORKERS` says.
    """
    workers = os.environ.get("MLAUTO_GATEWAY_WORKERS", "")
    with tempfile.TemporaryDirectory() as folder:
        own = {"MLAUTO_HOME": folder, "MLAUTO_GATEWAY_PORT": str(free_port()), "MLAUTO_GATEWAY_WORKERS": workers}
        settings = Settings.from_environment(own)
        runtime = LocalRuntime(settings)
        try:
            yield settings, Store(settings.home), runtime
        finally:
            runtime.shut_down()


def ours_alone(
    python: Path, bundle: Path, wanted: dict[int, Any], log: Path
) -> contextlib.AbstractContextManager[Server]:
    """The model server by itself, on a port, in an environment that has nothing but what it needs."""
    port = free_port()
    command = [str(python), "-m", "mlauto.serving.server", "--bundle", str(bundle), "--port", str(port)]
    checkout = {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return started(command, f"http://127.0.0.1:{port}/invocations", wanted, log, variables=checkout)


@contextlib.contextmanager
def ours_behind_gateway(bundle: Path, version: str, home: Path, wanted: dict[int, Any]) -> Iterator[Server]:
    """The model in its own process behind the gateway, with prediction log and metrics."""
    from mlauto.records import Image
    from mlauto.runtime.base import Route
    from mlauto.runtime.gateway_client import GatewayClient

    port = free_port()
    environment = {"MLAUTO_HOME": str(home), "MLAUTO_GATEWAY_PORT": str(port)}
    settings = Settings.from_environment(environment)
    runtime = LocalRuntime(settings)
    began = time.perf_counter()
    image = Image(kind="bundle", digest="bench", reference=str(bundle), version=version, key=version)
    try:
        runtime.start(NAME, image)
        runtime.switch(NAME, Route(version))
        url = f"http://127.0.0.1:{port}/v2/models/{NAME}/invocations"
        answers = {1: ask(url, body(1))}
        seconds = time.perf_counter() - began
        answers[32] = ask(url, body(32))
        if any(answer is None or answer["predictions"] != wanted[rows] for rows, answer in answers.items()):
            raise UnavailableError(f"the gateway answers {answers}, not {wanted}")
        pid = GatewayClient(settings.gateway_home).pid()
        if pid is None:
            raise UnavailableError("the gateway has no process")
        yield Server(url, Form(), lambda: family(pid), seconds)
    finally:
        runtime.shut_down()


def echo(log: Path) -> contextlib.AbstractContextManager[Server]:
    """Uvicorn, which sends the same JSON back."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "peers" / "echo_server.py"), str(port)]
    return started(command, f"http://127.0.0.1:{port}/", None, log)


def memory(server: Server) -> list[float]:
    """Resident megabytes of each of the server's processes."""
    sizes = []
    for pid in server.members():
        status = Path(f"/proc/{pid}/status").read_text()
        if "VmRSS:" in status:  # a process that has just ended has none
            sizes.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    return sizes


def proportional(server: Server) -> float:
    """Resident megabytes of all processes together: a page that several processes share counts once between them."""
    sizes = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in server.members()]
    return sum(int(size.split("Pss:")[1].split()[0]) for size in sizes if "Pss:" in size) / 1024
