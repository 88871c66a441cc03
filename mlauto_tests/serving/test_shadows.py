"""Copies for a version that answers nobody."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mlauto.serving import shadows as module
from mlauto.serving.errors import ModelError
from mlauto.serving.log.journal import Journal
from mlauto.serving.metrics import Metrics
from mlauto.serving.shadows import Copied, Shadows
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.invocations import parse_invocations
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import prediction_lines
from mlauto_tests.serving.test_traffic import Scripted

COPY = Copied(
    "00000000-00000001-abcd",
    b'{"instances": [{"temp": 2}]}',
    parse_invocations,
    Signature(columns={"temp": "number"}, task="regression"),
    b'[{"temp":2}]',
    1,
)


def send(home: Path, shadow: Scripted, times: int = 1, then: Callable[[], None] = lambda: None) -> Metrics:
    async def scenario() -> Metrics:
        metrics = Metrics()
        shadows = Shadows(Journal(metrics, home / "products"))
        for _ in range(times):
            shadows.send("bikes", shadow, COPY)
        then()
        while shadows._tasks:
            await asyncio.sleep(0.001)
        return metrics

    return asyncio.run(scenario())


def test_its_answer_is_logged_with_the_users_id(tmp_path: Path) -> None:
    """In segments of its own: it is no prediction that anybody got."""
    shadow = Scripted("3", Answer([7.0], None))
    metrics = send(tmp_path, shadow, then=lambda: asserted(shadow.asked == []))
    (line,) = prediction_lines(tmp_path, "bikes", "shadows")

    assert (line["id"], line["v"], line["y"]) == (COPY.prediction_id, "3", [7.0])
    assert "error" not in line
    assert prediction_lines(tmp_path, "bikes") == []
    assert metrics.shadows == {("bikes", "3", "answered"): 1}
    assert metrics.requests == {}


def asserted(condition: bool) -> None:
    assert condition


@pytest.mark.parametrize("problem", [ModelError("it broke"), LinkError("it broke")])
def test_its_failure_is_its_own(tmp_path: Path, problem: Exception) -> None:
    """Logged as such, and counted."""
    metrics = send(tmp_path, Scripted("3", problem))
    (line,) = prediction_lines(tmp_path, "bikes", "shadows")

    assert (line["id"], line["v"], line["error"]) == (COPY.prediction_id, "3", "it broke")
    assert metrics.shadows == {("bikes", "3", "failed"): 1}


def test_it_gets_rows_of_its_own_signature(tmp_path: Path) -> None:
    """Other columns are taken from the user's request; where they do not fit, that is the shadow's failure."""
    wider = Scripted("3", Answer([7.0]), columns={"wind": "number", "temp": "number"})
    other = Scripted("4", Answer([7.0]), columns={"wind": "number"})
    send(tmp_path, wider)
    send(tmp_path, other)

    assert wider.asked == [b'[{"wind":null,"temp":2}]']
    assert other.asked == []
    assert "column 'temp' is not one of the model's" in prediction_lines(tmp_path, "bikes", "shadows")[1]["error"]


def test_what_is_too_much_is_dropped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in bytes, and while the shadow is not ready."""
    monkeypatch.setattr(module, "MOST_COPIES", 2)
    shadow = Scripted("3", *[Answer([7.0])] * 9)
    assert send(tmp_path, shadow, 5).shadows == {("bikes", "3", "dropped"): 3, ("bikes", "3", "answered"): 2}

    monkeypatch.setattr(module, "MOST_BYTES", 50)
    assert send(tmp_path, shadow, 2).shadows == {("bikes", "3", "dropped"): 1, ("bikes", "3", "answered"): 1}

    shadow.state = "failed"
    assert send(tmp_path, shadow).shadows == {("bikes", "3", "dropped"): 1}
