"""A whole backtest: processes, cache, table, picture and JSON."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mlauto.commands.backtest import GRID, run_backtest
from mlauto.commands.history import Plan
from mlauto.errors import MlautoError, TrainingError

PLAN = Plan(target="y", task="regression", batches=8, initial=2)
DYING = """
import os


def build():
    if {parent} != os.getpid():
        os._exit(3)
    from sklearn.linear_model import Ridge
    return Ridge()
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A slope that turns round in the middle of 320 rows."""
    random = np.random.default_rng(0)
    x = random.normal(size=320)
    slope = np.where(np.arange(320) < 160, 3.0, -3.0)
    path = tmp_path / "slope.csv"
    pd.DataFrame({"x": x, "y": slope * x + random.normal(0, 0.1, 320)}).to_csv(path, index=False)
    return path


def test_a_second_run_takes_everything_from_the_first(data: Path, tmp_path: Path) -> None:
    """Same table, same JSON to the byte, no new fit; `never` and `every_batch` are there without being asked for."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    shown = []
    kept = []
    for path in files:
        console = Console(width=120)
        with console.capture() as capture:
            found = run_backtest(
                data,
                PLAN,
                cache=tmp_path / "kept",
                model="linear",
                policies=["economy"],
                json_path=path,
                console=console,
            )
        shown.append(capture.get().splitlines()[-6:])
        kept.append(sorted((tmp_path / "kept").rglob("*.npz")))
    rows = {row.name: row for row in found.policies}

    assert files[0].read_bytes() == files[1].read_bytes()
    assert shown[0] == shown[1]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 7 * len(GRID)  # models of 2 to 8 batches, and some without a holdout
    assert set(rows) == {"economy", "never", "every_batch"}
    assert rows["never"].outcome.loss > 1.3 * rows["every_batch"].outcome.loss
    assert all(row.gap >= 0 for row in found.histories)
    assert len(json.loads(files[0].read_text())["histories"]) == len(GRID)


def test_a_first_model_that_cannot_be_fitted_ends_it(data: Path, tmp_path: Path) -> None:
    """In the estimator's own words, from whichever process."""
    (tmp_path / "refusing.py").write_text(
        "from sklearn.linear_model import Ridge\n\n\ndef build():\n    return Ridge(alpha=-1.0)\n"
    )

    with pytest.raises(TrainingError, match="'alpha' parameter of Ridge"):
        run_backtest(
            data, PLAN, cache=tmp_path / "kept", model="refusing:build", root=tmp_path, console=Console(quiet=True)
        )


def test_a_process_that_dies_is_said(data: Path, tmp_path: Path) -> None:
    """What it had kept is there for the next run."""
    (tmp_path / "dying.py").write_text(DYING.format(parent=os.getpid()))

    with pytest.raises(MlautoError, match="a worker process died"):
        run_backtest(
            data, PLAN, cache=tmp_path / "kept", model="dying:build", root=tmp_path, console=Console(quiet=True)
        )
