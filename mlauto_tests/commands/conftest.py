"""A gateway in memory that speaks the public protocol, and the records of a product with a history."""

import json
import os
from collections.abc import Callable, Iterator

import httpx
import pytest

from mlauto.commands.client import GatewayClient
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
from mlauto.store import Store


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
