"""Workers as processes: alive, dead, or another process under the same number."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.test_utils import create_run_for_test

from mlauto.orchestration.launcher import WORKER_TAG, WarmRunLauncher, prewarm, reap_orphans
from mlauto.runtime.warm import WarmProcess, start_time
from mlauto.settings import Settings
from mlauto_tests.waiting import eventually

LAUNCHER_TAG = "mlauto/launcher"
Start = Callable[..., subprocess.Popen[bytes]]


def identity(pid: int) -> str:
    return f"{pid}:{start_time(pid)}"


GONE = "999999999:1"  # above the largest process number there can be


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """An instance that launches as ours does, and that a worker can join."""
    overrides = {
        "run_launcher": {"module": "mlauto.orchestration.launcher", "class": "WarmRunLauncher"},
        "telemetry": {"enabled": False},
    }
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster")), overrides=overrides) as made:
        yield made


@pytest.fixture
def launcher(instance: dg.DagsterInstance) -> WarmRunLauncher:
    found = instance.run_launcher
    assert isinstance(found, WarmRunLauncher)
    return found


@pytest.fixture
def sleeper() -> Iterator[Start]:
    """`sleeper()`: a process that stays."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str = "import time; time.sleep(600)") -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-S", "-c", code], stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def run_of(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> dg.DagsterRun:
    """A run with the tags `worker` and `launcher`."""
    named = {"worker": WORKER_TAG, "launcher": LAUNCHER_TAG}
    return create_run_for_test(instance, status=status, tags={named[name]: value for name, value in tags.items()})


def test_a_worker_that_lives_is_healthy(
    launcher: WarmRunLauncher, instance: dg.DagsterInstance, sleeper: Start
) -> None:
    """As long as its process does."""
    process = sleeper()
    run = run_of(instance, worker=identity(process.pid))

    alive = launcher.check_run_worker_health(run)
    process.kill()
    eventually(lambda: launcher.check_run_worker_health(run).status is WorkerStatus.FAILED)
    zombie = launcher.check_run_worker_health(run)
    process.wait()
    dead = launcher.check_run_worker_health(run)

    assert launcher.supports_check_run_worker_health
    assert alive.status is WorkerStatus.RUNNING
    assert zombie.status is dead.status is WorkerStatus.FAILED
    assert dead.msg == f"worker process {run.tags[WORKER_TAG]} is gone"


def test_another_process_with_the_same_number_is_not_the_worker(
    launcher: WarmRunLauncher, instance: dg.DagsterInstance, sleeper: Start
) -> None:
    """Its start time gives it away."""
    run = run_of(instance, worker=f"{sleeper().pid}:1")

    assert launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


def test_a_run_without_a_worker_has_its_launcher(
    launcher: WarmRunLauncher, instance: dg.DagsterInstance, sleeper: Start
) -> None:
    """Between the start of the worker and the note about it, the launcher's life counts."""
    begun = run_of(instance, launcher=identity(sleeper().pid))
    orphaned = run_of(instance, launcher=GONE)
    nobodys = run_of(instance)

    assert launcher.check_run_worker_health(begun).status is WorkerStatus.RUNNING
    assert launcher.check_run_worker_health(orphaned).status is WorkerStatus.FAILED
    assert launcher.check_run_worker_health(nobodys).status is WorkerStatus.FAILED


def test_orphans_are_failed_and_nobody_else(instance: dg.DagsterInstance, sleeper: Start) -> None:
    """Runs that were being started by a process that is gone; not those with a living launcher or worker."""
    alive = identity(sleeper().pid)
    starting = dg.DagsterRunStatus.STARTING
    orphan = run_of(instance, starting, launcher=GONE)
    killed = run_of(instance, starting, launcher=GONE, worker=GONE)
    spared = [
        run_of(instance, starting, launcher=alive),
        run_of(instance, starting, launcher=GONE, worker=alive),
        run_of(instance, starting),
        run_of(instance, dg.DagsterRunStatus.STARTED, launcher=GONE, worker=GONE),
        run_of(instance, dg.DagsterRunStatus.SUCCESS, launcher=GONE),
    ]
    before = [run.status for run in spared]

    reaped = reap_orphans(instance)

    def status(run: dg.DagsterRun) -> dg.DagsterRunStatus:
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        return found.status

    assert reaped == 2
    assert [status(run) for run in (orphan, killed)] == [dg.DagsterRunStatus.FAILURE] * 2
    assert [status(run) for run in spared] == before
    assert reap_orphans(instance) == 0


def test_a_reaped_run_counts_as_lost(instance: dg.DagsterInstance) -> None:
    """No step of it failed, which is how sensors tell a lost run from one that came to its end."""
    run = run_of(instance, dg.DagsterRunStatus.STARTING, launcher=GONE)

    reap_orphans(instance)

    assert instance.get_run_stats(run.run_id).steps_failed == 0


def test_terminating_interrupts_the_worker(
    launcher: WarmRunLauncher, instance: dg.DagsterInstance, sleeper: Start
) -> None:
    """The worker gets Ctrl-C and the run is being cancelled; the worker itself reports the end."""
    process = sleeper(
        "import time; print(flush=True)\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    raise SystemExit(7)"
    )
    assert process.stdout is not None
    process.stdout.readline()
    run = run_of(instance, worker=identity(process.pid))

    told = launcher.terminate(run.run_id)

    assert told
    assert process.wait(timeout=20) == 7
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.CANCELING


def test_terminating_a_run_without_a_process_ends_it(launcher: WarmRunLauncher, instance: dg.DagsterInstance) -> None:
    """Nobody is left to report, so the launcher does; a finished or unknown run is left alone."""
    runs = [run_of(instance, worker=GONE), run_of(instance)]
    finished = run_of(instance, dg.DagsterRunStatus.SUCCESS)

    told = [launcher.terminate(run.run_id) for run in runs]

    assert told == [True, True]
    statuses = [run.status for run in instance.get_runs(dg.RunsFilter(run_ids=[run.run_id for run in runs]))]
    assert statuses == [dg.DagsterRunStatus.CANCELED] * 2
    assert not launcher.terminate(finished.run_id)
    assert not launcher.terminate("no-such-run")


def test_a_launch_is_a_fork_of_the_warm_process(
    launcher: WarmRunLauncher,
    instance: dg.DagsterInstance,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The warm process is started once, both processes are noted in the run's tags, and the run is executed."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    code = tmp_path / "somebodys_jobs.py"
    code.write_text(
        "import os, dagster as dg\n@dg.op\ndef work():\n    open('who', 'w').write(str(os.getppid()))\n"
        "@dg.job(executor_def=dg.in_process_executor)\ndef small():\n    work()\n"
        "@dg.repository\ndef place():\n    return [small]\n"
    )
    monkeypatch.chdir(tmp_path)
    runs = [launched(launcher, instance, code) for _ in range(2)]

    for run in runs:
        eventually(lambda run=run: (instance.get_run_by_id(run.run_id) or run).is_finished)
    found = [instance.get_run_by_id(run.run_id) for run in runs]

    assert [run.status for run in found if run] == [dg.DagsterRunStatus.SUCCESS] * 2, (
        settings.home / "logs" / "runs.log"
    ).read_text()
    assert all(run and run.tags[LAUNCHER_TAG] == identity(os.getpid()) for run in found)
    workers = {run.tags[WORKER_TAG].split(":")[0] for run in found if run}
    assert len(workers) == 2
    parent = int((tmp_path / "who").read_text())
    assert start_time(parent) is not None
    launcher.dispose()
    assert start_time(parent) is None


def launched(launcher: WarmRunLauncher, instance: dg.DagsterInstance, code: Path) -> dg.DagsterRun:
    """A run of the job `small` in that file, launched."""
    repository = ReconstructableRepository.for_file(str(code), "place")
    job = repository.get_reconstructable_job("small")
    run = instance.create_run_for_job(
        job.get_definition(),
        job_code_origin=job.get_python_origin(),
        status=dg.DagsterRunStatus.STARTING,
    )
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))
    return run


def test_only_our_launcher_is_warmed_up(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    """Others have no use for it, and where one runs already nothing is started."""
    warm = WarmProcess(tmp_path / "warm.sock", libraries=())
    with dg.DagsterInstance.ephemeral() as other:
        assert prewarm(other, warm) is None

    process = prewarm(instance, warm)
    assert process is not None
    try:
        eventually(warm.running)
        assert prewarm(instance, warm) is None
    finally:
        process.communicate(timeout=20)
    assert not warm.running()
