"""A search's trials in a real MLflow."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mlauto.errors import TrainingError
from mlauto.settings import Settings
from mlauto.training.registry import MlflowRegistry
from mlauto.training.search.candidates import Found, SearchTrial
from mlauto.training.search.trial_runs import log_trials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

GOOD = SearchTrial(
    candidate=1, origin="champion", parameters={"alpha": 0.5, "kind": "a"}, rung=1, rows=400, loss=2.5, seconds=1.5
)
BAD = replace(GOOD, candidate=2, origin="drawn", loss=None, problem="it did not converge")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> "MlflowClient":
    """An embedded MLflow of this file's own."""
    home = tmp_path_factory.mktemp("mlflow")
    settings = Settings.from_environment({"MLAUTO_ROOT": str(home), "MLAUTO_HOME": str(home)})
    MlflowRegistry(settings).prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=settings.mlflow_uri, registry_uri=settings.mlflow_uri)


@pytest.fixture
def run(client: "MlflowClient", tmp_path: Path) -> "Run":
    """The run of a model, in an experiment of this test's own."""
    experiment = client.create_experiment(tmp_path.name, artifact_location=str(tmp_path / "artifacts"))
    return client.create_run(experiment, start_time=1_700_000_000_000)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """What a search of two trials leaves."""
    found = Found(parameters={}, origin="champion", trials=(GOOD, BAD), scored=100, complete=True, summary="")
    (tmp_path / "search.json").write_bytes(msgspec.json.encode(found))
    return tmp_path


def nested(client: "MlflowClient", run: "Run") -> dict[str, "Run"]:
    """The runs below that one, by name; none may be there twice."""
    found = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    names = [one.info.run_name for one in found]
    assert len(names) == len(set(names))
    return dict(zip(names, found, strict=True))


def test_each_trial_is_a_nested_run(client: "MlflowClient", run: "Run", artifact: Path) -> None:
    """With its parameters, loss, place in the search and, where it failed, its reason."""
    log_trials(client, run.info.experiment_id, run, artifact)

    runs = nested(client, run)
    good, bad = runs["trial-001-champion"], runs["trial-002-drawn"]
    assert good.data.params == {"alpha": "0.5", "kind": "'a'", "candidate": "1", "rung": "1", "rows": "400"}
    assert good.data.metrics == {"loss": 2.5, "seconds": 1.5}
    assert (good.info.status, good.info.end_time - good.info.start_time) == ("FINISHED", 1500)
    assert (bad.info.status, bad.data.tags["mlauto.problem"]) == ("FAILED", "it did not converge")
    assert "loss" not in bad.data.metrics
    assert not any("mlauto.key" in one.data.tags for one in runs.values())


def test_a_repetition_changes_nothing(client: "MlflowClient", run: "Run", artifact: Path) -> None:
    """The same runs, as they were."""
    log_trials(client, run.info.experiment_id, run, artifact)
    first = {name: one.info.run_id for name, one in nested(client, run).items()}

    log_trials(client, run.info.experiment_id, run, artifact)

    assert {name: one.info.run_id for name, one in nested(client, run).items()} == first


@pytest.mark.parametrize("step", ["log_batch", "set_terminated"])
def test_what_was_cut_off_is_completed(client: "MlflowClient", run: "Run", artifact: Path, step: str) -> None:
    """Killed between making a run and ending it, the next call finishes that run."""

    class Killed(BaseException):
        """Like a kill."""

    class Dying:
        def __getattr__(self, name: str) -> Any:
            if name == step:
                raise Killed
            return getattr(client, name)

    with pytest.raises(Killed):
        log_trials(Dying(), run.info.experiment_id, run, artifact)  # type: ignore[arg-type]
    [begun] = nested(client, run).values()

    log_trials(client, run.info.experiment_id, run, artifact)

    runs = nested(client, run)
    assert runs["trial-001-champion"].info.run_id == begun.info.run_id
    assert [one.info.status for _, one in sorted(runs.items())] == ["FINISHED", "FAILED"]


def test_without_a_search_nothing_is_logged(client: "MlflowClient", run: "Run", tmp_path: Path) -> None:
    """Most models have none."""
    log_trials(client, run.info.experiment_id, run, tmp_path)

    assert nested(client, run) == {}


def test_a_record_that_is_not_whole_is_said(client: "MlflowClient", run: "Run", tmp_path: Path) -> None:
    """By the file's name."""
    (tmp_path / "search.json").write_text("{}")

    with pytest.raises(TrainingError, match=r"no valid search\.json"):
        log_trials(client, run.info.experiment_id, run, tmp_path)
