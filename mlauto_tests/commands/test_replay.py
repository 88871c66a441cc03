"""The replay's own arithmetic and definitions; the real loop is driven in live/test_replay.py."""

import math
from pathlib import Path

import pandas as pd
import pytest

from mlauto.commands import replay
from mlauto.commands.client import Outcome
from mlauto.commands.history import Plan
from mlauto.commands.loop import Loop
from mlauto.commands.products import find_product
from mlauto.commands.replay_report import BatchResult
from mlauto.errors import MlautoError
from mlauto.settings import Settings
from mlauto_tests.commands.conftest import FakeGateway


def _outcome(*predictions: object) -> Outcome:
    return Outcome(sent=0.0, rows=2, status=200, seconds=0.01, version="1", prediction_id="x", predictions=predictions)


def test_the_loss_is_over_the_rows_that_were_answered() -> None:
    """Absolute error for numbers, share of wrong ones for classes; a request without answer counts for nothing."""
    failed = Outcome(sent=0.0, rows=2, status=503, seconds=0.01, problem="503")

    assert replay._loss("regression", [1, 2, 3, 4], [_outcome(2.0, 2.0), _outcome(3.0, 8.0)]) == 1.25
    assert replay._loss("classification", ["a", "b", "a", "a"], [_outcome("a", "a"), _outcome("a", "b")]) == 0.5
    assert replay._loss("regression", [9, 9, 3, 4], [failed, _outcome(3.0, 5.0)]) == 0.5
    assert math.isnan(replay._loss("regression", [9, 9], [failed]))


def test_the_replayed_product_is_a_valid_one(settings: Settings) -> None:
    """It is judged on windows of one batch and keeps what was excluded."""
    frame = pd.DataFrame({"x": range(40), "leak": range(40), "y": [float(n) for n in range(40)]})
    plan = Plan(target="y", task="regression", timestamp=None, exclude=("leak",), initial=1, delay=0)

    replay._define(settings, plan, ("leak",), frame, rows=40)

    product = find_product(settings, replay.PRODUCT)
    assert product.data.exclude == ("leak",)
    assert product.monitoring.window == 40
    assert product.training.policy.on_degraded
    assert (settings.defs / replay.PRODUCT / "expectations.json").is_file()


def test_a_replay_that_predicts_nothing_is_refused(settings: Settings, tmp_path: Path) -> None:
    """All batches for training leave none to predict."""
    with pytest.raises(MlautoError, match="--initial 5 leaves nothing to predict"):
        replay.run_replay(settings, tmp_path / "any.csv", target="y", task="regression", batches=5, initial=5)


def test_rows_without_truth_are_neither_scored_nor_labelled() -> None:
    """Real files have gaps in their target: those rows say nothing, and the others still count."""
    assert replay._loss("regression", [1.0, math.nan, 3.0, None], [_outcome(2.0, 9.0), _outcome(6.0, 9.0)]) == 2.0
    assert math.isnan(replay._loss("classification", [None, math.nan], [_outcome("a", "b")]))


def test_the_prequential_loss_is_over_what_was_answered() -> None:
    """Weighted by rows; a batch that nobody answered does not make a number of no number."""
    one, two, none = (
        BatchResult(number=n, rows=rows, loss=loss, version="1", seconds=1.0)
        for n, (rows, loss) in enumerate([(10, 1.0), (30, 2.0), (5, math.nan)])
    )

    assert replay._prequential([one, two, none]) == 1.75
    assert math.isnan(replay._prequential([none]))


def test_a_batch_is_asked_without_what_is_no_feature(tmp_path: Path, gateway: FakeGateway) -> None:
    """Neither target nor time, and none of the columns that the proposal refused: a server takes no surplus column."""
    loop = Loop.scratch(tmp_path / "loop")
    plan = Plan(target="y", task="regression", timestamp="when", exclude=("leak",), initial=0, delay=1)
    part = pd.DataFrame({"x": range(60), "y": 1.0, "when": "2025", "leak": 2, "empty": math.nan})
    part.loc[55:, "y"] = math.nan
    driven = replay._Replay(loop, plan, [part], "any.csv")
    driven.excluded = ("leak", "empty")

    with gateway.client() as client:
        result = driven._batch(client, 0)
        driven._label(client, 0)

    assert [request["columns"] for request in gateway.asked] == [["x"], ["x"]]
    assert (result.number, result.rows, result.loss, result.version) == (1, 60, 0.0, "1")
    assert (driven.requests, driven.failed) == (2, 0)
    assert {name: len(labels) for name, labels in gateway.labels.items()} == {"00000000-00000001-abcd": 50}
    loop.stop()
