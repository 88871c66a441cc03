"""A whole backtest: processes, cache, table, picture and JSON."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mlauto.commands.backtest import GRID, run_backtest
from mlauto.commands.history import Plan
from mlauto.errors import MlautoError, TrainingError

PLAN = Plan(target="y", task="regression", batches=8, initial=2)
CHECKOUT = Path(__file__).resolve().parents[2]
SLOW = """
import time

from sklearn.linear_model import Ridge


class Slow(Ridge):
    def fit(self, X, y, sample_weight=None):
        time.sleep(0.3)
        return super().fit(X, y, sample_weight)


def build():
    return Slow()
"""
OWN = """
import os
from pathlib import Path

from sklearn.linear_model import Ridge

SEEN = Path(__file__).with_name("pids")


class Own(Ridge):
    def fit(self, X, y, sample_weight=None):
        with SEEN.open("a") as stream:
            stream.write(f"{os.getpid()}\\n")
        return super().fit(X, y, sample_weight)


def build():
    return Own()
"""
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


def test_a_cluster_gives_the_same_table(data: Path, tmp_path: Path, dask_cluster: str) -> None:
    """Byte for byte but for the measured seconds, with a model that only this machine can import."""
    (tmp_path / "own_ridge.py").write_text(OWN)
    made = {}
    for name, engine in (("here", ("local", "")), ("there", ("joblib-dask", dask_cluster))):
        path = tmp_path / f"{name}.json"
        run_backtest(
            data,
            PLAN,
            cache=tmp_path / name,
            model="own_ridge:build",
            root=tmp_path,
            engine=engine,
            json_path=path,
            console=Console(quiet=True),
        )
        made[name] = re.sub(r'("seconds": )[0-9.e-]+', r"\1...", path.read_text())
    pids = {int(line) for line in (tmp_path / "pids").read_text().split()}

    assert made["here"] == made["there"]
    assert made["here"].count('"seconds": ...') > 4
    assert len(list((tmp_path / "there").rglob("*.npz"))) == len(list((tmp_path / "here").rglob("*.npz")))
    assert len(pids) >= 3  # two workers, and at least one process of the local run
    assert os.getpid() not in pids


def test_a_cluster_that_is_not_there_ends_it(data: Path, tmp_path: Path) -> None:
    """Before anything is fitted."""
    with pytest.raises(TrainingError, match=r"training\.backend is joblib-dask"):
        run_backtest(
            data, PLAN, cache=tmp_path / "kept", engine=("joblib-dask", ""), model="linear", console=Console(quiet=True)
        )

    assert not list(tmp_path.rglob("*.npz"))


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


def test_ctrl_c_ends_it_soon_and_keeps_what_is_done(data: Path, tmp_path: Path) -> None:
    """Exit code 130, one sentence, no traceback of a worker; the fits so far are there."""
    (tmp_path / "slow.py").write_text(SLOW)
    words = ["backtest", "--data", str(data), "--target", "y", "--task", "regression", "--model", "slow:build"]
    words += ["--batches", "40", "--cache", str(tmp_path / "kept")]
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; from mlauto.cli import main; sys.exit(main())", *words],
        cwd=tmp_path,
        env={**os.environ, "MLAUTO_ROOT": str(tmp_path), "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not any((tmp_path / "kept").rglob("*.npz")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert err.strip() == "mlauto: interrupted"
    assert any((tmp_path / "kept").rglob("*.npz"))
