"""The short form of the benchmark of training's cost: the curve is flat, and is drawn."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.live, pytest.mark.slow]


def test_training_costs_no_more_at_a_thousand_batches(tmp_path: Path) -> None:
    """Rows, CPU seconds and the time to decide at 1,000 batches are those at 100; all history costs more and more."""
    report, chart = tmp_path / "report.json", tmp_path / "chart.svg"
    command = [sys.executable, CHECKOUT / "benchmarks" / "training_cost.py", "--quick"]
    command += ["--json", report, "--chart", chart]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert all(figure["holds"] for figure in found["figures"].values())
    curve = found["curve"]
    assert curve["100"]["rows"] == curve["1000"]["rows"] > curve["10"]["rows"]
    assert min(curve["1000"]["all history"]) > max(curve["1000"]["boosted trees"])
    assert "nearest neighbours, resampled" in chart.read_text()
