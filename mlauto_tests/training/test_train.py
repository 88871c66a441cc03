import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from mlflow import MlflowClient

from mlauto.errors import StoreError, TrainingError
from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, Commit, TrainedModel, TrainingSet
from mlauto.runtime.base import Answer
from mlauto.runtime.process import Finished
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import RunPython, environment_digest
from mlauto.settings import Settings
from mlauto.store import Store, digest_of
from mlauto.training.exchange import Evaluation, FitRequest
from mlauto.training.policy import model_key
from mlauto.training.registry import FakeRegistry, MlflowRegistry, Registered, Registration
from mlauto.training.search.candidates import Found
from mlauto.training.train import train
from mlauto_tests.training.conftest import said

Make = Callable[..., ModelProduct]
Rows = Callable[..., pd.DataFrame]
Sets = Callable[..., TrainingSet]
Train = Callable[..., TrainedModel]


class Counted:
    """A RunPython that remembers what it was asked to run, and in which environment."""

    def __init__(self, real: RunPython) -> None:
        self.real = real
        self.requests: list[FitRequest] = []
        self.environments: list[dict[str, str]] = []
        self.reads: list[Sequence[Path]] = []

    def __call__(self, module: str, argument: Path, *, env: Mapping[str, str], **rest: Any) -> Finished:
        self.requests.append(msgspec.json.decode(argument.read_bytes(), type=FitRequest))
        self.environments.append(dict(env))
        self.reads.append(rest.get("reads", ()))
        return self.real(module, argument, env=env, **rest)


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def child(warm_process: WarmProcess) -> Counted:
    return Counted(warm_process.run_python)


@pytest.fixture
def trained(store: Store, registry: FakeRegistry, child: Counted, commit: Commit, tree: Path) -> Train:
    """`trained(product, training_set, **what to change)`: the call under test."""

    def run(product: ModelProduct, training_set: TrainingSet, **changes: Any) -> TrainedModel:
        given: dict[str, Any] = {
            "store": store,
            "registry": registry,
            "run_python": child,
            "environment": environment_digest(),
            "champion_predict": None,
            "champion": None,
            "reason": "first model",
            "now": 1000.0,
        }
        return train(product, commit, tree, training_set, **{**given, **changes})

    return run


def test_a_first_model_is_trained_stored_registered_and_recorded(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, registry: FakeRegistry, commit: Commit
) -> None:
    """The record says everything, the artifact follows the contract, the registry has it, nothing is left behind."""
    batches = training_set(rows(200, 1), rows(200, 2))
    lines: list[str] = []

    model = trained(product(), batches, on_line=lines.append)

    assert model.passed
    assert (model.version, model.reason, model.trained, model.seed) == ("1", "first model", 1000.0, 0)
    assert model.key == model_key(commit.tree, batches, product(), environment_digest())
    assert (model.commit, model.training_set) == (commit, batches)
    assert [check.name for check in model.checks] == ["valid", "not_worse_than_champion"]
    assert model.checks[1].summary == "not compared: there is no champion yet"
    assert (model.reference.metric, model.reference.rows) == ("mae", 80)
    assert model.reference == model.scores[0]
    assert store.read_record("tides", "model", TrainedModel) == model
    assert store.read_record("tides", "models/1", TrainedModel) == model
    artifact = store.tree_path(model.artifact)
    assert {path.name for path in artifact.iterdir()} == {
        "model.skops",
        "signature.json",
        "golden.json",
        "answered.json",
        "evaluation.json",
        "plot.png",
        "card.md",
        "holdout.json",
        "trusted.json",
        "plan",
    }
    assert "# tides" in (artifact / "card.md").read_text()
    assert any("fitting Pipeline with Ridge on 320 rows" in line for line in lines)
    assert list((store.home / "tmp").iterdir()) == []
    assert registry.prepared == 1


def test_the_registration_carries_what_people_look_for(
    trained: Train, product: Make, training_set: Sets, rows: Rows, registry: FakeRegistry, commit: Commit
) -> None:
    """Parameters, scores with intervals, the constant's beside them, commit, tree, data, reason, exact versions."""
    batches = training_set(rows(200))

    model = trained(product(), batches)

    [registration] = registry.registrations["tides"]
    assert registration.parameters["final__alpha"] == "1.0"
    assert registration.parameters["history"] == (
        "last 1 batches; half-life 1; half-life 2.5; half-life 10; last 100 batches"
    )
    assert registration.parameters["shares"] == "0.050; 0.237; 0.237; 0.237; 0.237"
    assert registration.parameters["correction"] == "0"
    assert set(registration.metrics) >= {"mae", "mae_low", "mae_high", "r2", "baseline_mae"}
    assert registration.metrics["mae"] == model.reference.value
    assert registration.tags["mlauto.commit"] == commit.sha
    assert registration.tags["mlauto.tree"] == commit.tree
    assert registration.tags["mlauto.training_set"] == batches.digest
    assert registration.tags["mlauto.artifact"] == model.artifact
    assert registration.tags["mlflow.note.content"].startswith("# tides")
    assert (registration.dataset, registration.rows) == (batches.digest, 200)
    assert any(pin.startswith("scikit-learn==") for pin in registration.requirements)


def test_the_child_knows_nothing_that_it_need_not(
    trained: Train, product: Make, training_set: Sets, rows: Rows, child: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No setting and no secret of ours; one thread for few rows; rows weighted by their batch."""
    monkeypatch.setenv("MLAUTO_HOME", "/somewhere")
    monkeypatch.setenv("SERVICE_TOKEN", "secret")

    trained(product(), training_set(rows(100, 1), rows(100, 2)))

    [environment], [request] = child.environments, child.requests
    assert not {name for name in environment if name.startswith(("MLAUTO", "DAGSTER", "SERVICE"))}
    assert environment["OMP_NUM_THREADS"] == "1"
    assert (request.holdout, request.exclude, request.timestamp) == (40, ("leak",), "timestamp")


def test_the_champion_is_asked_for_the_candidates_holdout(
    trained: Train, product: Make, training_set: Sets, rows: Rows, child: Counted
) -> None:
    """30 % of the rows that only the candidate may know, asked of the live champion, decide the second check."""
    old, new = rows(300, 1), rows(200, 2)
    first = trained(product(), training_set(old))
    asked: list[dict[str, Any]] = []

    def predict(given: list[dict[str, Any]]) -> Answer:
        asked.extend(given)
        return said(3 * (row["temp"] or 10.0) + row["hour"] + 5.0 for row in given)

    second = trained(product(), training_set(old, new), champion=first, champion_predict=predict)

    assert child.requests[1].holdout == 60
    assert [row["hour"] for row in asked] == new["hour"].tail(60).tolist()
    assert set(asked[0]) == {"temp", "hour", "open", "kind"}
    outcome = second.checks[1]
    assert outcome.passed
    assert outcome.details["rows"] == 60
    assert outcome.details["difference"] < 0
    assert second.version == "2"


def test_a_worse_candidate_is_registered_but_does_not_pass(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, registry: FakeRegistry
) -> None:
    """Other code that answers worse: it is in registry and records; `passed` is False, and it is no challenger."""
    old, new = rows(300, 1), rows(200, 2)
    first = trained(product(), training_set(old))
    exact = new["target"].tail(60).tolist()

    strict = product(training={"not_worse_sigmas": 3.0})
    champion = replace(first, commit=replace(first.commit, tree="other code"))
    second = trained(strict, training_set(old, new), champion=champion, champion_predict=lambda _rows: said(exact))

    assert not second.passed
    assert "standard errors" in second.checks[1].summary
    assert store.read_record("tides", "model", TrainedModel) == second
    assert registry.registrations["tides"][1].passed is False
    assert registry.aliases == {("tides", "challenger"): "1"}


def test_a_useless_model_does_not_pass(trained: Train, product: Make, training_set: Sets, rows: Rows) -> None:
    """A constant prediction is no better than the dummy."""
    model = trained(product("weighted", monitoring={"metric": "rmse"}), training_set(rows(200)))

    assert not model.checks[0].passed
    assert "constant prediction" in model.checks[0].summary


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ("failing", r"fitting Failing on 160 rows failed: RuntimeError: the solver did not converge\n[\s\S]*Traceback"),
        ("leaving", "ended with exit code 0 and wrote no model"),
        ("nothing", "it must return a scikit-learn estimator"),
    ],
)
def test_the_teams_failure_is_a_training_error_with_its_last_lines(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, estimator: str, message: str
) -> None:
    """The reason comes first, then what the child printed; no record and no scratch directory is left."""
    with pytest.raises(TrainingError, match=message):
        trained(product(estimator), training_set(rows(200)))

    assert store.read_record("tides", "model", TrainedModel) is None
    assert list((store.home / "tmp").iterdir()) == []


def test_a_training_that_takes_too_long_is_stopped(
    trained: Train, product: Make, training_set: Sets, rows: Rows
) -> None:
    """The time limit is the product's, and the error names the setting."""
    began = time.monotonic()

    with pytest.raises(TrainingError, match=r"longer than 2 s: raise training\.timeout"):
        trained(product("sleeping", training={"timeout": "2s"}), training_set(rows(200)))

    assert time.monotonic() - began < 20


def test_the_same_inputs_are_fitted_once(
    trained: Train, product: Make, training_set: Sets, rows: Rows, child: Counted, registry: FakeRegistry
) -> None:
    """Materialized again, nothing runs and the record is the same; another seed is another model."""
    batches = training_set(rows(200))

    first = trained(product(), batches)
    again = trained(product(), batches, now=2000.0, reason="asked for")
    other = trained(product(training={"seed": 1}), batches)

    assert first == again
    assert len(child.requests) == 2
    assert other.version == "2"
    assert len(registry.registrations["tides"]) == 2


def test_going_back_to_what_was_trained_before_brings_that_model_back(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, child: Counted
) -> None:
    """After a second model, the first one's inputs give the first version and artifact, as the newest record."""
    batches = training_set(rows(200))
    first = trained(product(), batches)
    trained(product(training={"seed": 1}), batches)

    back = trained(product(), batches)

    assert back == first
    assert store.read_record("tides", "model", TrainedModel) == first
    assert len(child.requests) == 2


def test_a_training_killed_before_registration_is_completed_without_fitting_again(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, child: Counted
) -> None:
    """The fit is remembered by its key; the next call registers it and writes the records."""

    class Killed(BaseException):
        """Like a kill: nothing catches it."""

    class Dying(FakeRegistry):
        def register(self, registration: Registration) -> Registered:
            raise Killed

    batches = training_set(rows(200))
    with pytest.raises(Killed):
        trained(product(), batches, registry=Dying())
    assert store.read_record("tides", "model", TrainedModel) is None

    model = trained(product(), batches)

    assert len(child.requests) == 1
    assert store.read_record("tides", "models/1", TrainedModel) == model


def test_a_lost_artifact_is_made_again(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, child: Counted
) -> None:
    """A remembered fit whose files are gone does not count."""
    batches = training_set(rows(200))
    first = trained(product(), batches)
    store.tree_path(first.artifact).rename(store.home / "moved")

    second = trained(product(), batches)

    assert len(child.requests) == 2
    assert store.tree_path(second.artifact).is_dir()


def test_missing_data_is_named(trained: Train, product: Make, child: Counted) -> None:
    """A batch that is not in the store stops the training before any process is started."""
    batch = BatchWeight(key="1", digest=digest_of("gone"), rows=100, weight=1.0)

    with pytest.raises(StoreError, match="missing"):
        trained(product(), TrainingSet(batches=(batch,), digest="d"))

    assert child.requests == []


def test_an_unreachable_registry_fails_the_training_but_not_the_fit(
    trained: Train, product: Make, training_set: Sets, rows: Rows, child: Counted
) -> None:
    """The error is the registry's; when it is back, the remembered fit is registered."""

    class Down(FakeRegistry):
        def prepare(self) -> None:
            raise TrainingError("MLflow is down")

    batches = training_set(rows(200))
    with pytest.raises(TrainingError, match="MLflow is down"):
        trained(product(), batches, registry=Down())

    assert trained(product(), batches).version == "1"
    assert len(child.requests) == 1


def test_the_whole_way_into_mlflow(
    trained: Train, product: Make, training_set: Sets, rows: Rows, settings: Settings
) -> None:
    """With the real registry a classifier with the team's own function gets a run, a version and an alias."""
    frame = rows(200)
    frame = frame.assign(target=frame["target"] > 42)
    registry = MlflowRegistry(settings)
    made = product("logistic", data={"task": "classification"}, monitoring={"metric": "auc"})

    model = trained(made, training_set(frame), registry=registry)

    assert model.passed, model.checks
    logged = MlflowClient(tracking_uri=settings.mlflow_uri).get_run(model.run_id).data.metrics
    assert (model.reference.metric, [score.metric for score in model.scores[1:]]) == ("auc", ["error_rate", "log_loss"])
    assert logged["auc"] == pytest.approx(model.reference.value)
    assert logged["baseline_auc"] == 0.5
    assert {"auc_low", "auc_high", "error_rate", "baseline_log_loss"} <= logged.keys()
    assert model.signature.classes == (False, True)
    assert (model.version, registry.champion("tides")) == ("1", None)
    registry.promote("tides", model.version)
    assert registry.champion("tides") == "1"
    assert model.run_id in registry.run_url(model.run_id)


def test_a_search_goes_all_the_way_into_mlflow(
    trained: Train, product: Make, training_set: Sets, rows: Rows, settings: Settings, store: Store, child: Counted
) -> None:
    """What was found is fitted, recorded and registered with its trials; the next search starts from it."""
    search = {"parameters": {"final__alpha": {"low": 1e-3, "high": 1e7, "log": True}}, "candidates": 6}
    made = product(training={"search": search})
    registry, lines = MlflowRegistry(settings), list[str]()
    client, alpha = MlflowClient(tracking_uri=settings.mlflow_uri), "final__alpha"

    first = trained(made, training_set(rows(300, 1)), registry=registry, on_line=lines.append)
    second = trained(made, training_set(rows(300, 1), rows(200, 2)), registry=registry, champion=first)

    folders = [store.tree_path(model.artifact) for model in (first, second)]
    searches = [msgspec.json.decode((folder / "search.json").read_bytes(), type=Found) for folder in folders]
    fitted = msgspec.json.decode((folders[0] / "evaluation.json").read_bytes(), type=Evaluation).parameters[alpha]
    trials = client.search_runs(
        [client.get_run(first.run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{first.run_id}'"
    )
    assert any(line.startswith("search: rung 1 of ") for line in lines)
    assert fitted == repr(searches[0].parameters.get(alpha, 1.0))
    assert len(trials) == len(searches[0].trials) > 6
    assert {trial.candidate for trial in searches[0].trials} == set(range(1, 8))
    assert f"Search of parameters: {searches[0].summary}." in (folders[0] / "card.md").read_text()
    assert child.requests[1].search is not None
    assert child.requests[1].search.champion == {alpha: float(fitted)}
    assert first.key != model_key("t" * 40, first.training_set, product(), environment_digest())
    assert len(client.search_model_versions("name = 'tides'")) == 2


def test_a_search_for_what_is_no_parameter_is_one_sentence(
    trained: Train, product: Make, training_set: Sets, rows: Rows
) -> None:
    """It names the key and the nearest parameter."""
    made = product(training={"search": {"parameters": {"alpha": [1, 2]}}})

    with pytest.raises(TrainingError, match=r"training\.search: .* no parameter 'alpha': did you mean 'final__alpha'"):
        trained(made, training_set(rows(300)))


def test_a_training_on_a_cluster_gives_the_same_model(
    trained: Train, product: Make, training_set: Sets, rows: Rows, dask_cluster: str
) -> None:
    """Search and forest are done by workers that have never seen the team's code."""
    search = {"parameters": {"final__max_depth": [2, 8, None]}, "candidates": 3}
    batches = training_set(rows(300))
    here = trained(product("forest", training={"search": search}), batches)
    made = product("forest", training={"search": search, "backend": "joblib-dask"})

    there = trained(made, batches, address=dask_cluster, environment="of another key, or it would be remembered")

    # a forest predicts in threads, which add up in any order
    assert there.reference.value == pytest.approx(here.reference.value, rel=1e-12)
    with pytest.raises(TrainingError, match=r"training\.backend is joblib-dask: set MLAUTO_DASK_ADDRESS"):
        trained(made, training_set(rows(200)))


@pytest.mark.parametrize(("stream", "task"), [("bike_hourly", "regression"), ("elec2", "classification")])
def test_real_streams_are_learnt(
    streams: Path, trained: Train, product: Make, training_set: Sets, tree: Path, stream: str, task: str
) -> None:
    """5,000 rows of a real stream: valid, clearly better than the constant."""
    (tree / "src" / "team_of_tides" / "real.py").write_text(
        "from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor\n"
        "def regression():\n    return HistGradientBoostingRegressor(max_iter=60)\n"
        "def classification():\n    return HistGradientBoostingClassifier(max_iter=60)\n"
    )
    frame = pd.read_csv(streams / f"{stream}.csv", nrows=5000)
    made = product(
        data={"task": task, "timestamp": None, "exclude": ["timestamp", "casual", "registered", "date"]},
        code={"repository": "r", "estimator": f"team_of_tides.real:{task}"},
    )
    batches = training_set(*(frame.iloc[start : start + 500] for start in range(0, 5000, 500)))

    model = trained(made, batches)

    assert model.passed, model.checks
    assert model.checks[0].details["sigmas"] < -5


def test_averages_learn_from_one_model_to_the_next(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, child: Counted
) -> None:
    """The live model's members are tried on the batch it never saw; what they lost is handed on, and moves shares.

    So is what their mean was off by, which moves that.
    """
    made = product(training={"retrain": "quality"})
    frames = [rows(200, 1), rows(200, 2), rows(200, 3, shift=30.0)]
    first = trained(made, training_set(*frames[:2]))
    three = training_set(*frames)
    second = trained(made, three, champion=first)
    third = trained(made, training_set(*frames, rows(200, 4, shift=30.0)), champion=second)

    assert first.averaged is not None
    assert second.averaged is not None
    assert third.averaged is not None
    assert first.averaged.losses == ()
    assert len(second.averaged.losses) == 1
    assert third.averaged.losses[:1] == second.averaged.losses
    assert third.averaged.shares[0] > 2 * third.averaged.shares[3]  # the newest batch was the new world's first
    assert sum(third.averaged.shares) == pytest.approx(1.0)
    assert (first.averaged.tried, first.averaged.amount) == ((), 0.0)
    assert second.averaged.tried[0][2] > 10.0  # of the 30 that the new world is higher, less a hundred rows' doubt
    assert second.averaged.offset == second.averaged.tried[0][2]
    assert third.averaged.tried[:1] == second.averaged.tried
    assert third.averaged.tried[1][1] < third.averaged.tried[1][0]  # that offset would have helped
    beliefs = [model.averaged.amount / model.averaged.offset for model in (second, third)]
    assert beliefs[1] > beliefs[0] == pytest.approx(0.3)  # labels come at once
    assert [model.trainings for model in (first, second, third)] == [0, 1, 2]
    assert "Average of fits on last 1 batches" in (store.tree_path(third.artifact) / "card.md").read_text()
    evaluation = msgspec.json.decode((store.tree_path(third.artifact) / "evaluation.json").read_bytes())
    assert evaluation["compiled"], evaluation["compiling"]
