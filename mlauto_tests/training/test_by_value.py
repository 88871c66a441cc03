"""The team's code on its way to workers that cannot import it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from sklearn.linear_model import Ridge
from sklearn.preprocessing import FunctionTransformer

from mlauto.training.backend import parallel
from mlauto.training.by_value import by_value

TEAM = """
from sklearn.linear_model import Ridge

SHIFT = {shift}


def shifted(rows):
    return rows + SHIFT


class Shifted(Ridge):
    def predict(self, rows):
        return super().predict(shifted(rows))
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the team's that only this process can import."""
    (tmp_path / "moving.py").write_text(TEAM.format(shift=1.0))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("moving", None)


def test_the_commits_own_code_runs_whatever_a_worker_has(dask_cluster: str, team: Path) -> None:
    """A second commit's function of the same name is not mistaken for the first one's, which a worker has seen."""
    found = []
    for shift in (1.0, 5.0):
        sys.modules.pop("moving", None)
        (team / "moving.py").write_text(
            TEAM.format(shift=shift) + f"# {shift}: another size, or bytecode is kept\n" * int(shift)
        )
        import moving  # type: ignore[import-not-found] # written by this test

        with parallel("joblib-dask", dask_cluster, team):
            found.append(Parallel()(delayed(moving.shifted)(value) for value in (1.0, 2.0)))

    assert found == [[2.0, 3.0], [6.0, 7.0]]


def test_an_estimator_comes_back_as_it_went(dask_cluster: str, team: Path) -> None:
    """Its class, and the functions that it holds, are this process's own again."""
    import moving

    rows = np.arange(12.0).reshape(-1, 1)
    with parallel("joblib-dask", dask_cluster, team):
        fitted, step = Parallel()(
            [delayed(moving.Shifted().fit)(rows, rows[:, 0]), delayed(FunctionTransformer(moving.shifted).fit)(rows)]
        )

    assert type(fitted) is moving.Shifted
    assert isinstance(fitted, Ridge)
    assert step.transform(rows).tolist() == (rows + 1.0).tolist()


def test_only_what_lies_below_the_root_is_sent_and_only_for_a_time(team: Path) -> None:
    """Libraries are named, as always; afterwards nothing is left registered."""
    import cloudpickle
    import moving

    before = set(cloudpickle.list_registry_pickle_by_value())
    with by_value(cloudpickle, team):
        within = set(cloudpickle.list_registry_pickle_by_value()) - before
        assert b"SHIFT" in cloudpickle.dumps(moving.shifted)
        assert len(cloudpickle.dumps(os.path.join)) < 100
    assert "moving" in within
    assert all(name == "moving" or name.startswith("mlauto.training.") for name in within)
    assert set(cloudpickle.list_registry_pickle_by_value()) == before
