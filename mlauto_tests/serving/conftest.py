"""Tiny real pipelines, trained once per session and dumped into verified bundles, and processes that serve them."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlauto.serving.bundle import write_manifest
from mlauto.serving.web.sockets import short_path

COLUMNS = {"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string"}
ROW = {"temp": 12.5, "hour": 8, "holiday": False, "sky": "clear"}
LABELS = ["no", "yes"]


def frame(rows: int = 120) -> Any:
    """Features with gaps in the columns that may have them."""
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(7)
    temp = draw.normal(15, 8, rows)
    temp[::17] = np.nan
    sky = pd.Series(draw.choice(["clear", "rain", "snow"], rows), dtype="str")
    sky[::19] = None
    return pd.DataFrame(
        {"temp": temp, "hour": draw.integers(0, 24, rows), "holiday": draw.random(rows) < 0.1, "sky": sky}
    )


def pipeline(final: Any) -> Any:
    """An unfitted pipeline that imputes, scales and encodes, with `final` at its end."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    columns = ColumnTransformer([("numbers", numbers, ["temp", "hour", "holiday"]), ("texts", texts, ["sky"])])
    return Pipeline([("columns", columns), ("model", final)])


def write_bundle(
    root: Path, model: Any, *, name: str, version: str, task: str, classes: list[Any] | None = None, code: str = ""
) -> Path:
    """A bundle of a fitted pipeline whose golden row is `ROW` and a row of gaps."""
    import skops.io

    root.mkdir(parents=True)
    skops.io.dump(model, root / "model.skops")
    signature = {"columns": COLUMNS, "task": task, "classes": classes or []}
    (root / "signature.json").write_text(json.dumps(signature))
    golden = {"rows": [ROW, dict.fromkeys(COLUMNS)], "predictions": [], "probabilities": None}
    (root / "golden.json").write_text(json.dumps(golden))
    (root / "code" / "src" / "team").mkdir(parents=True)
    (root / "code" / "src" / "team" / "__init__.py").write_text(code)
    write_manifest(root, name=name, version=version, commit="c" * 40, key="k" * 64)
    return root


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`bikes-1` and `bikes-2` (regression, the second predicts about 1000 more), `skies-1` (labels no and yes)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    home = tmp_path_factory.mktemp("bundles")
    features = frame()
    target = features["hour"] * 3.0 + features["temp"].fillna(15)
    found = {}
    for version, offset in (("1", 0), ("2", 1000)):
        model = pipeline(Ridge()).fit(features, target + offset)
        found[f"bikes-{version}"] = write_bundle(
            home / f"bikes-{version}", model, name="bikes", version=version, task="regression"
        )
    labels = ["yes" if hour > 11 else "no" for hour in features["hour"]]
    model = pipeline(LogisticRegression()).fit(features, labels)
    found["skies-1"] = write_bundle(
        home / "skies-1", model, name="skies", version="1", task="classification", classes=LABELS
    )
    return found


@pytest.fixture
def copied(bundles: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a bundle that the test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(bundles[name], tmp_path / f"copy-{name}"))

    return copy


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment of the tests, with bytecode: without it every start takes twice as long.

    One process answers, however many cores there are, unless a test wants more.
    """
    ours = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"MLAUTO_GATEWAY_WORKERS": "1", **ours}


def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """The condition's value as soon as it is true; fails with `what` when time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            found = condition()
            if found:
                return found
        time.sleep(0.01)
    pytest.fail(f"not seen within {seconds:g} s: {what}")


@dataclass
class Served:
    """A process that serves, its base address, and a client that speaks to it."""

    process: subprocess.Popen[bytes]
    url: str
    client: httpx.Client
    log: Path

    def post(self, path: str, content: Any) -> httpx.Response:
        """POST JSON, or bytes as they are."""
        if isinstance(content, bytes):
            return self.client.post(path, content=content)
        return self.client.post(path, json=content)


@contextlib.contextmanager
def served(arguments: list[str], port: int, log: Path, ready: str) -> Iterator[Served]:
    """Run `python -m ...` until the block ends; yields when `ready` answers 200."""
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=output, stderr=output, env=environment())
    with httpx.Client(base_url=url, timeout=30) as client:
        try:

            def answers() -> bool:
                assert process.poll() is None, log.read_text()
                return client.get(ready).status_code == 200

            eventually(answers, f"{arguments[0]} ready")
            yield Served(process, url, client, log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            finally:
                process.kill()
                process.wait()


@dataclass
class Gateway:
    """A running gateway and its orders."""

    served: Served
    home: Path

    @property
    def client(self) -> httpx.Client:
        return self.served.client

    def order(self, path: str, **content: object) -> httpx.Response:
        """POST to the control socket; GET without content."""
        with short_path(self.home / "gateway" / "control.sock") as name:
            transport = httpx.HTTPTransport(uds=name)
            with httpx.Client(transport=transport, base_url="http://gateway", timeout=60) as client:
                return client.post(path, json=content) if content else client.get(path)

    def start(self, bundles: dict[str, Path], name: str) -> None:
        product, version = name.rsplit("-", 1)
        reply = self.order("/start", product=product, version=version, bundle=str(bundles[name]))
        assert reply.status_code == 200, reply.text

    def switch(self, product: str, champion: str, fallback: str | None = None, **others: object) -> None:
        reply = self.order("/switch", product=product, champion=champion, fallback=fallback, **others)
        assert reply.status_code == 200, reply.text

    def version(self, product: str, version: str) -> dict[str, Any]:
        found: dict[str, Any] = self.order("/status").json()["products"][product]["versions"][version]
        return found


@contextlib.contextmanager
def gateway(home: Path, port: int | None = None) -> Iterator[Gateway]:
    """A gateway process of this home."""
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    arguments = ["mlauto.serving.gateway", "--home", str(home), "--port", str(port)]
    with served(arguments, port, home / "log", "/v2/health/live") as found:
        yield Gateway(found, home)


def prediction_lines(home: Path, product: str, kind: str = "predictions") -> list[dict[str, Any]]:
    """The prediction log as it is on disk."""
    folder = home / "products" / product / "predictions"
    paths = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]
