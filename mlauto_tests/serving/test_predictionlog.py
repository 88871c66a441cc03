"""Segments of lines: whole, numbered, bounded, and continued after a crash."""

import json
import re
from pathlib import Path

import pytest

from mlauto.serving import predictionlog
from mlauto.serving.predictionlog import PredictionLog, Segments


def answered(log: PredictionLog, rows: bytes = b'[{"a":1}]', **more: object) -> str:
    prediction_id = log.new_id()
    log.answered(prediction_id, version="3", seconds=0.0125, rows=rows, predictions=[1.5], **more)  # type: ignore[arg-type]
    return prediction_id


def lines(folder: Path, kind: str) -> list[dict[str, object]]:
    paths = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_a_prediction_is_one_line(tmp_path: Path) -> None:
    """Rows as they were checked, answers, version, milliseconds; what does not apply is left out."""
    log = PredictionLog(tmp_path / "predictions")
    first = answered(log)
    second = answered(log, probabilities=[[0.5, 0.5]], client_id="mine", retried_from="4")
    log.failed(log.new_id(), version=None, seconds=1, error="no champion", code=503)
    one, two, three = lines(tmp_path / "predictions", "predictions")

    assert {**one, "t": 0} == {"id": first, "t": 0, "v": "3", "ms": 12.5, "rows": [{"a": 1}], "y": [1.5]}
    assert (two["id"], two["p"], two["client_id"], two["retried_from"]) == (second, [[0.5, 0.5]], "mine", "4")
    assert {**three, "t": 0, "id": ""} == {"id": "", "t": 0, "ms": 1000.0, "error": "no champion", "code": 503}
    assert isinstance(one["t"], float)


def test_labels_are_lines_of_their_own(tmp_path: Path) -> None:
    """In segments of their own kind."""
    log = PredictionLog(tmp_path)
    prediction_id = answered(log)
    log.labelled(prediction_id, [2.5])

    assert [{**line, "t": 0} for line in lines(tmp_path, "labels")] == [{"id": prediction_id, "t": 0, "y": [2.5]}]


def test_shadows_are_lines_of_their_own(tmp_path: Path) -> None:
    """With the id of the user's prediction, and what the shadow answered or why it did not."""
    log = PredictionLog(tmp_path)
    prediction_id = answered(log)
    log.shadowed(prediction_id, version="4", seconds=0.002, predictions=(2.5,), probabilities=[[1.0]])
    log.shadowed(prediction_id, version="4", seconds=0.1, error="lost")
    good, bad = ({**line, "t": 0} for line in lines(tmp_path, "shadows"))

    assert good == {"id": prediction_id, "t": 0, "v": "4", "ms": 2.0, "y": [2.5], "p": [[1.0]]}
    assert bad == {"id": prediction_id, "t": 0, "v": "4", "ms": 100.0, "error": "lost"}
    assert len(lines(tmp_path, "predictions")) == 1


def test_by_default_nothing_waits_for_the_disk(tmp_path: Path) -> None:
    """`durable` can be awaited, and is over at once."""
    waiting = PredictionLog(tmp_path).durable()

    with pytest.raises(StopIteration):
        waiting.send(None)


def test_ids_say_in_which_segment_their_line_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The segment's number in the id is that of the file with the line, or the one before it."""
    monkeypatch.setattr(predictionlog, "SEGMENT_BYTES", 300)
    log = PredictionLog(tmp_path)
    log.predictions = Segments(tmp_path, "predictions", segment_bytes=300)
    ids = [answered(log) for _ in range(20)]

    assert len(list(tmp_path.glob("predictions-*"))) > 3
    for prediction_id in ids:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}", prediction_id)
        number = int(prediction_id[:8], 16)
        near = [tmp_path / f"predictions-{n:08x}.jsonl" for n in (number, number + 1)]
        assert any(prediction_id in path.read_text() for path in near if path.exists())


def test_segments_are_bounded(tmp_path: Path) -> None:
    """The oldest files are dropped beyond the bound; numbers only grow."""
    segments = Segments(tmp_path, "labels", segment_bytes=10, most_segments=3)
    for number in range(10):
        segments.append(b"0123456789" + str(number).encode())

    assert sorted(path.name for path in tmp_path.iterdir()) == [f"labels-{n:08x}.jsonl" for n in (7, 8, 9)]


def test_bytes_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few but huge lines do not fill the disk."""
    monkeypatch.setattr(predictionlog, "MOST_BYTES", 5_000)
    segments = Segments(tmp_path, "predictions", segment_bytes=10)
    for _ in range(20):
        segments.append(b"x" * 1_000)

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8_000


def test_a_restart_goes_on_in_the_newest_segment(tmp_path: Path) -> None:
    """Without a new file for each restart, and without giving an id twice, not even one that was never logged."""
    first = PredictionLog(tmp_path)
    ids = [answered(first) for _ in range(5)]
    given = [first.new_id() for _ in range(50)]
    second = PredictionLog(tmp_path)
    ids.append(answered(second))

    assert [path.name for path in tmp_path.iterdir()] == ["predictions-00000000.jsonl"]
    assert [line["id"] for line in lines(tmp_path, "predictions")] == ids
    assert ids[-1][:17] not in {prediction_id[:17] for prediction_id in given}


def test_a_torn_line_is_left_and_not_continued(tmp_path: Path) -> None:
    """After a crash in mid-line the next line begins a new segment, so that it is not damaged too."""
    log = PredictionLog(tmp_path)
    answered(log)
    with (tmp_path / "predictions-00000000.jsonl").open("ab") as stream:
        stream.write(b'{"id":"00000000-000000')
    prediction_id = answered(PredictionLog(tmp_path))

    assert prediction_id in (tmp_path / "predictions-00000001.jsonl").read_text()


def test_a_line_longer_than_what_is_looked_at_begins_a_new_segment(tmp_path: Path) -> None:
    """Where the last sequence number cannot be seen, the segment's number keeps ids apart."""
    log = PredictionLog(tmp_path)
    first = answered(log, rows=b'[{"a":"' + b"x" * 100_000 + b'"}]')
    second = answered(PredictionLog(tmp_path))

    assert (first[:8], second[:8]) == ("00000000", "00000001")


def test_an_empty_log_begins_at_zero(tmp_path: Path) -> None:
    """Opening a log writes nothing."""
    log = PredictionLog(tmp_path / "none")

    assert log.new_id().startswith("00000000-00000001-")
    assert not (tmp_path / "none").exists()


def test_only_ids_that_may_have_been_given_are_known(tmp_path: Path) -> None:
    """The form and the segment's number are checked, without reading a file."""
    log = PredictionLog(tmp_path)

    assert log.knows(log.new_id())
    for text in ("", "x", "00000001-00000001-abcd", "00000000-00000001-ABCD", "00000000-00000001-abcd\n"):
        assert not log.knows(text)


def test_a_full_disk_is_an_error_and_what_follows_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When only half a line could be written, the caller hears it and the next line is in another file."""
    import os

    log = PredictionLog(tmp_path)
    answered(log)
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:10]))
    with pytest.raises(OSError, match="only 10 of"):
        answered(log)
    monkeypatch.undo()
    prediction_id = answered(log)

    assert json.loads((tmp_path / "predictions-00000001.jsonl").read_text())["id"] == prediction_id
