"""The gateway's client: what counts as an answer, and what its requests look like."""

import datetime
import socket
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from mlauto.commands.client import GatewayClient, rows_of
from mlauto.errors import DeliveryError


def refuse(status: int, **answer: Any) -> Any:
    """A fault that answers every request the same way."""
    return lambda request: httpx.Response(status, **answer)


def test_an_answer_has_predictions_version_and_id(gateway: Any) -> None:
    """All that the response carries is in the outcome, with the latency."""
    with gateway.client() as client:
        outcome = client.ask([{"a": 1, "b": "x"}, {"a": None, "b": "y"}])

    assert outcome.ok
    assert (outcome.status, outcome.rows, outcome.version) == (200, 2, "1")
    assert outcome.predictions == (2, 1)
    assert outcome.prediction_id == "00000000-00000001-abcd"
    assert 0 < outcome.seconds < 5
    assert outcome.sent > 1.6e9


def test_rows_with_different_columns_become_one_table(gateway: Any) -> None:
    """Columns are the union in order of appearance; what a row lacks is null."""
    with gateway.client() as client:
        client.ask([{"a": 1}, {"b": 2, "a": 3}])

    assert gateway.asked == [
        {"path": "/v2/models/bike/invocations", "columns": ["a", "b"], "data": [[1, None], [3, 2]]}
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 503, "json": {"error": "no version is ready"}}, "503: no version is ready"),
        ({"status": 502, "text": "Bad Gateway"}, "502: Bad Gateway"),
        ({"status": 500, "text": ""}, "500: (empty body)"),
        ({"status": 200, "text": "<html>"}, "no JSON object"),
        ({"status": 200, "json": {"predictions": [1, 2]}}, "2 predictions for 1 rows"),
        ({"status": 200, "json": {}}, "0 predictions for 1 rows"),
        ({"status": 200, "json": {"predictions": [1]}}, "no x-mlauto-version"),
        ({"status": 200, "json": {"predictions": [1]}, "headers": {"x-mlauto-version": "3"}}, "x-prediction-id"),
    ],
)
def test_anything_less_than_a_whole_answer_is_a_failure(gateway: Any, answer: dict[str, Any], words: str) -> None:
    """A 200 without predictions, version or id counts as failed just as a 503 does, and says why."""
    gateway.fault = refuse(answer.pop("status"), **answer)

    with gateway.client() as client:
        outcome = client.ask([{"a": 1}])

    assert not outcome.ok
    assert outcome.problem is not None
    assert words in outcome.problem


def test_no_connection_is_an_outcome_not_an_exception() -> None:
    """Against a closed port of the real network the status is 0 and the problem names the error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    with GatewayClient(f"http://127.0.0.1:{port}", "bike", timeout=2) as client:
        outcome = client.ask([{"a": 1}])

    assert outcome.status == 0
    assert not outcome.ok
    assert outcome.problem is not None
    assert "ConnectError" in outcome.problem


def test_labels_of_many_predictions_travel_together(gateway: Any) -> None:
    """One feedback request for all ids, a list of labels for each; none for nothing."""
    with gateway.client() as client:
        client.label({"p1": [1], "p2": (0,), "p3": [1, 0]})
        client.label({})

    assert gateway.labels == {"p1": [1], "p2": [0], "p3": [1, 0]}
    assert gateway.feedback_requests == 1


@pytest.mark.parametrize("fault", ["refused", "broken"])
def test_labels_that_are_not_taken_raise(gateway: Any, fault: str) -> None:
    """A refusal carries the gateway's sentence, a lost connection the error's name."""

    def answer(request: httpx.Request) -> httpx.Response:
        if fault == "broken":
            raise httpx.ReadTimeout("too slow", request=request)
        return httpx.Response(404, json={"error": "unknown prediction id p1"})

    gateway.fault = answer
    words = "unknown prediction id p1" if fault == "refused" else "ReadTimeout: too slow"

    with gateway.client() as client, pytest.raises(DeliveryError, match=words):
        client.label({"p1": [1]})


def test_a_frame_becomes_json_values() -> None:
    """NumPy scalars, missing values of each kind, infinities and times become what JSON has."""
    frame = pd.DataFrame(
        {
            "n": np.array([1, 2], dtype="int64"),
            "f": [0.5, np.nan],
            "inf": [np.inf, 1.0],
            "s": ["x", None],
            "b": [True, False],
            "t": [pd.Timestamp("2011-01-01 05:00"), pd.NaT],
            3: [np.float32(1.5), np.float32(2)],
        }
    )

    rows = rows_of(frame)

    assert rows == [
        {"n": 1, "f": 0.5, "inf": None, "s": "x", "b": True, "t": "2011-01-01T05:00:00", "3": 1.5},
        {"n": 2, "f": None, "inf": 1.0, "s": None, "b": False, "t": None, "3": 2.0},
    ]
    assert [type(rows[0][name]) for name in ("n", "f", "b", "3")] == [int, float, bool, float]


def test_dates_become_iso_text() -> None:
    """A date column of plain Python dates is sent as text."""
    frame = pd.DataFrame({"d": [datetime.date(2011, 1, 2)]})

    assert rows_of(frame) == [{"d": "2011-01-02"}]
