"""Dagster's run launcher for one machine: each run is a fork of the warm process, and can be asked whether it lives.

Configured in `dagster.yaml`. Dagster's run monitoring asks `check_run_worker_health` for runs that have started, and
fails those whose process is gone; `reap_orphans` does the same for the moment between launch and start, which run
monitoring judges by a time limit only.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, RunLauncher, WorkerStatus
from dagster._core.origin import JobPythonOrigin
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from mlauto.runtime.warm import NotWarmError, WarmProcess, start_time
from mlauto.settings import Settings

__all__ = ["WORKER_TAG", "WarmRunLauncher", "prewarm", "reap_orphans"]

WORKER_TAG = "mlauto/worker"
LAUNCHER_TAG = "mlauto/launcher"
MODULES = ("dagster", "dagster._cli.api", "dagster._core.execution.api")


def _identity(pid: int) -> str:
    return f"{pid}:{start_time(pid)}"


def _alive(identity: str | None) -> bool:
    if not identity:
        return False
    pid, _, began = identity.partition(":")
    return start_time(int(pid)) == began


class WarmRunLauncher(RunLauncher[dg.DagsterInstance], ConfigurableClass):
    """Launches runs as forks of a warm process that this process starts when first needed and that ends with it."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's mixin

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """How `dagster.yaml` names this class."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> "WarmRunLauncher":
        """Made by Dagster from `dagster.yaml`."""
        del config_value
        return cls(inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Fork a worker for the run. Raises `MlautoError` when the warm process cannot be started."""
        run = context.dagster_run
        instance = self._instance
        instance.add_run_tags(run.run_id, {LAUNCHER_TAG: _identity(os.getpid())})
        origin = cast("JobPythonOrigin", run.job_code_origin)  # a queued run always knows its code
        arguments = ExecuteRunArgs(origin, run.run_id, instance.get_ref()).get_command_args()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        settings = Settings.from_environment()
        spawn = partial(
            WarmProcess.spawn,
            module="dagster",
            arguments=arguments[arguments.index("api") :],
            cwd=Path.cwd(),
            env=environment,
            output=settings.home / "logs" / "runs.log",
        )
        try:
            pid = spawn(self._warm(settings))
        except NotWarmError:  # it ended between the question and the request, as it does when the code is loaded anew
            pid = spawn(self._warm(settings))
        instance.add_run_tags(run.run_id, {WORKER_TAG: _identity(pid)})

    def _warm(self, settings: Settings) -> WarmProcess:
        warm = WarmProcess(settings.home / "warm.sock")
        with self._starting:
            if not warm.running():
                self._process = warm.start(MODULES)
        return warm

    def terminate(self, run_id: str) -> bool:
        """Interrupt the run's process, which then reports the run as cancelled; False when it is gone already."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        identity = run.tags.get(WORKER_TAG)
        if identity is None or not _alive(identity):
            self._instance.report_run_canceled(run)
            return True
        os.kill(int(identity.partition(":")[0]), signal.SIGINT)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Workers are processes on this machine, so their health is known."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the worker's process lives, or its launcher is about to note it; FAILED when it is gone."""
        identity = run.tags.get(WORKER_TAG)
        if _alive(identity) or (identity is None and _alive(run.tags.get(LAUNCHER_TAG))):
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=identity)
        return CheckRunHealthResult(WorkerStatus.FAILED, f"worker process {identity or 'unknown'} is gone")

    def dispose(self) -> None:
        """End the warm process, if this launcher started it; runs go on."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it stays until the trainings in it have ended
                self._process.wait(timeout=5)
            self._process = None


def prewarm(instance: dg.DagsterInstance, warm: WarmProcess) -> subprocess.Popen[bytes] | None:
    """Begin to start the warm process before the first run needs it; it lives as long as what is returned."""
    if not isinstance(instance.run_launcher, WarmRunLauncher) or warm.running():
        return None
    return warm.begin(MODULES)


def reap_orphans(instance: dg.DagsterInstance) -> int:
    """Fail runs that were being launched by a process that is gone; how many. Level-triggered sensors ask again."""
    starting = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING]), limit=100)
    orphans = [
        run
        for run in starting
        if LAUNCHER_TAG in run.tags and not _alive(run.tags[LAUNCHER_TAG]) and not _alive(run.tags.get(WORKER_TAG))
    ]
    for run in orphans:
        instance.report_run_failed(run, "the process that was starting this run was killed; it will be asked for again")
    return len(orphans)
