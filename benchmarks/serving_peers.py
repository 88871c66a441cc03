"""What people serve scikit-learn models with, each as its documentation shows it for JSON and a DataFrame.

Newest releases that run with this project's scikit-learn, one worker, one thread for numbers, no access log, no
telemetry, on the loopback interface; none batches requests of several clients, which all leave off by default. Each is
asked in the form it takes natively, with the same rows.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving_environments import same
from serving_load import UnavailableError
from serving_model import NUMBERS, data
from serving_servers import ENVIRONMENT, Form, Server, free_port, last_line, started

from mlauto.training.artifact import rows_of

SCRIPTS = Path(__file__).parent / "peers"
PREPARE_SECONDS = 120.0


@dataclass(frozen=True)
class Place:
    """Where a peer runs: its Python, the pipeline's skops file, an empty folder, a free port."""

    python: Path
    model: Path
    folder: Path
    port: int

    def script(self, name: str, *arguments: object) -> list[str]:
        """The command that runs one of `peers/*.py`."""
        return [str(self.python), str(SCRIPTS / name), *map(str, arguments)]


@dataclass(frozen=True)
class Peer:
    """A tool: its name, requirements, how it is made ready and run, and what it is asked."""

    label: str
    pins: tuple[str, ...]
    command: Callable[[Place], list[str]]
    prepare: Callable[[Place], list[str]] | None = None
    path: str = "/invocations"
    form: Form = field(default_factory=Form)
    variables: dict[str, str] = field(default_factory=dict)


def records(rows: int) -> bytes:
    """BentoML: the API's argument by name, a DataFrame as records."""
    return json.dumps({"frame": rows_of(data(rows, seed=2)[0])}).encode()


def tensors(rows: int) -> bytes:
    """MLServer: Open Inference Protocol, a tensor for each column, to be made a DataFrame of (`pd`)."""
    inputs = []
    for name, column in data(rows, seed=2)[0].items():
        datatype, codec = ("FP64", "np") if name in NUMBERS else ("BYTES", "str")
        values = [None if value != value else value for value in column.tolist()]  # noqa: PLR0124 - NaN
        tensor = {"name": name, "shape": [rows, 1], "datatype": datatype, "data": values}
        inputs.append({**tensor, "parameters": {"content_type": codec}})
    return json.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs}).encode()


def mlflow_command(place: Place) -> list[str]:
    """`mlflow models serve`."""
    folder, port = str(place.folder / "saved"), str(place.port)
    command = [str(place.python.parent / "mlflow"), "models", "serve", "-m", folder, "--env-manager", "local"]
    return [*command, "--port", port, "--workers", "1"]


def bentoml_command(place: Place) -> list[str]:
    """`bentoml serve`."""
    service = ["bentoml_service:Bench", "--working-dir", str(SCRIPTS)]
    return [str(place.python.parent / "bentoml"), "serve", *service, "--host", "127.0.0.1", "--port", str(place.port)]


MODEL = same("scikit-learn", "pandas", "numpy", "skops")
UVICORN = same("fastapi", "uvicorn", "httptools", "uvloop")
PEERS = {
    "mlflow": Peer(
        "`mlflow models serve`",
        (*same("mlflow"), *MODEL, *UVICORN),
        mlflow_command,
        lambda place: place.script("mlflow_save.py", place.model, place.folder / "saved"),
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "UVICORN_ACCESS_LOG": "false"},
    ),
    "fastapi": Peer(
        "FastAPI, pandas, scikit-learn",
        (*MODEL, *UVICORN),
        lambda place: place.script("fastapi_server.py", place.model, place.port),
    ),
    "bentoml": Peer(
        "BentoML",
        ("bentoml==1.4.40", *MODEL),
        bentoml_command,
        path="/predict",
        form=Form(records),
        variables={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    "mlserver": Peer(
        "MLServer",
        # its worker does not start on uvloop 0.22, which no longer makes an event loop unasked
        ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", *MODEL, "uvloop==0.21.0"),
        lambda place: [str(place.python.parent / "mlserver"), "start", str(place.folder / "saved")],
        lambda place: place.script(
            "mlserver_save.py", place.model, place.folder / "saved", place.port, free_port(), free_port()
        ),
        path="/v2/models/bench/infer",
        form=Form(tensors, lambda answer: answer["outputs"][0]["data"]),
    ),
    "litserve": Peer(
        "LitServe",
        ("litserve==0.2.19", *MODEL, *same("httptools", "uvloop")),
        lambda place: place.script("litserve_server.py", place.model, place.port),
        path="/predict",
    ),
    "ray": Peer(
        "Ray Serve",
        ("ray[serve]==2.60.0", *MODEL, *same("httptools", "uvloop")),
        lambda place: place.script("ray_server.py", place.model, place.port, place.folder / "ray"),
        # despite its name the second one decides on Linux, too, whether Ray listens on the loopback interface only
        variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    ),
}


@contextlib.contextmanager
def serving(peer: Peer, place: Place, wanted: dict[int, Any], log: Path) -> Iterator[Server]:
    """A peer, made ready and started, until the end of the block. Raises `UnavailableError` with the reason."""
    place.folder.mkdir(parents=True)
    # what they write into a home directory (tokens, caches) stays in this folder
    variables = {**peer.variables, "BENCH_MODEL": str(place.model), "HOME": str(place.folder)}
    if peer.prepare is not None:
        with log.open("wb") as output:
            settings = {**os.environ, **ENVIRONMENT, **variables}
            try:
                subprocess.run(
                    peer.prepare(place), env=settings, stdout=output, stderr=output, timeout=PREPARE_SECONDS, check=True
                )
            except subprocess.SubprocessError:
                raise UnavailableError(
                    f"cannot be made ready: {last_line(log)} (see {log.parent.name}/{log.name})"
                ) from None
    url = f"http://127.0.0.1:{place.port}{peer.path}"
    with started(
        peer.command(place), url, wanted, log, form=peer.form, variables=variables, folder=place.folder
    ) as server:
        yield server
