"""The words of `mlauto backtest`."""

import json
from pathlib import Path
from xml.etree import ElementTree

import click
import numpy as np
import pandas as pd
import pytest

from mlauto.backtest_cli import history_options
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
    [
        ["--delay", "-1"],
        ["--task", "clustering"],
        ["--batches", "1"],
        ["--data", "no.csv"],
        ["--backend", "spark"],
        ["tides", "x"],
    ],
)
def test_wrong_usage(data: Path, more: list[str]) -> None:
    """Exit code 2, from click."""
    assert main(words(data, *more)) == 2


FROM_THE_YAML = {
    "--data": __file__,
    "--target": "y",
    "--task": "regression",
    "--timestamp": "when",
    "--exclude": "id",
    "--batches": "50",
    "--model": "hgb",
}


@pytest.mark.parametrize("option", FROM_THE_YAML)
def test_a_product_and_a_file_exclude_one_another(data: Path, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong usage, even where the value is the default: it would have no effect."""
    assert main(["backtest", "tides", option, FROM_THE_YAML[option]]) == 2
    assert f"PRODUCT and {option} exclude one another" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--target", "y"], ["--data", __file__, "--target", "y"]])
def test_one_of_both_is_needed(data: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And what a file needs beside itself."""
    assert main(["backtest", *more]) == 2
    assert "name a PRODUCT, or give --data, --target and --task" in capsys.readouterr().err


def test_a_product_that_is_none_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, with those that there are."""
    code = main(["backtest", "tidse"])
    out, err = capsys.readouterr()

    assert (code, out) == (1, "")
    assert "no product 'tidse'" in err
    assert "known: none yet" in err


def test_replay_and_backtest_take_the_same_words() -> None:
    """The options that say what a file is, required or not, in one order."""

    @click.command()
    @history_options(required=True)
    def strict(**_: object) -> None: ...

    @click.command()
    @history_options(required=False)
    def loose(**_: object) -> None: ...

    assert [one.name for one in strict.params] == [one.name for one in loose.params]
    assert [one.name for one in strict.params if one.required] == ["target", "task"]
    assert not any(one.required for one in loose.params)
