"""A small installation without daemon: git, store, Great Expectations and training are real, the rest is fake.

`World.tick` evaluates a sensor as the daemon would and takes its result to the instance, `World.run` executes what it
asked for in this process. A test thus plays the loop step by step, and may lose a run wherever it likes.
"""

import copy
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from dagster._core.test_utils import create_run_for_test

from mlauto.errors import DeliveryError
from mlauto.orchestration.graph import product_definitions
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.sensors.commits import commits_sensor
from mlauto.orchestration.sensors.data import data_sensor
from mlauto.orchestration.sensors.live import live_sensor
from mlauto.product import ModelProduct
from mlauto.records import Batch, Deployment, TrainedModel, Validation
from mlauto.runtime.base import Answer
from mlauto.runtime.fake import FakeRuntime
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto.training.registry import FakeRegistry
from mlauto.training.training_set import accept, assemble
from mlauto.training.weighting import members_of
from mlauto_tests.integration.conftest import Origin

__all__ = ["Origin", "World", "made_product", "rows"]

MODEL = """
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline


def build():
    return make_pipeline(make_column_transformer((SimpleImputer(), ["x", "hour"])), Ridge())
"""
KINDS: dict[str, tuple[type, ...]] = {"x": (int, float), "hour": (int,)}
SENSORS = {"commits": commits_sensor, "data": data_sensor, "live": live_sensor}
SUITE = {
    "name": "expectations",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "y"}, "meta": {}},
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "x", "min_value": -9, "max_value": 9},
            "meta": {},
        },
    ],
    "meta": {},
}


def made_product(name: str = "tides", **sections: Any) -> ModelProduct:
    """A product whose repository and landing folder are named after it."""
    merged: dict[str, dict[str, Any]] = {
        "code": {
            "repository": f"models/{name}",
            "estimator": "tide.model:build",
            "checks": ["python -m compileall -q ."],
        },
        "data": {"landing": f"landing/{name}", "target": "y", "task": "regression"},
        "delivery": {"shadow": "0s", "canary": []},  # at once; tests of the stages say otherwise
        "training": {"retrain": {"on_degraded": True}},  # tests of what else retrains say so
        "monitoring": {"every": "0s", "min_labels": 20, "window": 40, "cooldown": "60s"},
    }
    for section, changes in sections.items():
        merged[section] = {**merged.get(section, {}), **changes}
    return ModelProduct.model_validate({"name": name, **merged})


def rows(count: int, seed: int = 0, *, shift: float = 0.0) -> pd.DataFrame:
    """Rows that x and hour explain but for a little noise; `shift` is another world."""
    random = np.random.default_rng(seed)
    x, hour = random.normal(0, 1, count), random.integers(0, 24, count)
    return pd.DataFrame({"x": x, "hour": hour, "y": 10 + 3 * x + hour + shift + random.normal(0, 0.5, count)})


@dataclass
class PickyRuntime(FakeRuntime):
    """A fake that refuses what does not fit the model of these tests; `unreachable` says why nobody is live.

    `unmetered` says why its counts cannot be had.
    """

    unreachable: str | None = None
    unmetered: DeliveryError | None = None

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        for row in rows:
            for name, value in row.items():
                if name not in KINDS or not (value is None or isinstance(value, KINDS[name])):
                    raise DeliveryError(f"column {name!r} takes no {value!r}")
        return super().predict(product, version, rows)

    def live(self, product: str) -> str | None:
        if self.unreachable is not None:
            raise DeliveryError(self.unreachable)
        return super().live(product)

    def metrics(self) -> str | None:
        if self.unmetered is not None:
            raise self.unmetered
        return super().metrics()


@dataclass
class World:
    """One installation and its products."""

    settings: Settings
    platform: Platform
    instance: dg.DagsterInstance
    products: list[ModelProduct]
    cursors: dict[str, str | None] = field(default_factory=dict)
    sensors: dict[str, dg.SensorDefinition] = field(default_factory=dict)
    served: dict[str, list[ModelProduct]] = field(default_factory=dict)
    bound: tuple[list[ModelProduct], dg.Definitions] | None = None

    @classmethod
    def made(cls, root: Path, instance: dg.DagsterInstance, *products: ModelProduct) -> "World":
        """An installation below `root`."""
        settings = Settings.from_environment(
            {"MLAUTO_ROOT": str(root), "MLAUTO_HOME": str(root / "home"), "MLAUTO_DEFS": str(root / "defs")}
        )
        warm = WarmProcess(settings.home / "warm.sock", libraries=())
        platform = Platform(
            settings=settings,
            store=Store(settings.home),
            runtime=PickyRuntime(),
            registry=FakeRegistry(),
            warm=warm,
            workshop=LocalWorkshop(warm),
        )
        world = cls(settings, platform, instance, list(products))
        for product in products:
            folder = settings.defs / product.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "expectations.json").write_text(json.dumps(SUITE))
        return world

    @property
    def product(self) -> ModelProduct:
        """The first product."""
        return self.products[0]

    @property
    def store(self) -> Store:
        """Where its records are."""
        return self.platform.store

    @property
    def runtime(self) -> "PickyRuntime":
        """The runtime, for what only the fake can do."""
        assert isinstance(self.platform.runtime, PickyRuntime)
        return self.platform.runtime

    @property
    def registry(self) -> FakeRegistry:
        """The registry, for what only the fake can do."""
        assert isinstance(self.platform.registry, FakeRegistry)
        return self.platform.registry

    @property
    def definitions(self) -> dg.Definitions:
        """All graphs with the platform bound; made once for the same products."""
        if self.bound is None or self.bound[0] != self.products:
            graphs = [product_definitions(product) for product in self.products]
            resources = dg.Definitions(resources={"platform": self.platform}, executor=dg.in_process_executor)
            self.bound = (list(self.products), dg.Definitions.merge(*graphs, resources))
        return self.bound[1]

    # -- what people do -----------------------------------------------------------------------------------------------

    def repository(self, product: ModelProduct | None = None) -> Origin:
        """The model repository of a product, with the model committed."""
        folder = self.settings.root / (product or self.product).code.repository
        folder.parent.mkdir(parents=True, exist_ok=True)
        origin = Origin(folder)
        origin.write("src/tide/__init__.py", "")
        origin.write("src/tide/model.py", MODEL)
        origin.commit("The first model")
        return origin

    def commit(self, subject: str, **files: str) -> str:
        """Commit to the first product's repository, files as `Origin.commit` takes them; the SHA."""
        origin = Origin.__new__(Origin)
        origin.path = self.settings.root / self.product.code.repository
        return origin.commit(subject, **files)

    def land(self, frame: pd.DataFrame, name: str, product: ModelProduct | None = None) -> Path:
        """Drop a file, complete at first sight."""
        folder = self.settings.resolve((product or self.product).data.landing)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        frame.to_csv(path, index=False)
        os.utime(path, (time.time() - 60,) * 2)
        return path

    def serve(self, truth: Sequence[float], said: Sequence[float], *, age: float = 0.0, ms: float = 5.0) -> None:
        """Requests that the live version answered, and the labels that followed."""
        folder = self.settings.product_home(self.product.name) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        version, now = self.runtime.live(self.product.name), time.time() - age
        first = sum(len(path.read_bytes().splitlines()) for path in folder.glob("predictions-*"))
        with (
            (folder / "predictions-00000000.jsonl").open("a") as log,
            (folder / "labels-00000000.jsonl").open("a") as labels,
        ):
            for number, (label, y) in enumerate(zip(truth, said, strict=True), first):
                name = f"00000000-{number:08x}-abcd"
                log.write(
                    json.dumps(
                        {"id": name, "t": now, "v": version, "ms": ms, "rows": [{"x": 0.1, "hour": 3}], "y": [y]}
                    )
                    + "\n"
                )
                labels.write(json.dumps({"id": name, "t": now, "y": [label]}) + "\n")

    def train(self, **changes: Any) -> TrainedModel:
        """The next version, as a training leaves it: recorded and registered, and nothing more."""
        newest = self.model()
        model = replace(newest, version=str(int(newest.version) + 1), **changes)
        self.store.write_record(self.product.name, f"models/{model.version}", model)
        self.store.write_record(self.product.name, "model", model)
        known = self.registry.registrations[self.product.name]
        known.append(replace(known[-1], key=f"{known[-1].key}+"))
        return model

    def model(self) -> TrainedModel:
        """The newest one."""
        found = self.store.read_record(self.product.name, "model", TrainedModel)
        assert found is not None
        return found

    def production(self) -> Deployment | None:
        """What is recorded as being in production."""
        return self.store.read_record(self.product.name, "production", Deployment)

    def gather(self, seed: int = 7, **more: Any) -> None:
        """A further batch comes into the training set, which no model has seen."""
        path = self.settings.root / "gathered.parquet"
        rows(100, seed, **more).to_parquet(path, index=False)
        digest = self.store.put_file(path)
        given = Validation(passed=True, evaluated=2)
        batch = Batch(key=f"9{seed:04d}", files=(), rows=100, digest=digest, validation=given, arrived=time.time())
        accept(self.store, self.product.name, batch, {})
        assemble(self.store, self.product.name, members_of(self.product.training))

    # -- what Dagster does --------------------------------------------------------------------------------------------

    def tick(self, name: str) -> dg.SensorResult:
        """One tick of a sensor, with its partitions and events taken to the instance."""
        if self.served.get(name) != self.products:
            self.served[name] = list(self.products)
            self.sensors[name] = SENSORS[name](self.products, self.platform)
        definitions = self.definitions
        context = dg.build_sensor_context(
            self.instance, self.cursors.get(name), sensor_name=name, definitions=definitions
        )
        result = self.sensors[name](context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[name] = result.cursor
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(request.partitions_def_name, key)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        return result

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Execute a request to its end."""
        assert request.asset_selection is not None
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            asset_selection=list(request.asset_selection),
            run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
            raise_on_error=False,
        )

    def start(self, request: dg.RunRequest, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> dg.DagsterRun:
        """A run for the request that goes no further."""
        tags = {**request.tags, **({"dagster/partition": request.partition_key} if request.partition_key else {})}
        return create_run_for_test(self.instance, tags=tags, status=status)

    def lose(self, request: dg.RunRequest) -> None:
        """A run whose process went away before any step failed."""
        self.instance.report_run_failed(self.start(request), "the worker is gone")

    def loop(self, *names: str) -> list[dg.RunRequest]:
        """Tick and run until nobody asks for anything; all that was asked for."""
        asked: list[dg.RunRequest] = []
        for _ in range(12):
            requests = [request for name in names for request in self.tick(name).run_requests or ()]
            if not requests:
                return asked
            asked += requests
            for request in requests:
                self.run(request)
        raise AssertionError(f"it never ends: {[request.run_key for request in asked]}")


@pytest.fixture(scope="session")
def memory() -> Iterator[dg.DagsterInstance]:
    """One instance in memory for all tests: making one takes as long as most of them."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def instance(memory: dg.DagsterInstance) -> dg.DagsterInstance:
    """Dagster's instance, in memory, with nothing in it."""
    memory.wipe()
    return memory


@pytest.fixture
def world(tmp_path: Path, instance: dg.DagsterInstance) -> World:
    """An installation with one product, of which nothing exists yet."""
    return World.made(tmp_path / "world", instance, made_product())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same installation after its first commit and file: version 1 is in production. For copying only."""
    with dg.DagsterInstance.ephemeral() as instance:
        world = World.made(tmp_path_factory.mktemp("template") / "world", instance, made_product())
        world.repository()
        world.land(rows(300), "first.csv")
        world.loop("commits")
        world.loop("data")
        assert world.runtime.live("tides") == "1"
        return world


@pytest.fixture
def released(template: World, tmp_path: Path, instance: dg.DagsterInstance) -> World:
    """An installation of the test's own with version 1 in production; Dagster's log is empty."""
    root = tmp_path / "released"
    shutil.copytree(template.settings.root, root, symlinks=True)
    world = World.made(root, instance, template.product)
    platform = replace(
        world.platform, runtime=copy.deepcopy(template.runtime), registry=copy.deepcopy(template.registry)
    )
    return replace(world, platform=platform)
