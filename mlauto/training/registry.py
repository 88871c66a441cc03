"""The seam to experiment tracking and the model registry, with MLflow behind it and a fake beside it.

Everything is get-or-create by key: a run carries the tag `mlauto.key`, so a registration that was cut off anywhere is
found again and completed, and one that is complete is returned as it is.
"""

import fcntl
import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mlauto.errors import TrainingError
from mlauto.records import Signature
from mlauto.settings import Settings
from mlauto.training.mlmodel import mlflow_signature, write_model
from mlauto.training.search.trial_runs import log_trials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

__all__ = ["FakeRegistry", "MlflowRegistry", "Registered", "Registration", "Registry"]

KEY = "mlauto.key"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
REMOTE = ("http://", "https://", "databricks")
ATTACHED = ("card.md", "plot.png", "evaluation.json", "golden.json", "signature.json", "search.json")


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A trained model on its way into the registry. `artifact` is its directory (contract: `model.skops` and so on).

    `types` are the types in the model file beyond skops' own; `dataset` the training set's digest, of `rows` rows;
    `passed` whether all its checks did; `trained` seconds since the epoch.
    """

    product: str
    key: str
    artifact: Path
    signature: Signature
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: str
    rows: int
    requirements: tuple[str, ...]
    types: tuple[str, ...]
    passed: bool
    trained: float


@dataclass(frozen=True, kw_only=True)
class Registered:
    """Where the registry put it: the product's version and the run."""

    version: str
    run_id: str


class Registry(Protocol):
    """What training and delivery need of a registry. Errors are `TrainingError`s that name the registry's address."""

    def prepare(self) -> None:
        """Import, connect and create what does not exist yet; may be called any time, also from a thread."""

    def register(self, registration: Registration) -> Registered:
        """Track and register a model, once for each key; alias `challenger` when its checks passed."""

    def attach(self, run_id: str, name: str, content: bytes) -> None:
        """Put a file among the run's artifacts, in place of one of that name."""

    def promote(self, product: str, version: str) -> None:
        """Alias `champion` goes to `version`, and `previous` to the one that had it."""

    def champion(self, product: str) -> str | None:
        """The version with the alias `champion`, or None."""

    def run_url(self, run_id: str) -> str:
        """Address of the run's page in the registry's UI."""


@dataclass
class FakeRegistry:
    """A registry in memory, for tests: versions count from 1 for each product."""

    registrations: dict[str, list[Registration]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    attached: dict[tuple[str, str], bytes] = field(default_factory=dict)
    prepared: int = 0

    def prepare(self) -> None:
        """Count the calls."""
        self.prepared += 1

    def register(self, registration: Registration) -> Registered:
        """Keep the registration, unless its key is known."""
        known = self.registrations.setdefault(registration.product, [])
        keys = [other.key for other in known]
        if registration.key not in keys:
            known.append(registration)
            keys.append(registration.key)
            if registration.passed:
                self.aliases[registration.product, "challenger"] = str(len(known))
        return Registered(version=str(keys.index(registration.key) + 1), run_id=registration.key[:32])

    def attach(self, run_id: str, name: str, content: bytes) -> None:
        """Keep the file."""
        self.attached[run_id, name] = content

    def promote(self, product: str, version: str) -> None:
        """Move the aliases. Raises `TrainingError` for a version that was never registered."""
        if not 1 <= int(version) <= len(self.registrations.get(product, ())):
            raise TrainingError(f"{product} has no version {version}: train it first")
        former = self.aliases.get((product, "champion"))
        if former not in (None, version):
            self.aliases[product, "previous"] = str(former)
        self.aliases[product, "champion"] = version

    def champion(self, product: str) -> str | None:
        """The version with the alias."""
        return self.aliases.get((product, "champion"))

    def run_url(self, run_id: str) -> str:
        """An address that leads nowhere."""
        return f"fake://runs/{run_id}"


class MlflowRegistry:
    """MLflow: SQLite and artifacts below `Settings.home`, or whatever server `MLFLOW_TRACKING_URI` names.

    Cheap to make; MLflow is imported and the database opened by the first call. Loads no model.
    """

    def __init__(self, settings: Settings) -> None:
        self.uri = settings.mlflow_uri
        self.home = settings.home / "mlflow"
        self._client: MlflowClient | None = None
        self._opening = threading.Lock()

    def prepare(self) -> None:
        """Import MLflow and open, or create, the database."""
        with self._translated("opening"), self._locked():
            self._connected()

    def register(self, registration: Registration) -> Registered:
        """See `Registry.register`. One registration at a time on this machine; a repeated one changes nothing."""
        product = registration.product
        with self._translated(f"registering {product}"), self._locked():
            client = self._connected()
            experiment = self._experiment(product)
            run = self._run(experiment, registration)
            version = self._version(product, run.info.run_id)
            if version is None:
                version = self._complete(client, experiment, run, registration)
            aliases = self._aliases(product)
            if registration.passed and version not in (aliases.get("champion"), aliases.get("previous")):
                client.set_registered_model_alias(product, "challenger", version)
        return Registered(version=version, run_id=run.info.run_id)

    def attach(self, run_id: str, name: str, content: bytes) -> None:
        """See `Registry.attach`."""
        with self._translated(f"attaching {name}"), tempfile.TemporaryDirectory(prefix="mlauto-attached-") as folder:
            (Path(folder) / name).write_bytes(content)
            self._connected().log_artifact(run_id, str(Path(folder) / name))

    def promote(self, product: str, version: str) -> None:
        """See `Registry.promote`. Promoting the champion again changes nothing."""
        with self._translated(f"promoting {product} version {version}"), self._locked():
            client = self._connected()
            client.get_model_version(product, version)
            aliases = self._aliases(product)
            former = aliases.get("champion")
            if former == version:
                return
            # the old one is named first: cut off in between, a repetition still finds it as champion
            if former is not None:
                client.set_registered_model_alias(product, "previous", former)
            client.set_registered_model_alias(product, "champion", version)
            if aliases.get("challenger") == version:
                client.delete_registered_model_alias(product, "challenger")

    def champion(self, product: str) -> str | None:
        """See `Registry.champion`. None as well for a product that MLflow does not know."""
        with self._translated(f"asking for {product}'s champion"):
            found = self._connected().search_registered_models(f"name = '{product}'", max_results=1)
        version = found[0].aliases.get("champion") if found else None
        return None if version is None else str(version)

    def run_url(self, run_id: str) -> str:
        """The run's page; for the embedded database that of `mlflow ui` at its default address."""
        with self._translated(f"looking up run {run_id}"):
            experiment = self._connected().get_run(run_id).info.experiment_id
        base = self.uri.rstrip("/") if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{base}/#/experiments/{experiment}/runs/{run_id}"

    def _connected(self) -> "MlflowClient":
        with self._opening:
            if self._client is None:
                from mlflow import MlflowClient

                self.home.mkdir(parents=True, exist_ok=True)
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                client.search_experiments(max_results=1)
                self._client = client
        return self._client

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One registration at a time among the processes that share the state directory."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        """MLflow hushed, and its errors as ours, with the address and what was being done."""
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            yield
        except MlflowException as error:
            reason = (str(error).strip().splitlines() or ["no message"])[0]
            raise TrainingError(f"MLflow at {self.uri}, {doing}: {reason}; check MLFLOW_TRACKING_URI") from error

    def _experiment(self, product: str) -> str:
        """The product's experiment; its artifacts lie below the state directory unless a server decides where."""
        from mlflow.exceptions import MlflowException

        client = self._connected()
        found = client.get_experiment_by_name(product)
        if found is None:
            place = None if self.uri.startswith(REMOTE) else str(self.home / "artifacts" / product)
            try:
                return str(client.create_experiment(product, artifact_location=place))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(product)
        return str(found.experiment_id)

    def _run(self, experiment: str, registration: Registration) -> "Run":
        """The run of that key, finished or not, or a new one."""
        client = self._connected()
        found = client.search_runs([experiment], f"tags.`{KEY}` = '{registration.key}'", max_results=1)
        if found:
            return found[0]
        start = int(registration.trained * 1000)
        name = f"{registration.product}-{registration.key[:8]}"
        tags = {**registration.tags, KEY: registration.key}
        return client.create_run(experiment, start_time=start, tags=tags, run_name=name)

    def _version(self, product: str, run_id: str) -> str | None:
        found = self._connected().search_model_versions(f"name = '{product}' and run_id = '{run_id}'", max_results=1)
        return str(found[0].version) if found else None

    def _aliases(self, product: str) -> dict[str, str]:
        """Alias -> version; MLflow's database gives numbers where its server gives text."""
        aliases = self._connected().get_registered_model(product).aliases
        return {name: str(version) for name, version in aliases.items()}

    def _complete(self, client: "MlflowClient", experiment: str, run: "Run", registration: Registration) -> str:
        """Fill a run and register its model. Every step may be repeated; the version comes last."""
        run_id, product = run.info.run_id, registration.product
        model = self._model(client, experiment, run_id, registration)
        if run.info.status != "FINISHED":
            self._log(client, run_id, model.model_id, registration)
            log_trials(client, experiment, run, registration.artifact)
            client.set_terminated(run_id)
        self._ensure_registered(client, product)
        tags = {KEY: registration.key, "mlauto.checks": "passed" if registration.passed else "failed"}
        version = client.create_model_version(
            product, source=model.artifact_location, run_id=run_id, tags=tags, model_id=model.model_id
        )
        return str(version.version)

    @staticmethod
    def _model(client: "MlflowClient", experiment: str, run_id: str, registration: Registration) -> "LoggedModel":
        """The run's logged model with its files; one that was cut off is left behind as pending."""
        criteria = f"tags.`{KEY}` = '{registration.key}' AND source_run_id = '{run_id}'"
        for model in client.search_logged_models([experiment], filter_string=criteria):
            if str(model.status) == "READY":
                return model
        tags = {KEY: registration.key}
        model = client.create_logged_model(experiment, name=registration.product, source_run_id=run_id, tags=tags)
        with tempfile.TemporaryDirectory(prefix="mlauto-model-") as folder:
            write_model(
                Path(folder),
                registration.artifact / "model.skops",
                signature=registration.signature,
                requirements=registration.requirements,
                types=registration.types,
                identity={"run_id": run_id, "model_id": model.model_id, "artifact_path": model.artifact_location},
            )
            client.log_model_artifacts(model.model_id, folder)
        return client.finalize_logged_model(model.model_id, "READY")

    @staticmethod
    def _log(client: "MlflowClient", run_id: str, model_id: str, registration: Registration) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

        # MLflow's own limits: 36 characters of digest, 100 parameters a call
        dataset = Dataset(
            name=registration.product,
            digest=registration.dataset[:36],
            source_type="mlauto",
            source=json.dumps({"training_set": registration.dataset}),
            schema=json.dumps({"mlflow_colspec": mlflow_signature(registration.signature).inputs.to_dict()}),
            profile=json.dumps({"num_rows": registration.rows}),
        )
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        when = int(registration.trained * 1000)
        metrics = [Metric(name, value, when, 0, model_id=model_id) for name, value in registration.metrics.items()]
        params = [Param(name, value) for name, value in list(registration.parameters.items())[:100]]
        client.log_batch(run_id, metrics=metrics, params=params)
        for name in ATTACHED:
            if (registration.artifact / name).exists():
                client.log_artifact(run_id, str(registration.artifact / name))

    @staticmethod
    def _ensure_registered(client: "MlflowClient", product: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(product)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
