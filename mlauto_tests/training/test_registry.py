import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.settings import Settings
from mlauto.training.registry import FakeRegistry, MlflowRegistry, Registered, Registration, Registry

if TYPE_CHECKING:
    from mlflow import MlflowClient

Make = Callable[..., Registration]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real skops file of a small pipeline."""
    import numpy as np
    import pandas as pd
    import skops.io
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pd.DataFrame({"temp": np.arange(10.0), "hour": np.arange(10)})
    model = make_pipeline(StandardScaler(), Ridge()).fit(frame, np.arange(10.0))
    path = tmp_path_factory.mktemp("model") / "model.skops"
    skops.io.dump(model, path)
    return path


@pytest.fixture
def made(tmp_path: Path, model_file: Path) -> Make:
    """`made(key="key-1", **fields)`: a registration of that model."""

    def make(key: str = "key-1", **fields: Any) -> Registration:
        artifact = tmp_path / "artifact"
        artifact.mkdir(exist_ok=True)
        (artifact / "model.skops").write_bytes(model_file.read_bytes())
        (artifact / "card.md").write_text("# tides")
        (artifact / "plot.png").write_bytes(b"\x89PNG")
        registration = Registration(
            product="tides",
            key=key,
            artifact=artifact,
            signature=Signature(columns={"temp": "number", "hour": "integer"}, task="regression"),
            parameters={"final__alpha": "1.0"},
            metrics={"mae": 1.5, "mae_low": 1.0, "mae_high": 2.0},
            tags={"mlauto.commit": "c" * 40, "mlauto.reason": "first model"},
            dataset="d" * 64,
            rows=300,
            requirements=("numpy==2.0.0", "scikit-learn==1.9.1"),
            types=(),
            passed=True,
            trained=1_700_000_000.0,
        )
        return replace(registration, **fields)

    return make


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One embedded MLflow for the tests that only read their own product, in a folder with a space in its name."""
    home = tmp_path_factory.mktemp("a home") / "state"
    return Settings.from_environment({"MLAUTO_ROOT": str(home), "MLAUTO_HOME": str(home)})


@pytest.fixture
def registry(shared: Settings) -> MlflowRegistry:
    return MlflowRegistry(shared)


@pytest.fixture
def client(shared: Settings) -> "MlflowClient":
    """MLflow as others see it."""
    MlflowRegistry(shared).prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=shared.mlflow_uri, registry_uri=shared.mlflow_uri)


@pytest.mark.parametrize("kind", ["fake", "mlflow"])
class TestBoth:
    """What holds for the fake as well as for MLflow."""

    @pytest.fixture
    def either(self, kind: str, shared: Settings) -> Registry:
        return FakeRegistry() if kind == "fake" else MlflowRegistry(shared)

    def test_a_key_is_registered_once(self, either: Registry, made: Make, kind: str) -> None:
        """The same key gives the same version and run; another key the next version."""
        product = f"once_{kind}"

        first = either.register(made("key-1", product=product))
        again = either.register(made("key-1", product=product))
        second = either.register(made("key-2", product=product))

        assert first == again
        assert (first.version, second.version) == ("1", "2")
        assert first.run_id != second.run_id

    def test_champion_follows_promotion(self, either: Registry, made: Make, kind: str) -> None:
        """Nobody is champion until promoted; promoting again changes nothing; rolling back works."""
        product = f"champions_{kind}"
        assert either.champion(product) is None
        for key in ("key-1", "key-2"):
            either.register(made(key, product=product))
        assert either.champion(product) is None

        for version in ("1", "2", "2", "1"):
            either.promote(product, version)
            assert either.champion(product) == version

    def test_unknown_versions_cannot_be_promoted(self, either: Registry, made: Make, kind: str) -> None:
        """The error is a sentence of ours, and the champion stays."""
        product = f"unknown_{kind}"
        either.register(made(product=product))
        either.promote(product, "1")

        with pytest.raises(TrainingError, match="9"):
            either.promote(product, "9")

        assert either.champion(product) == "1"

    def test_runs_have_an_address(self, either: Registry, made: Make, kind: str) -> None:
        """The address contains the run's id."""
        placed = either.register(made(product=f"address_{kind}"))

        assert placed.run_id in either.run_url(placed.run_id)


def test_the_fake_remembers_what_was_registered(made: Make) -> None:
    """Tests may look at registrations, aliases and calls of the fake."""
    fake = FakeRegistry()

    fake.prepare()
    fake.register(made("key-1"))
    fake.register(made("key-2", passed=False))
    fake.promote("tides", "1")
    fake.promote("tides", "2")

    assert fake.prepared == 1
    assert [registration.key for registration in fake.registrations["tides"]] == ["key-1", "key-2"]
    assert fake.aliases == {("tides", "challenger"): "1", ("tides", "previous"): "1", ("tides", "champion"): "2"}


def test_the_run_tells_the_whole_story(registry: MlflowRegistry, client: "MlflowClient", made: Make) -> None:
    """Parameters, metrics, dataset, tags and files are in the run, which is finished."""
    placed = registry.register(made(product="story"))

    run = client.get_run(placed.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.start_time == 1_700_000_000_000
    assert run.data.params == {"final__alpha": "1.0"}
    assert run.data.metrics == {"mae": 1.5, "mae_low": 1.0, "mae_high": 2.0}
    assert run.data.tags["mlauto.key"] == "key-1"
    assert run.data.tags["mlauto.commit"] == "c" * 40
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest, dataset.profile) == ("story", "d" * 36, '{"num_rows": 300}')
    assert {file.path for file in client.list_artifacts(placed.run_id)} == {"card.md", "plot.png"}


def test_artifacts_lie_below_the_state_directory(
    registry: MlflowRegistry, client: "MlflowClient", made: Make, shared: Settings
) -> None:
    """Neither runs nor models are written into the working directory."""
    placed = registry.register(made(product="places"))

    folder = shared.home / "mlflow" / "artifacts" / "places"
    assert (folder / placed.run_id / "artifacts" / "card.md").read_text() == "# tides"
    assert len(list(folder.glob("models/*/artifacts/model.skops"))) == 1
    assert not Path("mlruns").exists()


def test_mlflow_can_load_the_registered_model(registry: MlflowRegistry, client: "MlflowClient", made: Make) -> None:
    """The version points to a skops model that `mlflow.sklearn` loads, with signature and pinned requirements."""
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import Model

    placed = registry.register(made(product="loadable"))

    version = client.get_model_version("loadable", placed.version)
    place = client.get_model_version_download_uri("loadable", placed.version)
    assert version.run_id == placed.run_id
    described = Model.load(place)
    assert described.flavors["sklearn"]["serialization_format"] == "skops"
    assert described.signature.inputs.input_names() == ["temp", "hour"]
    assert described.run_id == placed.run_id
    loaded = mlflow.sklearn.load_model(place)
    frame = pd.DataFrame({"temp": [4.0], "hour": [4]})
    assert loaded.predict(frame)[0] == pytest.approx(4.0, abs=0.5)


def test_challenger_is_the_newest_that_passed(registry: MlflowRegistry, client: "MlflowClient", made: Make) -> None:
    """A model whose checks failed is registered and tagged, but is no challenger; a promoted one is not either."""
    product = "challengers"
    registry.register(made("key-1", product=product))
    failed = registry.register(made("key-2", product=product, passed=False))

    assert client.get_registered_model(product).aliases == {"challenger": 1}
    assert client.get_model_version(product, failed.version).tags["mlauto.checks"] == "failed"

    registry.promote(product, "1")
    registry.register(made("key-1", product=product))
    assert client.get_registered_model(product).aliases == {"champion": 1}

    registry.register(made("key-3", product=product))
    registry.promote(product, "3")
    assert client.get_registered_model(product).aliases == {"champion": 3, "previous": 1}


@pytest.mark.parametrize("step", ["create_run", "log_model_artifacts", "log_batch", "log_artifact", "set_terminated"])
def test_a_registration_that_was_cut_off_is_completed(
    shared: Settings, client: "MlflowClient", made: Make, step: str
) -> None:
    """Killed at any step, the next call finishes the same run: one run, one version, everything in it."""

    class Killed(BaseException):
        """Like a kill: nothing catches it."""

    class Cut(MlflowRegistry):
        """Dies right before one call to MLflow."""

        def _connected(self) -> "MlflowClient":
            real = super()._connected()

            class Dying(type(real)):  # type: ignore[misc] # a class made from an instance's
                def __getattribute__(self, name: str) -> Any:
                    if name == step:
                        raise Killed
                    return super().__getattribute__(name)

            return Dying(tracking_uri=shared.mlflow_uri, registry_uri=shared.mlflow_uri)  # type: ignore[no-any-return]

    product = f"cut_{step}"
    with pytest.raises(Killed):
        Cut(shared).register(made(product=product))

    placed = MlflowRegistry(shared).register(made(product=product))

    experiment = client.get_experiment_by_name(product).experiment_id
    runs = client.search_runs([experiment])
    assert [run.info.run_id for run in runs] == [placed.run_id]
    assert runs[0].info.status == "FINISHED"
    assert runs[0].data.metrics["mae"] == 1.5
    assert len(client.search_model_versions(f"name = '{product}'")) == 1
    assert "card.md" in {file.path for file in client.list_artifacts(placed.run_id)}


def _register(settings: Settings, registration: Registration) -> Registered:
    return MlflowRegistry(settings).register(registration)


def test_processes_may_register_at_the_same_time(tmp_path: Path, made: Make) -> None:
    """Three processes on a new database: it is created once, equal keys become one version, others their own."""
    settings = Settings.from_environment({"MLAUTO_HOME": str(tmp_path / "new")})
    registrations = [made("key-1"), made("key-1"), made("key-2")]

    with multiprocessing.get_context("spawn").Pool(3) as pool:
        placed = pool.starmap(_register, [(settings, registration) for registration in registrations])

    assert placed[0] == placed[1]
    assert {one.version for one in placed} == {"1", "2"}


def test_an_unreachable_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which address, what was being done, and which variable to look at."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = Settings.from_environment({"MLAUTO_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})

    with pytest.raises(TrainingError, match=r"http://127\.0\.0\.1:9, opening: .*check MLFLOW_TRACKING_URI"):
        MlflowRegistry(settings).prepare()


def test_importing_and_making_a_registry_loads_nothing(tmp_path: Path) -> None:
    """Neither MLflow nor scikit-learn is imported, and nothing is written, before the first call."""
    code = (
        "import sys\nfrom mlauto.settings import Settings\nfrom mlauto.training.registry import MlflowRegistry\n"
        f"MlflowRegistry(Settings.from_environment({{'MLAUTO_HOME': {str(tmp_path / 'home')!r}}}))\n"
        "print(sorted({'mlflow', 'sklearn', 'pandas', 'sqlalchemy'} & set(sys.modules)))"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "[]"
    assert not (tmp_path / "home").exists()


def test_registering_is_quiet(tmp_path: Path, made: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """A new database and a registration print nothing and log nothing below warnings."""
    registry = MlflowRegistry(Settings.from_environment({"MLAUTO_HOME": str(tmp_path / "quiet")}))

    registry.register(made())

    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("mlflow").level == logging.WARNING
