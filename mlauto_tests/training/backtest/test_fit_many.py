"""The child that makes many fits: its files, its limit, and that no fit depends on the ones before."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlauto.runtime.process import Finished, run_command, scrubbed_environment
from mlauto.training.backtest.fit_many import FitsRequest, Unit, main
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Model
from mlauto.training.weighting import History, Member

CHECKOUT = Path(__file__).resolve().parents[2]
EDGES = (0, 60, 130, 200)
UNITS = tuple(Unit(model=Model(batches=count, members=(Member(history=History(half_life=2.0)),))) for count in (1, 2))
MODEL = """
import os
import time

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Own(RegressorMixin, BaseEstimator):
    def __init__(self, long=10**9, wrong=10**9):
        self.long = long
        self.wrong = wrong

    def fit(self, frame, target, sample_weight=None):
        if len(frame) > self.wrong:
            raise RuntimeError("too many rows for me")
        while len(frame) > self.long:
            time.sleep(1)
        self.said_ = float(np.average(target, weights=sample_weight)) + np.random.random()
        return self

    def predict(self, frame):
        return np.full(len(frame), self.said_)


def own():
    print("one thread:", os.environ["OMP_NUM_THREADS"], "in", os.path.exists("settings.txt"))
    return Own()


def slow():
    return Own(long=100)


def wrong():
    return Own(wrong=100)
"""


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., FitsRequest]:
    """`request_of(function, **changes)`: a tree with that function, and two fits asked of it."""
    (tmp_path / "tree" / "src").mkdir(parents=True)
    (tmp_path / "tree" / "settings.txt").touch()
    (tmp_path / "tree" / "src" / "many_fits_team.py").write_text(MODEL)
    frame = pd.DataFrame({"when": range(200), "x": np.arange(200.0), "leak": 0, "y": np.arange(200.0)})
    frame.to_parquet(tmp_path / "frame.parquet")

    def made(function: str = "own", **changes: Any) -> FitsRequest:
        output = tmp_path / f"out-{function}-{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        request = FitsRequest(
            tree=str(tmp_path / "tree"),
            estimator=f"many_fits_team:{function}",
            frame=str(tmp_path / "frame.parquet"),
            edges=EDGES,
            units=UNITS,
            inputs="given",
            target="y",
            task="regression",
            metric="mae",
            output=str(output),
            limit=30.0,
            timestamp="when",
            exclude=("leak",),
        )
        return replace(request, **changes)

    return made


def run(request: FitsRequest) -> Finished:
    path = Path(request.output, "request.json")
    path.write_bytes(msgspec.json.encode(request))
    env = scrubbed_environment(HOME=request.output, PYTHONPATH=str(CHECKOUT))
    command = [sys.executable, "-m", "mlauto.training.backtest.fit_many", str(path)]
    return run_command(command, cwd=Path(request.output), env=env, timeout=60)


def losses(request: FitsRequest, unit: Unit) -> Any:
    """What is kept of a fit, read as the parent reads it."""
    frame = pd.DataFrame({"x": np.arange(200.0)})
    cache = Path(request.output) / "losses"
    fits = Fits(frame, None, edges=EDGES, metric="mae", estimator=None, cache=cache, inputs="given")  # type: ignore[arg-type]
    with np.load(fits.path_of(unit.model, unit.holdout)) as kept:
        return kept["losses"].tolist()


def test_each_fit_is_the_same_whichever_came_before(request_of: Callable[..., FitsRequest]) -> None:
    """Though the estimator draws from the global generator; it runs in its tree, and says what was done."""
    both, alone = request_of(), request_of(units=UNITS[1:])
    first, second = run(both), run(alone)

    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert first.output.splitlines() == ["one thread: 1 in True", "1 of 2 fits", "2 of 2 fits"]
    assert losses(both, UNITS[1]) == losses(alone, UNITS[1])
    assert len(losses(both, UNITS[0])) == 140
    assert Path(both.output, "late.txt").read_text() == ""


def test_a_fit_without_the_newest_rows(request_of: Callable[..., FitsRequest]) -> None:
    """Its losses are those of these rows only."""
    unit = replace(UNITS[1], holdout=25)
    request = request_of(units=(unit,))

    assert run(request).exit_code == 0
    assert len(losses(request, unit)) == 25


def test_one_that_fails_does_not_end_the_others(request_of: Callable[..., FitsRequest]) -> None:
    """It is named with its reason, by the name under which it would have been kept."""
    request = request_of("wrong", units=UNITS[::-1])

    assert run(request).exit_code == 0
    [said] = json.loads(Path(request.output, "failed.json").read_text()).values()
    assert said == "fitting Own on 130 rows failed: RuntimeError: too many rows for me"
    assert len(losses(request, UNITS[0])) == 140


def test_one_that_never_ends_is_ended(request_of: Callable[..., FitsRequest]) -> None:
    """At its own limit, which is said with the line where it was; what was made before is there."""
    request = request_of("slow", limit=10.0)
    ended = run(request)

    assert ended.exit_code == 1
    assert "many_fits_team.py" in Path(request.output, "late.txt").read_text()
    assert len(losses(request, UNITS[0])) == 140
    assert ended.seconds < 50


def test_without_an_estimator_there_is_one_sentence(request_of: Callable[..., FitsRequest]) -> None:
    """In a file, and as the last line."""
    request = request_of("nowhere")
    ended = run(request)

    assert ended.exit_code == 1
    said = json.loads(Path(request.output, "error.json").read_text())["error"]
    assert said == "many_fits_team has no function 'nowhere': correct code.estimator"
    assert ended.output.splitlines()[-1] == f"error: {said}"


def test_it_wants_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and how to call it."""
    assert main([]) == 2
    assert "REQUEST.json" in capsys.readouterr().out


IMPORTED = """
import sys

import mlauto.training.fit

before = {name.split(".")[0] for name in sys.modules}
import mlauto.training.backtest.fit_many

print("fits:", *({name.split(".")[0] for name in sys.modules} - before - sys.stdlib_module_names))
"""


def test_it_needs_no_more_than_a_training_does() -> None:
    """The workshop's image knows no pydantic: whatever a training does not import may not be there."""
    env = scrubbed_environment(PYTHONPATH=str(CHECKOUT))
    done = run_command([sys.executable, "-c", IMPORTED], cwd=CHECKOUT, env=env, timeout=60)

    assert (done.exit_code, done.output) == (0, "fits:\n")
