"""Kill -9 of everything in mid-run: a restart converges, nothing is lost, nothing is done twice."""

import os
import signal
import subprocess
import time

import dagster as dg
import pytest
from mlflow import MlflowClient

from mlauto.commands.example import FIRST_ROWS, PRODUCT, land
from mlauto.commands.loop import Loop
from mlauto.commands.observe import Observer
from mlauto.commands.stream import DemandStream
from mlauto.records import Deployment
from mlauto.store import Store
from mlauto.training.training_set import accepted_batches

pytestmark = [pytest.mark.live, pytest.mark.slow]


def _kill_control_plane(loop: Loop) -> None:
    """Kill -9 of daemon, code server, warm process and run workers; gateway and model servers are the data plane."""
    for pid, command in loop.processes().items():
        if "mlauto.serving" not in command:
            os.kill(pid, signal.SIGKILL)
    assert loop.daemon is not None
    loop.daemon.wait()
    loop.daemon = None


def _gateway(loop: Loop) -> list[int]:
    """Its guardian and whoever answers: the last of them may still do so after the first one's end."""
    return [pid for pid, command in loop.processes().items() if "mlauto.serving.gateway" in command]


def _unfinished(loop: Loop) -> list[str]:
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING]
    return [run.run_id for run in loop.instance.get_runs(dg.RunsFilter(statuses=statuses))]


def test_after_kill_9_in_mid_run_a_restart_converges(example: Loop) -> None:
    """Daemon, code server, warm process and worker die while the model is being made; a commit and a file come in."""
    loop, observer, store = example, Observer(example.instance, PRODUCT), Store(example.settings.home)
    began = time.monotonic()
    loop.start()
    loop.wait_for("a run between two steps", lambda: observer.materialized("training_set") and _unfinished(loop))
    undisturbed = time.monotonic() - began
    limit = max(20.0, 2.5 * undisturbed)  # 20 s on a machine of one's own; where others work, too, a ratio
    orphans = _unfinished(loop)
    _kill_control_plane(loop)
    assert set(_unfinished(loop)) == set(orphans), "the killed run is still called started"
    readme = loop.settings.root / "models" / PRODUCT / "README.md"
    readme.write_text(readme.read_text() + "\nMore words.\n")
    subprocess.run(["git", "-C", str(readme.parent), "commit", "-qam", "More words"], check=True)
    land(loop.settings, DemandStream(seed=7).frame(FIRST_ROWS, 500), "second.csv")

    restarted = time.monotonic()
    loop.start()
    loop.wait_for("no orphaned run", lambda: not set(orphans) & set(_unfinished(loop)), timeout=limit)
    first = loop.wait_for("production", lambda: store.read_record(PRODUCT, "production", Deployment), timeout=2 * limit)
    seconds = time.monotonic() - restarted
    loop.wait_for("the second batch", lambda: len(accepted_batches(store, PRODUCT).batches) == 2)
    loop.wait_for("both reports", lambda: len(list(store.record_names(PRODUCT, "reports"))) == 2)
    loop.wait_for("all runs to end", lambda: not _unfinished(loop))

    assert seconds < limit, (
        f"converged after {seconds:.1f} s; the first start took {undisturbed:.1f} s to the middle of a run"
    )
    assert first.version == "1"
    versions = MlflowClient(loop.settings.mlflow_uri).search_model_versions(f"name = '{PRODUCT}'")
    assert [str(version.version) for version in versions] == ["1"]
    assert list(store.record_names(PRODUCT, "batches_planned")) == []
    works = [run.tags["mlauto/work"] for run in loop.instance.get_runs() if run.status is dg.DagsterRunStatus.SUCCESS]
    assert len(works) == len(set(works)), "some work succeeded twice"


def test_the_data_plane_answers_while_the_control_plane_is_dead(example: Loop) -> None:
    """With Dagster killed, and then with the gateway killed and started again, the same version answers."""
    from mlauto.commands.client import GatewayClient, rows_of
    from mlauto.runtime.local import LocalRuntime

    loop, store = example, Store(example.settings.home)
    loop.start()
    loop.wait_for("production", lambda: store.read_record(PRODUCT, "production", Deployment), timeout=60)
    _kill_control_plane(loop)
    rows = rows_of(DemandStream(seed=7).frame(0, 3).drop(columns=["timestamp", "demand"]))
    runtime = LocalRuntime(loop.settings)
    with GatewayClient(loop.settings.gateway_url, PRODUCT) as client:
        before = client.ask(rows)
    for pid in _gateway(loop):
        os.kill(pid, signal.SIGKILL)
    loop.wait_for("the gateway to be gone", lambda: not _gateway(loop))
    runtime.ensure()
    loop.wait_for("the champion to be back", lambda: runtime.live(PRODUCT) == "1")
    with GatewayClient(loop.settings.gateway_url, PRODUCT) as client:
        after = client.ask(rows)

    assert before.ok
    assert after.ok, after.problem
    assert after.predictions == before.predictions
