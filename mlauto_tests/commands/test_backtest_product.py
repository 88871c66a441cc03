"""A backtest on a product's own batches: the file's answer, its own code, and code that means harm."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mlauto.commands.backtest import GRID, run_backtest
from mlauto.commands.backtest_product import policy_name, run_product_backtest
from mlauto.commands.backtest_report import Report
from mlauto.errors import ProductError, TrainingError
from mlauto_tests.commands.conftest import TIDE, Harbour

QUIET = Console(quiet=True)


def played(harbour: Harbour, **given: Any) -> Report:
    cache = harbour.settings.home / "backtest"
    return run_product_backtest(
        harbour.platform, harbour.product, **{"cache": cache, "initial": 3, "console": QUIET, **given}
    )


@pytest.mark.parametrize("delay", [0, 2])
def test_a_product_gives_what_its_file_gives(harbour: Harbour, tmp_path: Path, delay: int) -> None:
    """Policy by policy and batch by batch, to the last digit, though the fits were made in other processes."""
    (tmp_path / "tide_in_a_file.py").write_text(TIDE)
    from dataclasses import replace

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
