"""Lines and counts of what became of requests."""

import asyncio
from pathlib import Path

import pytest

from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.log.journal import Journal
from mlauto.serving.metrics import Metrics
from mlauto.serving.wire.protocol import Answer
from mlauto_tests.serving.conftest import prediction_lines


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(Metrics(), tmp_path / "products")


def test_each_outcome_has_its_line_and_its_count(journal: Journal, tmp_path: Path) -> None:
    """Answered, failed, and a shadow's answer to the first."""
    answer = Answer([1.0, 2.0])
    first = journal.answered("bikes", "2", 0.004, rows=b'[{"a":1},{"a":2}]', answer=answer, retried_from="3")
    failed = journal.failed("bikes", "3", ModelError("broken"), 0.001)
    journal.shadowed("bikes", "4", first, 0.002, answer)
    journal.shadowed("bikes", "4", first, 0.002, ModelError("worse"))
    lines = prediction_lines(tmp_path, "bikes")

    assert [(line["id"], line["v"]) for line in lines] == [(first, "2"), (failed.prediction_id, "3")]
    assert (lines[0]["rows"], lines[0]["y"], lines[0]["retried_from"]) == ([{"a": 1}, {"a": 2}], [1.0, 2.0], "3")
    assert (lines[1]["code"], lines[1]["error"], str(failed), failed.version) == (500, "broken", "broken", "3")
    assert [line.get("error") for line in prediction_lines(tmp_path, "bikes", "shadows")] == [None, "worse"]
    assert journal.metrics.rows == {("bikes", "2"): 2}
    assert journal.metrics.requests == {("bikes", "2", "200"): 1, ("bikes", "3", "500"): 1}
    assert journal.metrics.shadows == {("bikes", "4", "answered"): 1, ("bikes", "4", "failed"): 1}


def test_a_full_disk_costs_lines_and_nothing_else(journal: Journal, tmp_path: Path) -> None:
    """Every lost line is counted; a label that was not written is asked for again."""
    (tmp_path / "products").write_text("a file where the folder should be")
    first = journal.answered("bikes", "2", 0.004, rows=b"[{}]", answer=Answer([1.0]))
    journal.failed("bikes", "3", ModelError("broken"))
    journal.shadowed("bikes", "4", first, 0.002, Answer([1.0]))
    assert journal.metrics.log_failures == {("bikes",): 3}

    with pytest.raises(UnavailableError, match="send it again"):
        asyncio.run(journal.labelled("bikes", {first: [1.0]}))


def test_labels_are_for_predictions_that_were_made(journal: Journal, tmp_path: Path) -> None:
    """One unknown id refuses the whole order, and nothing of it is written."""
    first = journal.answered("bikes", "2", 0.004, rows=b"[{}]", answer=Answer([1.0]))

    with pytest.raises(RequestError, match="is no prediction of bikes") as caught:
        asyncio.run(journal.labelled("bikes", {first: [1.0], "nobody": [2.0]}))
    assert caught.value.status == 404
    assert prediction_lines(tmp_path, "bikes", "labels") == []
    asyncio.run(journal.labelled("bikes", {first: [1.0]}))
    assert [line["y"] for line in prediction_lines(tmp_path, "bikes", "labels")] == [[1.0]]
    assert journal.metrics.labels == {("bikes",): 1}


def test_the_disk_is_waited_for_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`MLAUTO_LOG_SYNC=shared`: `durable` returns when the line is on disk."""
    monkeypatch.setenv("MLAUTO_LOG_SYNC", "shared")

    async def scenario() -> Journal:
        journal = Journal(Metrics(), tmp_path / "products")
        journal.answered("bikes", "2", 0.004, rows=b"[{}]", answer=Answer([1.0]))
        await asyncio.wait_for(journal.durable("bikes"), 10)
        return journal

    journal = asyncio.run(scenario())
    assert journal.waits
    assert journal.metrics.log_failures == {}
    assert len(prediction_lines(tmp_path, "bikes")) == 1
