"""Reading the prediction log: increments, bounds, torn lines, look-ups by id."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.reading import (
    Label,
    LogReader,
    Prediction,
    find_label,
    find_prediction,
    segment_of,
)
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.log.segments import hold
from mlauto_tests.monitoring.log.test_compacted import write_compacted

Reader = LogReader[Prediction]
LIMIT = 1 << 20


@pytest.fixture
def reader(log: Any) -> Reader:
    return LogReader(log.folder, "predictions", Prediction)


def read_all(reader: Reader, step: Callable[[], None] = lambda: None) -> list[str]:
    """Ids of all lines, read in increments, with `step` between them."""
    ids: list[str] = []
    cursor = None
    while True:
        chunk = reader.since(cursor, LIMIT)
        if not chunk.lines:
            return ids
        ids += [line.id for line in chunk.lines]
        cursor = chunk.cursor
        step()


def test_a_log_that_was_never_written_is_empty(reader: Reader) -> None:
    """No folder means no traffic yet, which is no fault."""
    assert reader.sizes() == {}
    assert reader.since(None, LIMIT).lines == []
    assert reader.tail(LIMIT).cursor == {}
    assert reader.span() == (0, -1)


def test_increments_give_each_line_once(log: Any, reader: Reader) -> None:
    """Reading from the cursor gives what was written since, over the end of segments, and nothing twice."""
    first = [log.predict(1.0), log.predict(2.0)]
    chunk = reader.since(None, LIMIT)
    log.segment = 1
    second = [log.predict(3.0)]
    log.segment = 2
    second.append(log.predict(4.0))

    again = reader.since(chunk.cursor, LIMIT)

    assert [line.id for line in chunk.lines] == first
    assert [line.id for line in again.lines] == second
    assert reader.since(again.cursor, LIMIT).lines == []


def test_a_line_that_is_being_written_is_left(log: Any, reader: Reader) -> None:
    """A torn last line is no damage: it is read once its newline is there."""
    first = log.predict(1.0)
    text = b'{"id":"00000000-00000009-0000","t":5.0,"y":[1.5]}\n'
    log.raw("predictions", 0, text[:20])
    chunk = reader.since(None, LIMIT)
    log.raw("predictions", 0, text[20:])

    rest = reader.since(chunk.cursor, LIMIT)

    assert [line.id for line in chunk.lines] == [first]
    assert (chunk.damaged, rest.damaged) == (0, 0)
    assert rest.lines[0].y == [1.5]


def test_damage_is_counted_and_passed_over(log: Any, reader: Reader) -> None:
    """What does not parse, and a torn line in a closed segment, hide nothing else."""
    log.raw("predictions", 0, b"nonsense\n\xff\xfe\n")
    first = log.predict(1.0)
    log.raw("predictions", 0, b'{"id":"00000000-torn')
    log.segment = 1
    second = log.predict(2.0)

    chunk = reader.since(None, LIMIT)

    assert [line.id for line in chunk.lines] == [first, second]
    assert chunk.damaged == 3


def test_the_tail_is_bounded(log: Any, reader: Reader) -> None:
    """Only about the wanted bytes are read, from whole lines on, and the rest is reported as skipped."""
    ids = []
    for segment in range(3):
        log.segment = segment
        ids += [log.predict(float(number)) for number in range(200)]

    chunk = reader.tail(3000)

    got = [line.id for line in chunk.lines]
    assert got == ids[-len(got) :]
    assert 15 < len(got) < 60
    assert chunk.skipped > 3 * 15_000


def test_the_tail_has_at_least_one_line(log: Any, reader: Reader) -> None:
    """One request larger than the bound is still seen."""
    log.predict(1.0)
    giant = log.predict(*[0.5] * 50_000)

    assert reader.tail(1000).lines[-1].id == giant


def test_a_bound_that_falls_between_segments(log: Any, reader: Reader) -> None:
    """The skip over whole segments begins exactly with the next one."""
    log.predict(1.0)
    log.segment = 1
    log.predict(2.0)
    sizes = reader.sizes()

    chunk = reader.since(None, sizes[1])

    assert chunk.cursor == sizes
    assert chunk.skipped >= sizes[0]


def test_a_cursor_whose_segment_was_dropped(log: Any, reader: Reader) -> None:
    """Reading goes on with the oldest segment that is left."""
    log.predict(1.0)
    cursor = reader.since(None, LIMIT).cursor
    log.segment = 5
    left = log.predict(2.0)
    (log.folder / "predictions-00000000.jsonl").unlink()

    assert [line.id for line in reader.since(cursor, LIMIT).lines] == [left]


def test_a_log_that_was_begun_anew(log: Any, reader: Reader) -> None:
    """A cursor of segments that are gone, or beyond the end of one, loses nothing that is there."""
    kept = log.predict(1.0)

    assert [line.id for line in reader.since({9: 100}, LIMIT).lines] == [kept]
    assert reader.since({0: 10_000}, LIMIT).lines == []


def test_several_writers_at_a_time(log: Any, reader: Reader) -> None:
    """Lines of an older segment that is still written to are read too, once, and in the order of time."""
    first = log.predict(1.0, t=1.0)
    log.segment = 1
    second = log.predict(2.0, t=2.0)
    chunk = reader.since(None, LIMIT)
    late = log.predict(4.0, t=4.0)
    log.segment = 0
    later = log.predict(3.0, t=3.0)
    again = reader.since(chunk.cursor, LIMIT)

    assert [line.id for line in chunk.lines] == [first, second]
    assert [line.id for line in again.lines] == [later, late]
    assert reader.since(again.cursor, LIMIT).lines == []


def test_the_tail_is_fair_to_all_who_write(log: Any, reader: Reader) -> None:
    """Two workers that answer at the same time are both in it, in the order of time; a closed segment is not."""
    ids = []
    for number in range(600):
        log.segment = number % 3
        ids.append(log.predict(1.0, t=log.now + number))
    writers = [hold(log.folder / f"predictions-{number:08x}.jsonl") for number in (0, 1)]
    tail = reader.tail(4000)
    for writer in writers:
        assert writer is not None
        os.close(writer)

    got = [line.id for line in tail.lines]
    assert got == [i for i in ids[-len(got) * 3 // 2 :] if i[:8] != "00000002"][-len(got) :]
    assert {i[:8] for i in got} == {"00000000", "00000001"}
    assert 20 < len(got) < 60
    assert tail.skipped > 10_000


def test_a_torn_line_is_damage_once_its_writer_is_gone(log: Any, reader: Reader) -> None:
    """While the writer of an older segment lives, it may still finish the line; damage is counted once."""
    log.raw("predictions", 0, b'{"id":"00000000-00000')
    log.segment = 1
    log.predict(1.0)
    holder = hold(log.folder / "predictions-00000000.jsonl")
    assert holder is not None
    chunk = reader.since(None, LIMIT)
    os.close(holder)
    after = reader.since(chunk.cursor, LIMIT)

    assert (chunk.damaged, after.damaged) == (0, 1)
    assert reader.since(after.cursor, LIMIT).damaged == 0


def test_the_newest_lines_of_a_time(log: Any, reader: Reader) -> None:
    """A segment at a time, oldest first; files that were written before are not opened."""
    log.raw("predictions", 0, b"unreadable\n")
    os.utime(log.folder / "predictions-00000000.jsonl", (10.0, 10.0))
    log.segment = 1
    log.predict(1.0, t=90.0)
    ids = [log.predict(2.0, t=100.0)]
    log.segment = 2
    ids.append(log.predict(3.0, t=110.0))
    segments, cut = reader.newest(100.0, LIMIT)
    bounded, was_cut = reader.newest(100.0, 150)

    assert [[line.id for line in lines] for lines in segments] == [[ids[0]], [ids[1]]]
    assert [line.id for lines in bounded for line in lines] == [ids[1]]
    assert (cut, was_cut) == (False, True)


def test_predictions_and_labels_are_found_when_they_were_compacted(log: Any) -> None:
    """By the same calls, and they are equal to what they were."""
    here = log.predict(1.0, client_id="mine", rows=[{"x": 1, "c": None}])
    log.label(here, 2.0)
    found, label = find_prediction(log.folder, here), find_label(log.folder, here)
    for kind in ("predictions", "labels"):
        path = log.folder / f"{kind}-00000000.jsonl"
        write_compacted(log.folder / f"{kind}-00000000-00000000.parquet", {0: path.read_bytes()})
        path.unlink()

    assert found is not None
    assert find_prediction(log.folder, here) == found
    assert find_label(log.folder, here) == label
    assert find_prediction(log.folder, "00000000-000000ff-0000") is None
    assert LogReader(log.folder, "predictions", Prediction).span() == (0, 0)


def test_an_unreadable_log_is_an_error(log: Any, reader: Reader, tmp_path: Path) -> None:
    """Not being able to read is never the same as no data."""
    (log.folder / "predictions-00000000.jsonl").mkdir(parents=True)
    (tmp_path / "file").touch()

    with pytest.raises(MeasurementError, match="cannot be read"):
        reader.since(None, LIMIT)
    with pytest.raises(MeasurementError, match="cannot be listed"):
        LogReader(tmp_path / "file", "predictions", Prediction).sizes()


def test_other_files_are_not_segments(log: Any, reader: Reader) -> None:
    """Labels, temporary files and foreign names beside the segments are passed over."""
    log.predict(1.0)
    log.label("00000000-00000001-0001", 1.0)
    (log.folder / "predictions-0000000g.jsonl").touch()
    (log.folder / "predictions-00000001.jsonl.tmp").touch()

    assert list(reader.sizes()) == [0]


@pytest.mark.parametrize("text", ["", "1-2-3", "00000001-00000002", "0000000G-00000002-0000", "x" * 30])
def test_what_is_no_id(text: str) -> None:
    """Only the gateway's form names a segment."""
    assert segment_of(text) is None
    assert segment_of("0000001f-00000002-ab01") == 31


def test_a_prediction_is_found_by_its_id(log: Any) -> None:
    """In the segment that the id names, or in the next; two files are read at most."""
    log.segment = 3
    here = log.predict(1.0, client_id="mine", rows=[{"x": 1, "c": None}])
    late = log.new_id()
    log.segment = 4
    log.line("predictions", 4, id=late, t=1.0, v="2", y=[7])

    found = find_prediction(log.folder, here)

    assert found is not None
    assert found.parsed_rows() == [{"x": 1, "c": None}]
    assert found.client_id == "mine"
    assert getattr(find_prediction(log.folder, late), "y", None) == [7]
    assert find_prediction(log.folder, "00000003-000000ff-0000") is None
    assert find_prediction(log.folder, "no id") is None


def test_a_client_s_text_does_not_pass_for_an_id(log: Any) -> None:
    """An id that occurs inside another request, as the client's own or as a value, is not that request."""
    wanted = log.predict(1.0)
    log.predict(2.0, client_id=wanted)
    log.predict(3.0, rows=[{"x": wanted}])

    assert getattr(find_prediction(log.folder, wanted), "y", None) == [1.0]


def test_many_ids_are_found_in_one_pass(log: Any, reader: Reader) -> None:
    """Few ids are searched, many are parsed: both give the same, and the newest line of an id."""
    ids = [log.predict(float(number)) for number in range(100)]
    log.line("predictions", 0, id=ids[7], t=1.0, v="1", y=[-1.0])

    many = reader.scan(0, set(ids))
    few = reader.scan(0, {ids[7], ids[99]})

    assert many.keys() == set(ids)
    assert few == {name: many[name] for name in (ids[7], ids[99])}
    assert few[ids[7]].y == [-1.0]
    assert reader.scan(1, {ids[7]}) == {}


def test_rows_that_are_no_rows(log: Any) -> None:
    """A line whose rows are something else is an error where the rows are asked for, and nowhere before."""
    prediction_id = log.predict(1.0, rows={"x": 1})
    found = find_prediction(log.folder, prediction_id)

    assert found is not None
    with pytest.raises(MeasurementError, match=prediction_id):
        found.parsed_rows()


def test_the_newest_label_of_either_origin(log: Any) -> None:
    """Labels come by feedback and by file; the later one counts."""
    prediction_id = log.predict(1.0)
    assert find_label(log.folder, prediction_id) is None
    log.label(prediction_id, 1.0, t=10.0)
    log.label_segment = 1
    log.label(prediction_id, 2.0, t=20.0)
    assert find_label(log.folder, prediction_id) == Label(id=prediction_id, y=[2.0], t=20.0)

    log.line("imported", 0, id=prediction_id, t=30.0, y=[3.0])
    assert getattr(find_label(log.folder, prediction_id), "y", None) == [3.0]


def test_the_gateway_s_own_log_is_readable(tmp_path: Path) -> None:
    """What the gateway writes is what this room reads: answers, failures, labels."""
    written = PredictionLog(tmp_path)
    good, bad = written.new_id(), written.new_id()
    written.answered(
        good,
        version="3",
        seconds=0.002,
        rows=b'[{"a":1}]',
        predictions=["x"],
        probabilities=[[0.1, 0.9]],
        client_id="c",
    )
    written.failed(bad, version=None, seconds=0.5, error="no version is ready", code=503)
    written.labelled(good, ["y"])

    answered, failed = find_prediction(tmp_path, good), find_prediction(tmp_path, bad)

    assert answered is not None
    assert failed is not None
    assert (answered.v, answered.ms, answered.y, answered.p) == ("3", 2.0, ["x"], [[0.1, 0.9]])
    assert answered.parsed_rows() == [{"a": 1}]
    assert (failed.v, failed.y, failed.error, failed.code) == (None, None, "no version is ready", 503)
    assert getattr(find_label(tmp_path, good), "y", None) == ["y"]


def test_cost_per_call_is_flat(log: Any, reader: Reader) -> None:
    """With 100,000 lines behind it, a call for what is new takes milliseconds."""
    line = b'{"id":"%08x-%08x-0000","t":1.0,"v":"1","ms":1.0,"rows":[{"x":1.0}],"y":[1.0]}\n'
    for segment in range(5):
        log.raw("predictions", segment, b"".join(line % (segment, number) for number in range(20_000)))
    log.segment = 4
    cursor = reader.since(None, 1 << 30).cursor
    new = log.predict(1.0)

    took = []
    for _ in range(10):
        began = time.perf_counter()
        chunk = reader.since(cursor, LIMIT)
        took.append(time.perf_counter() - began)

    assert [found.id for found in chunk.lines] == [new]
    assert min(took) < 0.02


def test_increments_read_everything_whatever_the_rhythm(log: Any, reader: Reader) -> None:
    """Any interleaving of writing, rotating and reading gives every line once, in order."""
    ids = [log.predict(0.0)]
    left = 40

    def write() -> None:
        nonlocal left
        if left:
            left -= 1
            log.segment += left % 3 == 0
            ids.extend(log.predict(1.0) for _ in range(left % 4 + 1))

    assert read_all(reader, write) == ids
