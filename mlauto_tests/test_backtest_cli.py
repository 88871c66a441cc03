"""The words of `mlauto backtest`."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from mlauto.cli import main
from mlauto.settings import Settings


@pytest.fixture
def data(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small stream in which what decides moves, and settings of this test's own."""
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    limit = np.where(np.arange(400) < 200, 0.0, 1.2)
    times = pd.date_range("2025-01-01", periods=400, freq="h")
    frame = pd.DataFrame({"when": times, "x": x, "id": range(400), "y": (x > limit).astype(int)})
    path = tmp_path / "turn.csv"
    frame.to_csv(path, index=False)
    return path


def words(data: Path, *more: str) -> list[str]:
    given = ["backtest", "--data", str(data), "--target", "y", "--task", "classification", "--timestamp", "when"]
    return [*given, "--exclude", "id", "--batches", "10", "--initial", "2", "--model", "linear", *more]


def test_a_small_stream_end_to_end(
    data: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table, JSON and picture; fits are kept in the state directory."""
    knobs = "{on_degraded: true, every_batches: 4}"
    more = ["--policy", "economy", "--policy", knobs, "--delay", "1"]
    more += ["--json", str(tmp_path / "found.json"), "--chart", str(tmp_path / "found.svg")]

    code = main(words(data, *more))
    out = capsys.readouterr().out

    assert code == 0
    assert "turn.csv, linear: batches 3 to 10, labels 1 batches late" in out
    assert all(name in out for name in ("economy", knobs, "never", "every_batch", "hindsight: "))
    found = json.loads((tmp_path / "found.json").read_text())
    losses = {row["name"]: row["outcome"]["loss"] for row in found["policies"]}
    assert losses["economy"] < losses["never"] - 0.04
    assert min(row["gap"] for row in found["histories"]) == 0
    assert "economy" in " ".join(ElementTree.parse(tmp_path / "found.svg").getroot().itertext())
    assert any((settings.home / "backtest").rglob("*.npz"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--policy", "weekly"], "--policy 'weekly' is unknown"),
        (["--initial", "10"], "--initial 10 leaves nothing to predict"),
        (["--batches", "401"], "400 rows cannot be cut into 401 batches"),
        (["--target", "z"], "--target 'z' is no column"),
        (["--model", "forest"], "'forest' is neither hgb nor linear"),
        (["--backend", "joblib-dask"], "training.backend is joblib-dask"),
    ],
)
def test_what_cannot_be_tried_is_one_sentence(
    data: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and nothing on standard output."""
    code = main(words(data, *more))
    out, err = capsys.readouterr()

    assert (code, out) == (1, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "more",
    [["--delay", "-1"], ["--task", "clustering"], ["--batches", "1"], ["--data", "no.csv"], ["--backend", "spark"]],
)
def test_wrong_usage(data: Path, more: list[str]) -> None:
    """Exit code 2, from click."""
    assert main(words(data, *more)) == 2
