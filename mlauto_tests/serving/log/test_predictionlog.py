"""Lines of the prediction log: what they hold, their ids, and that none is lost."""

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlauto.serving.log.durability import MODES, Syncer
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.log.segments import Segments

WRITER = """
import asyncio, sys
from pathlib import Path
from mlauto.serving.log.durability import Syncer
from mlauto.serving.log.predictionlog import PredictionLog
log = PredictionLog(Path(sys.argv[1]), Syncer(sys.argv[2]))
async def main():
    while True:
        name = log.new_id()
        log.answered(name, version="3", seconds=0.1, rows=b'[{"a":1}]', predictions=[1.5])
        await log.durable()
        print(name, flush=True)
asyncio.run(main())
"""


def answered(log: PredictionLog, rows: bytes = b'[{"a":1}]', **more: object) -> str:
    prediction_id = log.new_id()
    log.answered(prediction_id, version="3", seconds=0.0125, rows=rows, predictions=[1.5], **more)  # type: ignore[arg-type]
    return prediction_id


def lines(folder: Path, kind: str) -> list[dict[str, object]]:
    """The whole lines of a kind: a process that was killed within a `write` leaves the beginning of a line behind."""
    paths = sorted(folder.glob(f"{kind}-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text().split("\n")[:-1]]


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


def test_ids_say_in_which_segment_their_line_is(tmp_path: Path) -> None:
    """An id that is used right away names the very file; one that was given earlier that or the next one."""
    log = PredictionLog(tmp_path)
    log.predictions = Segments(tmp_path, "predictions", segment_bytes=300)
    early = log.new_id()
    ids = [answered(log) for _ in range(20)]
    log.answered(early, version="3", seconds=0.1, rows=b"[]", predictions=[])

    assert len(list(tmp_path.glob("predictions-*"))) > 3
    for prediction_id in ids:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}", prediction_id)
        assert prediction_id in (tmp_path / f"predictions-{prediction_id[:8]}.jsonl").read_text()
    assert lines(tmp_path, "predictions")[-1]["id"] == early


def test_a_restart_goes_on_in_the_newest_segment(tmp_path: Path) -> None:
    """Without a new file for each restart, and without giving an id twice, not even one that was never logged."""
    first = PredictionLog(tmp_path)
    ids = [answered(first) for _ in range(5)]
    given = [first.new_id() for _ in range(50)]
    first.close()
    second = PredictionLog(tmp_path)
    ids.append(answered(second))

    assert [path.name for path in tmp_path.iterdir()] == ["predictions-00000000.jsonl"]
    assert [line["id"] for line in lines(tmp_path, "predictions")] == ids
    assert ids[-1][:17] not in {prediction_id[:17] for prediction_id in given}


def test_two_workers_at_a_time_never_give_the_same_id(tmp_path: Path) -> None:
    """The one that came later writes to a segment of its own; each knows the other's predictions."""
    old, new = PredictionLog(tmp_path), PredictionLog(tmp_path)
    ids = [answered(log) for _ in range(20) for log in (old, new)]
    monotonic_numbers = {prediction_id[:17] for prediction_id in ids}

    assert len(monotonic_numbers) == 40
    assert {prediction_id[:8] for prediction_id in ids} == {"00000000", "00000001"}
    assert {line["id"] for line in lines(tmp_path, "predictions")} == set(ids)
    assert new.knows(ids[0])


def test_a_later_worker_s_predictions_are_known(tmp_path: Path) -> None:
    """A label for them may reach the older one, and does so at once where several processes answer."""
    old, new = PredictionLog(tmp_path), PredictionLog(tmp_path)
    answered(old)
    late = answered(new)

    assert old.knows(late)
    assert not old.knows("00000002" + late[8:])


def test_a_torn_line_is_left_and_not_continued(tmp_path: Path) -> None:
    """After a crash in mid-line the next line begins a new segment, so that it is not damaged too."""
    log = PredictionLog(tmp_path)
    answered(log)
    log.close()
    with (tmp_path / "predictions-00000000.jsonl").open("ab") as stream:
        stream.write(b'{"id":"00000000-000000')
    prediction_id = answered(PredictionLog(tmp_path))

    assert prediction_id in (tmp_path / "predictions-00000001.jsonl").read_text()


def test_an_empty_log_begins_at_zero(tmp_path: Path) -> None:
    """Opening a log writes nothing."""
    log = PredictionLog(tmp_path / "none")

    assert not (tmp_path / "none").exists()
    assert log.new_id().startswith("00000000-00000001-")


def test_only_ids_that_may_have_been_given_are_known(tmp_path: Path) -> None:
    """The form and the segment's number are checked, without reading a file."""
    log = PredictionLog(tmp_path)

    assert log.knows(log.new_id())
    for text in ("", "x", "00000001-00000001-abcd", "00000000-00000001-ABCD", "00000000-00000001-abcd\n"):
        assert not log.knows(text)


def test_a_folder_that_cannot_be_written_stops_no_answer(tmp_path: Path) -> None:
    """Ids are given all the same, and are all different; writing the line is what fails."""
    (tmp_path / "file").touch()
    log = PredictionLog(tmp_path / "file" / "predictions")
    ids = {log.new_id() for _ in range(100)}

    assert len({prediction_id[:17] for prediction_id in ids}) == 100
    with pytest.raises(OSError, match="file"):
        answered(log)


def test_shared_syncing_waits_for_the_disk(tmp_path: Path) -> None:
    """By choice a request waits until its line would survive a power cut."""
    syncer = Syncer("shared")
    log = PredictionLog(tmp_path, syncer)

    async def requests() -> None:
        for _ in range(5):
            answered(log)
            await log.durable()

    asyncio.run(asyncio.wait_for(requests(), 10))
    syncer.stop()

    assert len(lines(tmp_path, "predictions")) == 5
    assert not log.predictions._unsynced


@pytest.mark.parametrize("mode", MODES)
def test_kill_9_loses_no_acknowledged_line(tmp_path: Path, mode: str) -> None:
    """Whatever was said to be written is there after the process was killed in the middle of it.

    A line that was being written may be torn, which nobody was told about; the next process leaves it as it is.
    """
    command = [sys.executable, "-c", WRITER, str(tmp_path), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline().strip() for _ in range(500)]
        writer.kill()
        acknowledged += [line for line in writer.stdout.read().splitlines() if len(line) == 22]

    assert len(acknowledged) >= 500
    assert set(acknowledged) <= {str(line["id"]) for line in lines(tmp_path, "predictions")}

    following = answered(PredictionLog(tmp_path))

    assert {*acknowledged, following} <= {str(line["id"]) for line in lines(tmp_path, "predictions")}


def test_a_line_costs_microseconds(tmp_path: Path) -> None:
    """At most 10 of them for a request of one row, on a machine that is not otherwise busy."""
    log = PredictionLog(tmp_path)
    rows = json.dumps([{f"number_{n}": 0.123 * n for n in range(12)}]).encode()
    took = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(200):
            log.answered(
                log.new_id(), version="3", seconds=0.001, rows=rows, predictions=[1], probabilities=[[0.1, 0.9]]
            )
        took.append((time.perf_counter() - began) / 200)

    assert min(took) < 20e-6  # twice the aim: other tests run beside this one


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
