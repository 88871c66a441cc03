"""A gateway in memory that speaks the public protocol, and the records of a product with a history."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

from mlauto.commands.client import GatewayClient
from mlauto.commands.history import Plan, attributes_of, cut
from mlauto.commands.products import find_product
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.steps import report_commit, take_batch, verify_newest_commit
from mlauto.product import ModelProduct
from mlauto.records import (
    Action,
    Batch,
    BatchWeight,
    CheckOutcome,
    Commit,
    Deployment,
    Image,
    Score,
    Signature,
    SourceFile,
    Status,
    TrainedModel,
    TrainingSet,
    Validation,
    Verdict,
    VerifiedCommit,
)
from mlauto.runtime.warm import WarmProcess
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto_tests.integration.conftest import Origin


@pytest.fixture(autouse=True)
def kept_environment() -> Iterator[None]:
    """What a command puts into this process's environment, for Dagster, is gone after the test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


class FakeGateway:
    """Answers invocations with the number of columns that are not null, keeps labels; `fault` replaces an answer."""

    def __init__(self) -> None:
        self.version = "1"
        self.asked: list[dict[str, object]] = []
        self.labels: dict[str, object] = {}
        self.feedback_requests = 0
        self.fault: Callable[[httpx.Request], httpx.Response | None] = lambda request: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        replaced = self.fault(request)
        if replaced is not None:
            return replaced
        body = json.loads(request.content)
        if request.url.path.endswith("/feedback"):
            self.feedback_requests += 1
            self.labels.update(body["labels"])
            return httpx.Response(200, json={"accepted": 1})
        rows = body["dataframe_split"]["data"]
        self.asked.append({"path": request.url.path, **body["dataframe_split"]})
        name = f"00000000-{len(self.asked):08x}-abcd"
        return httpx.Response(
            200,
            json={"predictions": [sum(value is not None for value in row) for row in rows]},
            headers={"x-mlauto-version": self.version, "x-prediction-id": name},
        )

    def client(self) -> GatewayClient:
        """A client that is connected to this gateway."""
        return GatewayClient("http://gateway", "bike", transport=httpx.MockTransport(self))


@pytest.fixture
def gateway() -> FakeGateway:
    """A healthy gateway whose live version is 1."""
    return FakeGateway()


COMMIT = Commit(sha="c0ffee" * 6 + "beef", tree="7" * 64, subject="Use the hour", author="Ada", time=1000.0)
SCORE = Score(metric="mae", value=41.25, low=39.0, high=43.5, rows=500)


def write_history(store: Store, product: str, *, batches: int = 12) -> None:
    """The records of a product that was trained twice: version 2 answers, version 1 is the fallback."""
    weights = []
    for number in range(batches):
        key = f"b{number:03d}"
        digest = f"{number:064x}"
        file = SourceFile(name=f"{number}.csv", digest=digest, size=10)
        validation = Validation(passed=True, evaluated=9)
        batch = Batch(key=key, files=(file,), rows=100, digest=digest, validation=validation, arrived=2000.0 + number)
        store.write_record(product, f"batches/{key}", batch)
        weights.append(BatchWeight(key=key, digest=digest, rows=100, weight=0.5))
    training_set = TrainingSet(batches=tuple(weights), digest="d" * 64)
    store.write_record(product, "training_set", training_set)
    store.write_record(product, "verified_commit", VerifiedCommit(commit=COMMIT, branch="main"))
    for version in ("1", "2"):
        model = TrainedModel(
            version=version,
            key="k" * 64,
            artifact="a" * 64,
            commit=COMMIT,
            training_set=training_set,
            run_id=f"mlflow-run-{version}",
            signature=Signature(columns={"hour": "integer"}, task="regression"),
            reference=SCORE,
            scores=(SCORE,),
            checks=(CheckOutcome(name="valid", passed=True, summary="finite"),),
            seed=0,
            reason="performance check failed" if version == "2" else "first model",
            trained=3000.0,
        )
        image = Image(kind="bundle", digest=version * 64, reference="/bundles/x", version=version, key="k" * 64)
        for name, record in (("model", model), (f"models/{version}", model)):
            store.write_record(product, name, record)
        for name in ("image", f"images/{version}"):
            store.write_record(product, name, image)
        store.write_record(product, f"runs/{version}", {"run_id": f"dagster-run-{version}"})
    live = Deployment(environment="production", version="2", image="2" * 64, since=3500.0, fallback="1")
    store.write_record(product, "production", live)
    verdict = Verdict(status=Status.HEALTHY, action=Action.NONE, cause="mae 41 is within tolerance", checks=())
    store.write_record(product, "verdict", verdict)


@pytest.fixture
def history(store: Store) -> Store:
    """A store that holds the history of the product `bike`."""
    write_history(store, "bike")
    return store


TIDE = """
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def build():
    return make_pipeline(StandardScaler(), LogisticRegression())
"""
SUITE = {
    "name": "expectations",
    "expectations": [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "y"}, "meta": {}}],
    "meta": {},
}
PLAN = Plan(target="y", task="classification", timestamp="when", exclude=("id",), batches=10, initial=3)


@dataclass
class Harbour:
    """An installation whose product `tides` has a green commit and ten ingested batches of 50 or 51 rows.

    What decides them moves after the fifth; `rows` has them all as one file.
    """

    settings: Settings

    @property
    def platform(self) -> Platform:
        return Platform.from_settings(self.settings)

    @property
    def product(self) -> ModelProduct:
        return find_product(self.settings, "tides")

    @property
    def rows(self) -> Path:
        return self.settings.root / "turn.csv"

    @property
    def plan(self) -> Plan:
        return PLAN

    def change(self, **sections: dict[str, Any]) -> None:
        """Set keys of sections of the product's YAML."""
        path = self.settings.defs / "tides" / "defs.yaml"
        document = yaml.safe_load(path.read_text())
        for name, keys in sections.items():
            document["attributes"][name] |= keys
        path.write_text(yaml.safe_dump(document))

    def commit(self, model: str) -> None:
        """A new commit with another module, verified."""
        origin = Origin.__new__(Origin)
        origin.path = self.settings.root / self.product.code.repository
        sha = origin.commit("another model", src__tide__model_py=model)
        self.platform.mirror(self.product).fetch()
        assert report_commit(self.platform, self.product, sha, print).passed
        verify_newest_commit(self.platform, self.product)

    @classmethod
    def made(cls, root: Path) -> "Harbour":
        """Built as the loop builds it: landed, planned, validated, accepted; committed, tested, verified."""
        settings = Settings.from_environment(
            {"MLAUTO_ROOT": str(root), "MLAUTO_HOME": str(root / "home"), "MLAUTO_DEFS": str(root / "defs")}
        )
        harbour = cls(settings)
        attributes = attributes_of("tides", PLAN, PLAN.exclude, 50)
        attributes["code"] |= {"estimator": "tide.model:build", "checks": ["python -m compileall -q ."]}
        folder = settings.defs / "tides"
        folder.mkdir(parents=True)
        (folder / "defs.yaml").write_text(yaml.safe_dump({"type": "mlauto.ModelProduct", "attributes": attributes}))
        (folder / "expectations.json").write_text(json.dumps(SUITE))
        (root / "models").mkdir()
        Origin(root / "models" / "tides")
        harbour.commit(TIDE)
        frame = turning(505)
        frame.to_csv(harbour.rows, index=False)
        landing = FolderLanding(settings.resolve(harbour.product.data.landing))
        landing.prepare()
        for number, part in enumerate(cut(frame, PLAN.batches)):
            path = landing.folder / f"{number}.csv"
            part.to_csv(path, index=False)
            os.utime(path, (time.time() - 60,) * 2)
            plan(harbour.platform.store, "tides", landing, time.time())
            key = pending(harbour.platform.store, "tides")[-1]
            assert take_batch(harbour.platform, harbour.product, key).outcome == "accepted"
        return harbour


def turning(rows: int) -> pd.DataFrame:
    """Rows in the order of time; the threshold of `y` on `x` moves in the middle."""
    random = np.random.default_rng(0)
    x = random.normal(size=rows)
    limit = np.where(np.arange(rows) < rows // 2, 0.0, 1.2)
    times = pd.date_range("2025-01-01", periods=rows, freq="h")
    noise = random.normal(size=rows)
    return pd.DataFrame({"when": times, "id": range(rows), "x": x, "noise": noise, "y": (x > limit).astype(int)})


@pytest.fixture(scope="session")
def harbour_template(tmp_path_factory: pytest.TempPathFactory) -> Harbour:
    """Made once, for copying only."""
    return Harbour.made(tmp_path_factory.mktemp("harbour") / "root")


@pytest.fixture(scope="session")
def warm_fits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a warm process that can fit without importing anything first."""
    libraries = ("pandas", "sklearn.linear_model", "sklearn.pipeline", "sklearn.dummy", "mlauto.training.backtest.fits")
    warm = WarmProcess(tmp_path_factory.mktemp("warm") / "warm.sock", libraries)
    process = warm.start()
    yield warm.address
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=20)


@pytest.fixture
def harbour(harbour_template: Harbour, warm_fits: Path, tmp_path: Path) -> Harbour:
    """One of the test's own; what it fits runs in forks of a warm process."""
    root = tmp_path / "root"
    shutil.copytree(harbour_template.settings.root, root, symlinks=True)
    made = Harbour(replace(harbour_template.settings, root=root, home=root / "home", defs=root / "defs"))
    (made.settings.home / "warm.sock").symlink_to(warm_fits)
    return made
