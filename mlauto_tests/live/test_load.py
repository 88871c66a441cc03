"""The short forms of the benchmarks of load: real processes, real clients, not one failed request."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.live, pytest.mark.slow]


def short_form(name: str, tmp_path: Path) -> dict[str, Any]:
    """What the benchmark found with --quick; all of its targets hold."""
    report = tmp_path / "report.json"
    command = [sys.executable, CHECKOUT / "benchmarks" / f"{name}.py", "--quick", "--json", report]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_rollouts_and_rollbacks_fail_no_request(tmp_path: Path) -> None:
    """Five rollouts and a rollback at a thousand requests a second, over kept and new connections."""
    found = short_form("rollouts", tmp_path)

    assert found["problems"] == {}
    assert found["figures"]["requests"]["measured"] >= 8000


def test_the_watch_errs_hardly_ever_and_finds_a_loss(tmp_path: Path) -> None:
    """150 promotions of each kind, looked at after every 20 labels: not one false rollback in 100, each loss found."""
    found = short_form("watch", tmp_path)["figures"]

    assert found["found within 4,000 labels, 5 pp of 20 %, %"]["measured"] >= 90
    assert found["false rollbacks of all kinds, %"]["measured"] <= 1
    assert found["three standard errors, mae, AR 0.9, %"]["measured"] > 10


def test_hostile_requests_hurt_nobody(tmp_path: Path) -> None:
    """A thousand malformed, huge, deep, slow and half-open ones: no 5xx, no traceback, and good ones are answered."""
    found = short_form("hostile", tmp_path)

    assert found["good requests failed"]["measured"] == 0
    assert found["memory grown, MB"]["measured"] <= 20


def test_kills_of_the_active_model_fail_no_request(tmp_path: Path) -> None:
    """Three times kill -9 with the predecessor warm behind it; nothing acknowledged is missing from the log."""
    found = short_form("kills", tmp_path)

    assert found["failed requests"]["measured"] == 0
    assert found["acknowledged predictions missing in the log"]["measured"] == 0


def test_restarts_of_the_gateway_fail_no_request(tmp_path: Path) -> None:
    """Five restarts with a switch after each: nobody's connection is closed, and nothing is missing from the log."""
    found = short_form("restarts", tmp_path)

    assert found["problems"] == {}
    assert found["figures"]["kept connections that were closed"]["measured"] == 0
