"""Fits of a backtest that a cluster makes."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from mlauto.errors import MlautoError, TrainingError
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.handed import HandedFits, handed
from mlauto.training.backtest.models import Model
from mlauto.training.weighting import History, Member

HISTORIES = (History(), History(half_life=2.0), History(window=2))
MODELS = [Model(batches=number, members=(Member(history=history),)) for number in (3, 4, 5) for history in HISTORIES]


class Picky(Ridge):
    """Tells in which process it is not fitted with many rows."""

    def fit(self, rows: Any, y: Any, sample_weight: Any = None) -> "Picky":
        if len(rows) > 150:
            raise RuntimeError(f"too many rows for process {os.getpid()}")
        super().fit(rows, y, sample_weight)
        return self


def fits(cache: Path, estimator: Any = None) -> Fits:
    """Six batches of 40 rows."""
    random = np.random.default_rng(0)
    x = random.normal(size=240)
    labels: NDArray[Any] = 3 * x + random.normal(0, 0.1, 240)
    return Fits(
        pd.DataFrame({"x": x}),
        labels,
        edges=range(0, 241, 40),
        metric="mae",
        estimator=estimator or Ridge(),
        cache=cache,
        inputs="these rows",
    )


def losses(made: Fits, model: Model) -> list[float]:
    return [float(one) for batch in made.fit(model).later for one in batch]


def test_a_cluster_loses_the_same_and_what_it_made_is_kept_here(dask_cluster: str, tmp_path: Path) -> None:
    """To the last digit; many threads ask at once, trials too, and the next run needs no cluster."""
    here, there = fits(tmp_path / "here"), fits(tmp_path / "there")
    candidate, champion = MODELS[-3], MODELS[0]

    with handed(there, "joblib-dask", dask_cluster, tmp_path) as made, ThreadPoolExecutor(9) as threads:
        found = list(threads.map(lambda model: losses(made, model), MODELS))
        trial = made.trial(candidate, champion)
        slots = made.slots.result()

    assert found == [losses(here, model) for model in MODELS]
    assert trial.summary == here.trial(candidate, champion).summary
    assert slots == 2
    assert len(list((tmp_path / "there").rglob("*.npz"))) == len(MODELS) + 1
    assert [losses(fits(tmp_path / "there", Picky()), MODELS[0])] == found[:1]


def test_a_fit_that_fails_there_is_a_training_error_here(dask_cluster: str, tmp_path: Path) -> None:
    """In the team's words, from a worker; the next question is answered."""
    with handed(fits(tmp_path, Picky()), "joblib-dask", dask_cluster, tmp_path) as made:
        with pytest.raises(TrainingError, match="RuntimeError: too many rows for process") as caught:
            made.fit(MODELS[-3])
        assert len(made.fit(MODELS[0]).later) == 3

    assert str(os.getpid()) not in str(caught.value)


def test_an_engine_that_cannot_be_had_is_said_at_once(tmp_path: Path) -> None:
    """Before anything is asked."""
    with pytest.raises(TrainingError, match=r"training\.backend is joblib-dask"):
        handed(fits(tmp_path), "joblib-dask", "", tmp_path).__enter__()


def test_questions_after_the_end_are_not_left_waiting(tmp_path: Path) -> None:
    """A thread that asks once the engine was left, or has failed, is told so; nothing is taken for a failed fit."""
    made = HandedFits(fits(tmp_path))
    made.serving.set_result(None)
    broken = HandedFits(fits(tmp_path))
    broken.serving.set_exception(ConnectionError("the scheduler went away"))

    with pytest.raises(MlautoError, match="the backtest was stopped: run it again"):
        made.fit(MODELS[0])
    with pytest.raises(MlautoError, match=r"the engine failed .*the scheduler went away") as caught:
        broken.fit(MODELS[0])
    assert not isinstance(caught.value, TrainingError)


def test_without_a_cluster_it_serves_itself(tmp_path: Path) -> None:
    """The local backend answers one question after another."""
    with handed(fits(tmp_path / "one"), "local", "", tmp_path) as made:
        found = [losses(made, model) for model in MODELS[:2]]

    assert found == [losses(fits(tmp_path / "two"), model) for model in MODELS[:2]]
