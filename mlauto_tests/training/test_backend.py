"""The engines that joblib's work is handed to: a real Dask cluster on loopback, and what is said without one."""

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GridSearchCV

from mlauto.errors import TrainingError
from mlauto.training.backend import parallel

TEAM = """
from sklearn.linear_model import Ridge


def where():
    import os
    return os.getpid()


class Shifted(Ridge):
    def predict(self, rows):
        return super().predict(rows) + 1.0
"""
ROWS = np.random.default_rng(0).normal(size=(200, 3))
LABELS = ROWS @ np.array([1.0, 2.0, 3.0])


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the team's that no worker can import."""
    (tmp_path / "only_here.py").write_text(TEAM)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("only_here", None)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nothing answers: the port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def test_local_changes_nothing() -> None:
    """Work is done here, one after another."""
    with parallel("local", ""):
        assert Parallel()(delayed(os.getpid)() for _ in range(3)) == [os.getpid()] * 3


def test_a_forest_grows_on_the_cluster_as_it_does_here(dask_cluster: str) -> None:
    """scikit-learn's own work goes to the workers, and the model is the same to the last digit."""
    forest = RandomForestRegressor(n_estimators=8, random_state=0)
    here = forest.fit(ROWS, LABELS).predict(ROWS)

    with parallel("joblib-dask", dask_cluster):
        pids = set(Parallel()(delayed(os.getpid)() for _ in range(8)))
        there = forest.fit(ROWS, LABELS)

    assert len(pids) == 2
    assert os.getpid() not in pids
    assert there.predict(ROWS).tolist() == here.tolist()


def test_the_teams_code_travels_by_value(dask_cluster: str, team: Path) -> None:
    """Functions and classes of the tree run on workers that cannot import them, and come back as what they are."""
    import only_here  # type: ignore[import-not-found] # written by this test

    with parallel("joblib-dask", dask_cluster, team):
        pids = Parallel()(delayed(only_here.where)() for _ in range(4))
        found = GridSearchCV(only_here.Shifted(), {"alpha": [0.1, 10.0]}, cv=2).fit(ROWS, LABELS)
        [fitted] = Parallel()([delayed(only_here.Shifted().fit)(ROWS, LABELS)])

    assert os.getpid() not in pids
    assert found.best_params_["alpha"] == 0.1
    assert type(fitted) is only_here.Shifted


def test_a_task_is_done_in_a_row(dask_cluster: str) -> None:
    """What a task would hand out in turn stays where it is: one level of parallel work, and sums in one order."""

    def inner() -> set[int]:
        import os

        from joblib import Parallel, delayed

        return {os.getpid(), *Parallel(n_jobs=4)(delayed(os.getpid)() for _ in range(8))}

    with parallel("joblib-dask", dask_cluster):
        assert {len(pids) for pids in Parallel()(delayed(inner)() for _ in range(4))} == {1}


def test_what_is_shared_is_sent_as_it_is(dask_cluster: str) -> None:
    """Arrays that many tasks ask for."""
    big = np.arange(10_000.0)

    with parallel("joblib-dask", dask_cluster, share=(big,)):
        assert Parallel()(delayed(np.sum)(big) for _ in range(3)) == [big.sum()] * 3


def test_a_team_failure_on_a_worker_is_the_teams(dask_cluster: str) -> None:
    """The exception arrives as what it was."""
    with parallel("joblib-dask", dask_cluster), pytest.raises(ValueError, match="could not convert string to float"):
        Parallel()(delayed(float)(text) for text in ("1", "x"))


def test_a_scheduler_that_does_not_answer_is_named(
    needs: Callable[[str], None], nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key in the YAML, the address without its password, what to start, and why a container never reaches it."""
    needs("dask")
    monkeypatch.setattr("mlauto.training.backend.CONNECT_SECONDS", 0.5)
    secret = nobody.replace("//", "//ada:secret@")

    with pytest.raises(TrainingError, match=r"training\.backend is joblib-dask, and no scheduler answers") as caught:
        parallel("joblib-dask", nobody).__enter__()
    said = str(caught.value)
    with pytest.raises(TrainingError) as hidden:
        parallel("joblib-dask", secret).__enter__()

    assert nobody in said
    assert "'dask scheduler'" in said
    assert "MLAUTO_DASK_ADDRESS" in said
    assert "a training in a container reaches no network" in said
    assert "secret" not in str(hidden.value)


@pytest.mark.parametrize("address", ["nonsense", "udp://127.0.0.1:1", "tcp://127.0.0.1:none"])
def test_an_address_that_is_none_is_named(needs: Callable[[str], None], address: str) -> None:
    """As one that does not answer."""
    needs("dask")
    with pytest.raises(TrainingError, match=f"no scheduler answers at {address}"):
        parallel("joblib-dask", address).__enter__()


@pytest.mark.parametrize(
    ("backend", "variable"), [("joblib-dask", "MLAUTO_DASK_ADDRESS"), ("joblib-ray", "RAY_ADDRESS")]
)
def test_a_missing_address_or_package_says_what_to_do(backend: str, variable: str) -> None:
    """Whichever is missing first."""
    package = {"joblib-dask": "distributed", "joblib-ray": "ray"}[backend]
    said = (
        f"set {variable}"
        if importlib.util.find_spec(package)
        else rf"{package} is not installed .* pip install 'mlauto"
    )

    with pytest.raises(TrainingError, match=f"training.backend is {backend}.*{said}"):
        parallel(backend, "").__enter__()


@pytest.mark.needs("ray")
def test_work_goes_to_a_ray_cluster(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To workers of a cluster that another process started, with the team's code by value."""
    import only_here

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    code = "import ray; c = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False); "
    code += "print('at', ray.get_runtime_context().gcs_address, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address = next(line.split()[1] for line in cluster.stdout if line.startswith("at "))
        with parallel("joblib-ray", address, team):
            pids = Parallel()(delayed(only_here.where)() for _ in range(4))
            found = GridSearchCV(only_here.Shifted(), {"alpha": [0.1, 10.0]}, cv=2).fit(ROWS, LABELS)
        cluster.stdin.write("\n")

    assert os.getpid() not in pids
    assert found.best_params_["alpha"] == 0.1


@pytest.mark.needs("ray")
def test_a_ray_cluster_that_does_not_answer_is_named(nobody: str) -> None:
    """At once, not after a minute."""
    with pytest.raises(TrainingError, match=r"training\.backend is joblib-ray, and no cluster answers .*'ray start"):
        parallel("joblib-ray", nobody.replace("tcp", "ray")).__enter__()
