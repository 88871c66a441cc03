"""The short form of the benchmark of retraining policies: what holds there must go on holding."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.needs("streams")]
HOLD = (
    "economy: trainings of those of every batch, largest, %",
    "the same: trainings, largest, %",
    "no drift: trainings caused by an alarm",
    "ms for a decision after 1,000 batches",
)


def test_policies_keep_what_they_promise(streams: Path, tmp_path: Path) -> None:
    """Budget, no alarm without drift, quick decisions; averaging beats the usual half-life, and never retraining."""
    report = tmp_path / "report.json"
    command = [sys.executable, CHECKOUT / "benchmarks" / "training_policies.py", "--quick"]
    command += ["--streams", streams, "--json", report]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)

    found = json.loads(report.read_text())
    figures = found["figures"]
    assert {name: figures[name]["measured"] for name in HOLD if not figures[name]["holds"]} == {}
    assert done.returncode == (0 if all(figure["holds"] for figure in figures.values()) else 1)
    bike = found["losses"]["bike_hourly.csv, linear, 0"]
    assert bike["quality"] < bike["every_batch"] < bike["never"]
    assert bike["quality"] < bike["economy"] < bike["never"]
