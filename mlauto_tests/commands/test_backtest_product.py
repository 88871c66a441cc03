"""A backtest on a product's own batches: the file's answer, its own code, and code that means harm."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mlauto.cli import main
from mlauto.commands.backtest import run_backtest
from mlauto.commands.backtest_product import policy_name, run_product_backtest
from mlauto.commands.backtest_report import Report
from mlauto.errors import ProductError, TrainingError
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop, Limits
from mlauto.runtime.engine import HOME_LABEL
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.process import Finished
from mlauto.runtime.workshop import RunPython, environment_digest
from mlauto_tests.commands.conftest import TIDE, Harbour

QUIET = Console(quiet=True)
DEGRADED = "{on_degraded: true}"


def played(harbour: Harbour, **given: Any) -> Report:
    cache = harbour.settings.home / "backtest"
    platform = given.pop("platform", harbour.platform)
    return run_product_backtest(platform, harbour.product, **{"cache": cache, "initial": 3, "console": QUIET, **given})


@pytest.mark.parametrize("delay", [0, 2])
def test_a_product_gives_what_its_file_gives(harbour: Harbour, tmp_path: Path, delay: int) -> None:
    """Policy by policy and batch by batch, to the last digit, though the fits were made in other processes."""
    (tmp_path / "tide_in_a_file.py").write_text(TIDE)
    stored = played(harbour, delay=delay)
    filed = run_backtest(
        harbour.rows,
        replace(harbour.plan, delay=delay),
        cache=tmp_path / "kept",
        model="tide_in_a_file:build",
        root=tmp_path,
        console=QUIET,
    )

    assert {row.name for row in stored.policies} == {"never", "economy", "quality", "every_batch"}
    for mine, theirs in ((stored.policies, filed.policies), (stored.histories, filed.histories)):
        others = {row.name: row for row in theirs}
        for row in mine:
            assert row.outcome.steps == others[row.name].outcome.steps
            assert row.outcome.loss == others[row.name].outcome.loss
            assert row.gap == others[row.name].gap
    losses = {row.name: row.outcome.loss for row in stored.policies}
    assert losses["never"] > losses["economy"] > 0
    assert stored.best == filed.best


def test_again_everything_is_taken_from_the_first(harbour: Harbour, tmp_path: Path) -> None:
    """The same bytes, and no child: the workshop of the second run has no Python at all."""
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    first = played(harbour, json_path=files[0], chart=tmp_path / "chart.svg")
    (harbour.settings.home / "warm.sock").unlink()
    calm = replace(harbour.platform, workshop=Closed())
    played(harbour, json_path=files[1], policies=["economy"], platform=calm)

    names = [[row["name"] for row in json.loads(path.read_text())["policies"]] for path in files]
    assert names == [["never", "economy", "quality", "every_batch"], ["economy", "never", "every_batch"]]
    one, two = ({row["name"]: row for row in json.loads(path.read_text())["policies"]} for path in files)
    assert all(two[name] == one[name] for name in two)
    assert first.own == "economy"
    assert "tides, tide.model:build at" in (tmp_path / "chart.svg").read_text()
    assert not list((harbour.settings.home / "tmp").iterdir())


def test_the_products_own_policy_is_played_and_marked(harbour: Harbour) -> None:
    """Under its knobs as the YAML has them, beside the named ones, whether or not it was asked for."""
    harbour.change(training={"retrain": {"on_degraded": False, "every_batches": 4}})
    console = Console(width=140)
    with console.capture() as capture:
        found = played(harbour, policies=["never"], console=console)

    rows = {row.name: row for row in found.policies}
    own = "{every_batches: 4, on_degraded: false}"
    assert list(rows) == ["never", "every_batch", own]
    assert rows[own].outcome.trainings == 1
    assert f"{own} (the product's)" in capture.get()
    assert "never (the product's)" not in capture.get()
    assert policy_name(harbour.product) == own


def test_the_metric_is_the_products(harbour: Harbour) -> None:
    """Log loss by the estimator's probabilities; its verdicts are those of log loss too."""
    harbour.change(monitoring={"metric": "log_loss"})
    console = Console(width=140)
    with console.capture() as capture:
        found = played(harbour, policies=[DEGRADED], console=console)

    rows = {row.name: row for row in found.policies}
    assert found.metric == "log_loss"
    assert rows["never"].outcome.loss > rows["every_batch"].outcome.loss > 0.1
    assert rows[DEGRADED].outcome.trainings > 0
    assert any("log_loss" in step.reason for step in rows[DEGRADED].outcome.steps)
    assert "log_loss" in capture.get()


def test_root_mean_squares_are_shown_as_roots(harbour: Harbour) -> None:
    """Half of the labels are wrong by one: the root of a half, not a half."""
    harbour.change(data={"task": "regression"}, monitoring={"metric": "rmse"})
    harbour.commit("from sklearn.dummy import DummyRegressor\n\n\ndef build():\n    return DummyRegressor()\n")

    found = played(harbour, policies=["economy"])

    never = next(row for row in found.policies if row.name == "never").outcome
    squares = [step.loss**2 * step.rows for step in never.steps]
    assert never.loss == pytest.approx((sum(squares) / sum(step.rows for step in never.steps)) ** 0.5)
    assert 0.3 < never.loss < 0.6
    assert all(row.outcome.loss >= found.hindsight.outcome.loss for row in found.histories)


@pytest.mark.parametrize(
    ("task", "metric", "instead"), [("regression", "r2", "rmse or mae"), ("classification", "auc", "log_loss")]
)
def test_what_losses_cannot_judge_is_refused_by_name(harbour: Harbour, task: str, metric: str, instead: str) -> None:
    """Before anything runs, with what to set instead."""
    harbour.change(data={"task": task}, monitoring={"metric": metric})

    with pytest.raises(ProductError, match=rf"monitoring\.metric {metric}, .*: set {instead} to try policies"):
        played(harbour)


HOSTILE = {
    "import time; time.sleep(600)": r"took longer than 2 s: raise training\.timeout.*\n(.*\n)*.*model.py",
    "import os; os._exit(0)": r"the fit on the first \d+ batches ended its process with exit code 0",
    "import os; os.makedirs(H + '/losses'); os.symlink('/etc/passwd', H + '/losses/x')": (
        "the training wrote losses/x, which is no plain file"
    ),
    "print('x' * 5_000_000, flush=True); raise ValueError('no')": "calling tide.model:build\\(\\) failed: ValueError",
    "import os; os.kill(os.getpid(), 9)": "ended its process with exit code -9",
    "return 42": "returned int: it must return a scikit-learn estimator",
}


@pytest.mark.parametrize("line", HOSTILE)
def test_code_that_means_harm_is_a_clear_error(harbour: Harbour, line: str) -> None:
    """One sentence and its last lines; nothing of it was kept, nothing is left behind."""
    harbour.commit(f"import os\n\nH = os.environ.get('HOME', '')\n\n\ndef build():\n    {line}\n")
    harbour.change(training={"timeout": "2s"})

    with pytest.raises(TrainingError, match=HOSTILE[line]) as caught:
        played(harbour)

    assert len(str(caught.value)) < 100_000
    assert not list((harbour.settings.home / "backtest").rglob("*.npz"))
    assert not list((harbour.settings.home / "tmp").iterdir())


def test_the_code_runs_beside_us_without_our_environment(harbour: Harbour, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process, which sees no secret of this one, at the tree of the commit."""
    monkeypatch.setenv("MLAUTO_API_KEY", "secret-of-ours")
    report = harbour.settings.root / "seen.txt"
    harbour.commit(f"import os\n{TIDE.replace('def build():', 'def build():' + SPY.format(report=str(report)))}")

    played(harbour, policies=["never"])

    seen = report.read_text().splitlines()
    assert len(seen) >= 2
    assert {line.split()[0] for line in seen} == {"None"}
    assert str(os.getpid()) not in {line.split()[1] for line in seen}
    assert {Path(line.split()[2]).parent.name for line in seen} == {"trees"}


SPY = """
    with open({report!r}, "a") as seen:
        print(os.environ.get("MLAUTO_API_KEY"), os.getpid(), os.getcwd(), file=seen)
"""


def test_from_the_command_line(
    harbour: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, JSON and picture, fits in the state directory; too few batches are one sentence."""
    for name, value in harbour.settings.environment().items():
        monkeypatch.setenv(name, value)
    files = ["--json", str(tmp_path / "found.json"), "--chart", str(tmp_path / "found.svg")]

    code = main(["backtest", "tides", "--policy", "quality", "--initial", "4", "--delay", "1", *files])
    out = capsys.readouterr().out
    few = main(["backtest", "tides", "--initial", "10"])

    assert code == 0
    assert "tides, tide.model:build at" in out
    assert "batches 5 to 10, labels 1 batches late" in out
    assert all(name in out for name in ("quality", "economy (the product's)", "never", "every_batch", "hindsight: "))
    assert json.loads((tmp_path / "found.json").read_text())["own"] == "economy"
    assert (tmp_path / "found.svg").exists()
    assert any((harbour.settings.home / "backtest").rglob("*.npz"))
    assert few == 1
    assert "use --initial 9 or fewer" in capsys.readouterr().err


class Closed:
    """A workshop in which nothing can run."""

    def environment(self) -> str:
        return environment_digest()

    def python(self, tree: Path) -> RunPython:
        def refuse(*_: Any, **__: Any) -> Finished:
            raise AssertionError(f"something of {tree} was to run")

        return refuse


@pytest.mark.needs("docker")
def test_in_a_container_it_is_the_same(harbour: Harbour, flavours: Flavours) -> None:
    """The same figures as beside us; no container is left behind."""
    engine = DockerEngine()
    home = harbour.settings.home
    boxed = DockerWorkshop(engine, flavours, home, Limits(memory_mb=1024, space_mb=256))

    beside = played(harbour, policies=["economy"])
    inside = played(
        harbour, policies=["economy"], platform=replace(harbour.platform, workshop=boxed), cache=home / "boxed"
    )

    assert [row.outcome.steps for row in inside.policies] == [row.outcome.steps for row in beside.policies]
    assert any((home / "boxed").rglob("*.npz"))
    assert engine.containers({HOME_LABEL: str(home)}) == []
    engine.close()
