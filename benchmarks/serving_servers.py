"""The servers of the serving benchmark: ours alone and behind the gateway, peers in their own environment, an echo."""

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving_model import NAME

from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto.store import Store

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
START_SECONDS = 120.0

MLFLOW_SAVE = """
import sys, skops.io, mlflow.sklearn
from mlflow.models import infer_signature
model = skops.io.load(sys.argv[1], trusted=skops.io.get_untrusted_types(file=sys.argv[1]))
mlflow.sklearn.save_model(model, sys.argv[2], serialization_format="skops", pip_requirements=["scikit-learn"],
    skops_trusted_types=skops.io.get_untrusted_types(file=sys.argv[1]))
"""
FASTAPI = """
import sys
import pandas as pd
import skops.io
from fastapi import FastAPI
model = skops.io.load(sys.argv[1], trusted=skops.io.get_untrusted_types(file=sys.argv[1]))
app = FastAPI()
@app.post("/invocations")
def invocations(body: dict):
    return {"predictions": model.predict(pd.DataFrame(**body["dataframe_split"])).tolist()}
import uvicorn
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
"""
ECHO = """
import sys, uvicorn
async def app(scope, receive, send):
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})
quiet = {"log_level": "error", "access_log": False, "lifespan": "off", "ws": "none"}
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), **quiet)
"""


@dataclass(frozen=True)
class Server:
    """A running server: where to send requests, its processes, and seconds from start to its first correct answer."""

    url: str
    pids: tuple[int, ...]
    seconds: float


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(url: str, body: bytes) -> dict[str, list[int]] | None:
    """The decoded answer; None while nobody listens."""
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            found: dict[str, list[int]] = json.loads(reply.read())
            return found
    except (urllib.error.URLError, ConnectionError):
        return None


@contextlib.contextmanager
def started(command: list[str], url: str, body: bytes, wanted: object, log: Path) -> Iterator[Server]:
    """A process, from its first correct answer until the end of the block. Raises `SystemExit` when none comes."""
    began = time.perf_counter()
    environment = {**os.environ, **ENVIRONMENT, "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"}
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        while (answer := ask(url, body)) is None:
            if process.poll() is not None or time.perf_counter() - began > START_SECONDS:
                raise SystemExit(f"{command[:3]} did not start: see {log}")
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        if wanted is not None and answer["predictions"] != wanted:
            raise SystemExit(f"{command[:3]} answers {answer}, not {wanted}")
        yield Server(url, family(process.pid), seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def family(pid: int) -> tuple[int, ...]:
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (pid, *(found for child in children for found in family(int(child))))


@contextlib.contextmanager
def scratch() -> "Iterator[tuple[Settings, Store, LocalRuntime]]":
    """A local runtime in a temporary directory and on a free port; all of it ends with the block."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"MLAUTO_HOME": folder, "MLAUTO_GATEWAY_PORT": str(free_port())})
        runtime = LocalRuntime(settings)
        try:
            yield settings, Store(settings.home), runtime
        finally:
            runtime.shut_down()


def ours_alone(bundle: Path, body: bytes, wanted: object, log: Path) -> contextlib.AbstractContextManager[Server]:
    """The model server by itself, on a port."""
    port = free_port()
    command = [sys.executable, "-m", "mlauto.serving.server", "--bundle", str(bundle), "--port", str(port)]
    return started(command, f"http://127.0.0.1:{port}/invocations", body, wanted, log)


@contextlib.contextmanager
def ours_behind_gateway(bundle: Path, version: str, home: Path, body: bytes, wanted: object) -> Iterator[Server]:
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
        answer = ask(url, body)
        if answer is None or answer["predictions"] != wanted:
            raise SystemExit(f"the gateway answers {answer}, not {wanted}")
        pid = GatewayClient(settings.gateway_home).pid()
        if pid is None:
            raise SystemExit("the gateway has no process")
        yield Server(url, family(pid), time.perf_counter() - began)
    finally:
        runtime.shut_down()


def mlflow_peer(  # noqa: PLR0917 - what is run, with what, and where its log goes
    python: Path, skops: Path, folder: Path, body: bytes, wanted: object, log: Path
) -> contextlib.AbstractContextManager[Server]:
    """`mlflow models serve`, one worker, in its own environment."""
    subprocess.run([python, "-c", MLFLOW_SAVE, str(skops), str(folder)], check=True, env={**os.environ, **ENVIRONMENT})
    port = free_port()
    command = [str(python.parent / "mlflow"), "models", "serve", "-m", str(folder), "--env-manager", "local"]
    command += ["--port", str(port), "--workers", "1"]
    return started(command, f"http://127.0.0.1:{port}/invocations", body, wanted, log)


def fastapi_peer(
    python: Path, skops: Path, body: bytes, wanted: object, log: Path
) -> contextlib.AbstractContextManager[Server]:
    """FastAPI, pandas and scikit-learn, as most teams write it."""
    port = free_port()
    command = [str(python), "-c", FASTAPI, str(skops), str(port)]
    return started(command, f"http://127.0.0.1:{port}/invocations", body, wanted, log)


def echo(body: bytes, log: Path) -> contextlib.AbstractContextManager[Server]:
    """Uvicorn, which sends the same JSON back."""
    port = free_port()
    return started([sys.executable, "-c", ECHO, str(port)], f"http://127.0.0.1:{port}/", body, None, log)


def memory(server: Server) -> list[float]:
    """Resident megabytes of each of the server's processes."""
    sizes = []
    for pid in server.pids:
        status = Path(f"/proc/{pid}/status").read_text()
        sizes.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    return sizes
