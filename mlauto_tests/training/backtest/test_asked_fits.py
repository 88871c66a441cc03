"""Fits that others make: what is missing is noted, and guessed only where that asks for more."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor

from mlauto.errors import TrainingError
from mlauto.training.backtest.asked_fits import AskedFits, MissingFitError
from mlauto.training.backtest.fit_many import Unit
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Model
from mlauto.training.correcting import Tried
from mlauto.training.weighting import ALL, History, Member

EDGES = (0, 100, 220, 300)
FIRST, SECOND = (Model(batches=count, members=ALL) for count in (1, 2))


def given(cache: Path) -> dict[str, Any]:
    frame = pd.DataFrame({"x": np.arange(300.0)})
    labels = np.repeat(np.arange(3.0), np.diff(EDGES))
    return {"features": frame, "labels": labels, "edges": EDGES, "metric": "mae", "cache": cache, "inputs": "one"}


@pytest.fixture
def asked(tmp_path: Path) -> AskedFits:
    return AskedFits(**given(tmp_path))


@pytest.fixture
def real(tmp_path: Path) -> Fits:
    """Makes what the other asks for, under the same names."""
    return Fits(**given(tmp_path), estimator=DummyRegressor())


def test_what_is_not_there_is_noted_once(asked: AskedFits) -> None:
    """By the model, and the rows that it is to be fitted without."""
    for _ in range(2):
        with pytest.raises(MissingFitError, match="the fit on the first 1 batches is not made yet"):
            asked.fit(FIRST)

    assert list(asked.missing.values()) == [Unit(model=FIRST)]
    assert asked.rows_of(Unit(model=FIRST)) == 200
    assert asked.rows_of(Unit(model=FIRST, holdout=30)) == 30
    assert str(Unit(model=FIRST, holdout=30)) == "the fit on the first 1 batches without their newest 30 rows"


def test_what_was_made_is_what_a_fit_of_ones_own_is(asked: AskedFits, real: Fits) -> None:
    """The same numbers, and nothing is missing."""
    made, trial = real.fit(FIRST), real.trial(SECOND, FIRST)

    assert [part.tolist() for part in asked.fit(FIRST).later] == [part.tolist() for part in made.later]
    assert asked.trial(SECOND, FIRST) == trial
    assert asked.missing == {}


def test_a_missing_trial_is_guessed_from_the_next_batch(asked: AskedFits, real: Fits) -> None:
    """As one that passed, and noted: what follows from it most likely is asked for in the same walk."""
    real.fit(FIRST)
    real.fit(SECOND)

    guess = asked.trial(SECOND, FIRST)

    assert guess.passed
    assert guess.reference.value == pytest.approx(2 - 120 / 220)
    assert list(asked.missing.values()) == [Unit(model=SECOND, holdout=36)]


def test_blind_it_takes_what_is_missing_for_faultless(asked: AskedFits) -> None:
    """In as many parts as batches are left, so that a walk that decides nothing by them goes to its end."""
    asked.blind = True

    assert [part.tolist() for part in asked.fit(FIRST).later] == [[0.0] * 120, [0.0] * 80]
    assert asked.fit(Model(batches=3, members=ALL)).later == ()
    assert len(asked.missing) == 2


def test_a_fit_that_failed_says_why_and_is_not_asked_for_again(asked: AskedFits) -> None:
    """As if it had been tried here: the champion stays."""
    asked.failed[asked.path_of(FIRST).stem] = "the solver did not converge"

    with pytest.raises(TrainingError, match="the solver did not converge"):
        asked.fit(FIRST)
    assert asked.missing == {}


def test_another_correction_needs_no_other_fits(asked: AskedFits, real: Fits) -> None:
    """One for each history, whatever the mean is moved by."""
    members = (Member(history=History(window=1), share=0.5), Member(history=History(), share=0.5))
    plain, moved = (Model(batches=2, members=members, tried=(Tried(1.0, 0.5, 1.0),) * count) for count in (0, 20))
    for model in (plain, moved):
        with pytest.raises(MissingFitError):
            asked.fit(model)
    assert len(asked.missing) == 2

    for unit in asked.missing.values():
        real.one(unit.model, unit.holdout)

    assert [asked.fit(model).later[0].mean() for model in (plain, moved)] == pytest.approx([1.2273, 0.2273], abs=1e-4)
