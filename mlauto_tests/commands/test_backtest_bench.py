"""One process's part of a backtest: its way to fits, and what their digests depend on."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlauto.commands.backtest_bench import Bench, Job
from mlauto.commands.history import Plan
from mlauto.errors import TrainingError
from mlauto.product_training import POLICIES, Policy
from mlauto.training.backtest.models import Model
from mlauto.training.weighting import ALL, History

TEAM = """
from sklearn.linear_model import LogisticRegression


def build():
    return LogisticRegression(C={strength})
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Ten batches of forty rows; what decides them moves after the fifth."""
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    limit = np.where(np.arange(400) < 200, 0.0, 1.2)
    frame = pd.DataFrame({"x": x, "noise": random.normal(size=400), "y": (x > limit).astype(int)})
    frame.to_csv(tmp_path / "turn.csv", index=False)
    plan = Plan(target="y", task="classification", exclude=("noise",), batches=10, initial=2)
    return Job(data=tmp_path / "turn.csv", plan=plan, model="linear", root=tmp_path, cache=tmp_path / "kept")


def test_policies_and_histories_go_through_the_same_fits(job: Job) -> None:
    """Training after every batch is the same for the live loop and for a fixed history, unless one is refused."""
    bench = Bench(job)
    told: list[int] = []

    policy = bench.play(POLICIES["every_batch"], lambda: told.append(1))
    fixed = bench.fixed(History(half_life=bench.product.training.half_life))

    assert len(told) == 8
    assert policy.blocked == 0
    assert [step.loss for step in policy.steps] == [step.loss for step in fixed.steps]
    assert policy.seconds > fixed.seconds  # it has fitted without the holdouts too


def test_a_drift_is_answered(job: Job) -> None:
    """The one that never trains loses much of the second half; the economical one less."""
    bench = Bench(job)

    never, economy = (bench.play(POLICIES[name]) for name in ("never", "economy"))

    assert never.loss > 0.2
    assert economy.loss < never.loss - 0.04
    assert 1 <= economy.trainings <= 5


def test_what_is_excluded_is_no_feature(job: Job) -> None:
    """Neither are target and time."""
    assert list(Bench(job).fits.features.columns) == ["x"]


def test_ones_own_model_is_kept_by_its_code(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another constant in the team's file, or another file, makes other fits; the same ones are found again."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    digests = []
    for name, strength in (("first_team", 1.0), ("second_team", 2.0)):
        (job.root / f"{name}.py").write_text(TEAM.format(strength=strength))
        digests.append(Bench(replace(job, model=f"{name}:build")).fits.inputs)
    again = Bench(replace(job, model="second_team:build"))

    assert digests[0] != digests[1]
    assert again.fits.inputs == digests[1]
    assert again.fits.fit(Model(batches=2, members=ALL)).later[0].mean() < 0.2


def test_other_data_makes_other_fits(job: Job) -> None:
    """So does another cut; another delay does not, since a model is the same however late it comes."""
    first = Bench(job).fits.inputs
    late = Bench(replace(job, plan=replace(job.plan, delay=3))).fits.inputs
    cut = Bench(replace(job, plan=replace(job.plan, batches=20))).fits.inputs
    job.data.write_text(job.data.read_text() + "0.5,0.5,1\n")

    assert first == late
    assert len({first, cut, Bench(job).fits.inputs}) == 3


@pytest.mark.parametrize(
    ("model", "said"),
    [("forest", "neither hgb nor linear"), ("nowhere_to_be_found:build", "importing nowhere_to_be_found")],
)
def test_a_model_that_is_none_is_named(job: Job, model: str, said: str) -> None:
    """Before anything is fitted."""
    with pytest.raises(TrainingError, match=said):
        Bench(replace(job, model=model))


def test_batches_of_one_row_are_no_trouble(job: Job, tmp_path: Path) -> None:
    """Quality is judged over twenty of them; every row is predicted."""
    lines = job.data.read_text().splitlines()[:61]
    (tmp_path / "short.csv").write_text("\n".join(lines))
    short = replace(job, data=tmp_path / "short.csv", plan=replace(job.plan, batches=60, initial=30))

    found = Bench(short).play(Policy(every_batches=3, average=True))

    assert [step.rows for step in found.steps] == [1] * 30
    assert found.trainings == 10
