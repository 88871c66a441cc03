"""The trials of a search as MLflow runs, nested under the run of the model that they were for."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlauto.training.exchange import written
from mlauto.training.search.candidates import Found, SearchTrial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["log_trials"]

PARENT = "mlflow.parentRunId"
TRIAL = "mlauto.trial"
PAGE = 1000
LONGEST = 500  # characters of a tag


def log_trials(client: "MlflowClient", experiment: str, run: "Run", artifact: Path) -> None:
    """One nested run for each trial in the artifact's `search.json`, if there is one.

    May be repeated: a trial's run is known by its number, and one that was cut off is completed. Raises
    `TrainingError` when the file is not whole.
    """
    path = artifact / "search.json"
    if not path.exists():
        return
    parent = run.info.run_id
    known = _known(client, experiment, parent)
    for number, trial in enumerate(written(path, Found).trials, 1):
        there = known.get(str(number))
        if there is None or there.info.status == "RUNNING":
            _log(client, experiment, run, there, number=number, trial=trial)


def _known(client: "MlflowClient", experiment: str, parent: str) -> dict[str, "Run"]:
    """The trials' runs that are there, by number."""
    found: dict[str, Run] = {}
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{PARENT}` = '{parent}'", max_results=PAGE, page_token=token)
        found |= {one.data.tags[TRIAL]: one for one in page if TRIAL in one.data.tags}
        token = page.token
        if not token:
            return found


def _log(
    client: "MlflowClient", experiment: str, run: "Run", there: "Run | None", *, number: int, trial: SearchTrial
) -> None:
    from mlflow.entities import Metric, Param

    when = run.info.start_time
    if there is None:
        tags = {PARENT: run.info.run_id, TRIAL: str(number), "mlauto.origin": trial.origin}
        if trial.problem:
            tags["mlauto.problem"] = trial.problem[:LONGEST]
        name = f"trial-{number:03d}-{trial.origin}"
        there = client.create_run(experiment, start_time=when, tags=tags, run_name=name)
    params = {"candidate": str(trial.candidate), "rung": str(trial.rung), "rows": str(trial.rows)}
    params |= {name: repr(value) for name, value in trial.parameters.items()}
    metrics = {"seconds": trial.seconds} | ({} if trial.loss is None else {"loss": trial.loss})
    client.log_batch(
        there.info.run_id,
        metrics=[Metric(name, value, when, 0) for name, value in metrics.items()],
        params=[Param(name, value) for name, value in params.items()],
    )
    ended = when + round(1000 * trial.seconds)
    client.set_terminated(there.info.run_id, "FAILED" if trial.loss is None else "FINISHED", ended)
