"""Compaction: what is due, nothing lost whenever it is killed, writers left alone, history bounded."""

import fcntl
import math
import os
import resource
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.labels.joining import join_labels
from mlauto.monitoring.log import compaction as module
from mlauto.monitoring.log.compacted import compacted_files, segments_of
from mlauto.monitoring.log.compaction import Group, compact, due_groups, expired
from mlauto.monitoring.log.reading import LogReader, Prediction, find_prediction
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.log.segments import Segments, hold
from mlauto_tests.waiting import eventually

WRITER = """
import sys
import time
from pathlib import Path
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.log.segments import Segments
log = PredictionLog(Path(sys.argv[1]))
# As many segments as a slow machine may fill before anybody compacts them: none is dropped for its age.
log.predictions = Segments(Path(sys.argv[1]), "predictions", segment_bytes=9000, most_segments=10**6)
while True:
    name = log.new_id()
    log.answered(name, version="3", seconds=0.1, rows=b'[{"a":1}]', predictions=[1.5])
    print(name, flush=True)
    time.sleep(0.0002)
"""
COMPACTOR = """
import sys
from pathlib import Path
from mlauto.monitoring.log import compaction
compaction.GROUP_SEGMENTS = 3
compaction.KEPT_SEGMENTS = 2
import pyarrow.parquet
print("ready", flush=True)
while True:
    compaction.compact(Path(sys.argv[1]))
"""


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can reach: three segments of a few lines make a file, the two newest stay."""
    monkeypatch.setattr(module, "GROUP_SEGMENTS", 3)
    monkeypatch.setattr(module, "KEPT_SEGMENTS", 2)


def filled(log: Any, segments: int, lines: int = 4) -> list[str]:
    """Ids of predictions in so many segments."""
    ids = []
    for segment in range(log.segment, log.segment + segments):
        log.segment = segment
        ids += [log.predict(float(number), client_id=f"client {number}") for number in range(lines)]
    log.segment += 1
    return ids


def assert_all_found(log: Any, ids: list[str]) -> None:
    assert [i for i in ids if getattr(find_prediction(log.folder, i), "id", None) != i] == []


def names(log: Any) -> list[str]:
    return sorted(path.name for path in log.folder.iterdir() if not path.name.startswith("."))


@pytest.mark.usefixtures("_small")
def test_old_segments_become_files(log: Any) -> None:
    """As many as are due, in groups; the newest stay as lines, and every prediction is found as before."""
    ids = filled(log, 9)
    before = [find_prediction(log.folder, prediction_id) for prediction_id in ids]
    done = compact(log.folder)

    assert names(log) == [
        "predictions-00000000-00000002.parquet",
        "predictions-00000003-00000005.parquet",
        "predictions-00000006.jsonl",
        "predictions-00000007.jsonl",
        "predictions-00000008.jsonl",
    ]
    assert (done.segments, done.lines, done.files, done.dropped) == (6, 24, 2, 0)
    assert done.bytes_before > 1000
    assert done.file_bytes == done.bytes_after
    assert [find_prediction(log.folder, prediction_id) for prediction_id in ids] == before


@pytest.mark.usefixtures("_small")
def test_nothing_is_due_until_a_group_is_full(log: Any) -> None:
    """Calling it again changes nothing; the sensor's look says when it will."""
    filled(log, 4)
    assert due_groups(log.folder) == []
    compact(log.folder)
    assert len(names(log)) == 4

    filled(log, 1)
    assert due_groups(log.folder) == [Group("predictions", (0, 1, 2))]
    assert due_groups(log.folder)[0].name == "predictions-00000002"
    assert compact(log.folder).segments == 3
    assert (due_groups(log.folder), compact(log.folder).segments) == ([], 0)


def test_the_real_bounds_are_of_bytes(log: Any) -> None:
    """24 full segments: the newest 32 MB stay as lines, 64 MB make a file."""
    log.folder.mkdir()
    for number in range(24):
        with (log.folder / f"predictions-{number:08x}.jsonl").open("wb") as stream:
            stream.truncate(4 << 20)
    groups = due_groups(log.folder)

    assert groups == [Group("predictions", tuple(range(16)))]
    (log.folder / "predictions-00000017.jsonl").unlink()
    assert due_groups(log.folder) == []


def test_few_bytes_in_many_segments_are_due_too(log: Any) -> None:
    """Each restart may leave a small one; their number alone makes a group."""
    filled(log, 64 + 63, lines=1)
    assert due_groups(log.folder) == []
    filled(log, 1, lines=1)

    assert [len(group.segments) for group in due_groups(log.folder)] == [64]


class Killed(BaseException):
    """What a kill leaves behind is what stands at that moment: nothing catches this."""


@pytest.mark.usefixtures("_small")
def test_killed_at_any_point_it_loses_nothing(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before or after every step on the disk: all lines are found at once, and the next call finishes the work."""
    ids = filled(log, 8)
    finished = None
    for deadly in count():
        steps = count()

        def step(done: Any, *args: Any, steps: Any = steps, deadly: int = deadly, **options: Any) -> Any:
            if next(steps) == deadly:
                raise Killed
            result = done(*args, **options)
            if next(steps) == deadly:
                raise Killed
            return result

        replace, unlink, fsync = os.replace, Path.unlink, os.fsync
        monkeypatch.setattr(os, "replace", lambda *args, step=step, done=replace: step(done, *args))
        monkeypatch.setattr(os, "fsync", lambda *args, step=step, done=fsync: step(done, *args))
        monkeypatch.setattr(Path, "unlink", lambda *args, step=step, done=unlink, **o: step(done, *args, **o))
        try:
            finished = compact(log.folder)
        except Killed:
            assert_all_found(log, ids)
        finally:
            monkeypatch.setattr(os, "replace", replace)
            monkeypatch.setattr(os, "fsync", fsync)
            monkeypatch.setattr(Path, "unlink", unlink)
        compact(log.folder)
        assert_all_found(log, ids)
        assert not [name for name in names(log) if name.startswith(".")]
        if finished is not None:
            break
        ids += filled(log, 3)

    assert deadly >= 12
    parts = [set(segments_of(path)) for _, _, path in compacted_files(log.folder, "predictions")]
    assert sum(map(len, parts)) == len(set().union(*parts))


@pytest.mark.usefixtures("_small")
def test_a_segment_that_is_written_to_is_left(log: Any) -> None:
    """The others of its group are compacted; it follows when its writer is done."""
    ids = filled(log, 7)
    writer = hold(log.folder / "predictions-00000001.jsonl")
    assert writer is not None
    compact(log.folder)
    assert names(log)[:2] == ["predictions-00000000-00000002.parquet", "predictions-00000001.jsonl"]
    line = b'{"id":"00000001-0000ffff-abcd","t":1.0,"v":"1","y":[1.0]}\n'
    os.write(writer, line)
    os.close(writer)
    ids += ["00000001-0000ffff-abcd", *filled(log, 2)]
    compact(log.folder)

    assert not (log.folder / "predictions-00000001.jsonl").exists()
    assert_all_found(log, ids)


@pytest.mark.usefixtures("_small")
def test_the_writer_goes_on_meanwhile(tmp_path: Path) -> None:
    """With numbers of its own after all that were compacted, also in a later process."""
    log = PredictionLog(tmp_path)
    log.predictions = Segments(tmp_path, "predictions", segment_bytes=200)
    ids = []
    for _ in range(40):
        ids.append(log.new_id())
        log.answered(ids[-1], version="1", seconds=0.1, rows=b'[{"x":1}]', predictions=[1])
        if len(ids) % 10 == 0:
            compact(tmp_path)
    log.close()
    for path in tmp_path.glob("*.jsonl"):
        path.unlink()
    after = PredictionLog(tmp_path)

    assert len(compacted_files(tmp_path, "predictions")) >= 3
    assert int(after.new_id()[:8], 16) > compacted_files(tmp_path, "predictions")[-1][1]


def test_kill_9_of_the_compaction_and_of_the_writer_loses_nothing(tmp_path: Path) -> None:
    """Both are real processes that work on the same log until they are killed, the compaction again and again."""

    def begin(script: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)

    written: list[str] = []
    with begin(WRITER) as writer:
        assert writer.stdout is not None
        reading = threading.Thread(target=lambda: written.extend(map(str.strip, writer.stdout or ())))
        reading.start()
        for number in range(6):
            with begin(COMPACTOR) as compactor:
                assert compactor.stdout is not None
                assert compactor.stdout.readline() == "ready\n"
                before = compacted_files(tmp_path, "predictions")
                eventually(lambda known=before: compacted_files(tmp_path, "predictions") != known)  # it is at work
                time.sleep(0.02 * number)
                compactor.kill()
        eventually(lambda: len(written) > 1000)
        writer.kill()
        reading.join()
    acknowledged = {name for name in written if len(name) == 22}
    by_segment: dict[int, set[str]] = {}
    for name in acknowledged:
        by_segment.setdefault(int(name[:8], 16), set()).add(name)
    reader = LogReader(tmp_path, "predictions", Prediction)
    found = {name for segment, names_ in by_segment.items() for name in reader.scan(segment, names_)}

    assert compacted_files(tmp_path, "predictions")
    assert len(acknowledged) > 1000
    assert acknowledged - found == set()


@pytest.mark.usefixtures("_small")
def test_all_kinds_are_compacted(log: Any) -> None:
    """Shadows too, and labels from wherever they came."""
    for kind in ("shadows", "labels", "imported", "keyed"):
        for segment in range(5):
            log.line(kind, segment, id=f"{segment:08x}-00000001-0001", t=1.0, y=[1.0])
    compact(log.folder)

    assert [name for name in names(log) if name.endswith("parquet")] == [
        "imported-00000000-00000002.parquet",
        "keyed-00000000-00000002.parquet",
        "labels-00000000-00000002.parquet",
        "shadows-00000000-00000002.parquet",
    ]


@pytest.mark.usefixtures("_small")
def test_damaged_lines_are_kept(log: Any) -> None:
    """Whatever stands in a segment is in the file."""
    log.raw("predictions", 0, b'{"id":"torn\n\xff\xfe\n')
    ids = filled(log, 5)

    assert compact(log.folder).lines == 12 + 2
    assert_all_found(log, ids)


@pytest.mark.usefixtures("_small")
def test_history_is_bounded_in_both_forms(log: Any) -> None:
    """The oldest files go; what they had is gone, and nothing else."""
    ids = filled(log, 9)
    compact(log.folder)
    size = sum((log.folder / name).stat().st_size for name in names(log))
    done = compact(log.folder, most_bytes=size - 1)

    assert (done.dropped, done.files) == (1, 1)
    assert find_prediction(log.folder, ids[0]) is None
    assert_all_found(log, ids[12:])


@pytest.mark.usefixtures("_small")
def test_history_is_bounded_by_age(log: Any) -> None:
    """A file goes when its newest line is too old, whatever its size; lines that are not compacted stay."""
    ids = filled(log, 3)
    log.now += 1000
    ids += filled(log, 6)
    compact(log.folder)
    assert expired(log.folder, -math.inf) == expired(log.folder, log.now - 2000) == []
    assert [path.suffix for path in expired(log.folder, log.now - 500)] == [".parquet"]
    done = compact(log.folder, oldest=log.now - 500)

    assert expired(log.folder, log.now - 500) == []
    assert (done.dropped, done.files) == (1, 1)
    assert find_prediction(log.folder, ids[0]) is None
    assert compact(log.folder, oldest=log.now + 500).dropped == 1
    assert find_prediction(log.folder, ids[-1]) is not None


@pytest.mark.usefixtures("_small")
def test_labels_are_joined_with_compacted_predictions(log: Any, state: Path) -> None:
    """A label that comes late finds its prediction in either form."""
    ids = filled(log, 5)
    compact(log.folder)
    for prediction_id in ids:
        log.label(prediction_id, 1.0)
    joined = join_labels(log.folder, state, version="1", window=100, now=log.now)

    assert joined.rows("1") == len(ids)
    assert joined.counts == {}


@pytest.mark.usefixtures("_small")
def test_a_file_without_its_lines_stops_everything(log: Any) -> None:
    """Two truths are a person's business: nothing is removed."""
    filled(log, 5)
    copy = (log.folder / "predictions-00000001.jsonl").read_bytes()
    compact(log.folder)
    log.raw("predictions", 1, copy.replace(b"client 0", b"client 9"))

    with pytest.raises(MeasurementError, match=r"has not the lines of .*predictions-00000001.jsonl"):
        compact(log.folder)
    assert (log.folder / "predictions-00000001.jsonl").exists()


def test_one_at_a_time_and_only_where_there_is_a_log(log: Any) -> None:
    """A second call says who is in the way; a log that was never written says so."""
    with pytest.raises(MeasurementError, match="no prediction was logged yet"):
        compact(log.folder)
    log.predict(1.0)
    with (log.folder / ".compaction.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MeasurementError, match="another process compacts"):
            compact(log.folder)

    assert compact(log.folder).segments == 0


def test_cost_and_memory_are_bounded(log: Any) -> None:
    """A group of 64 MB takes seconds of a processor and a fraction of its size in memory; a look-up milliseconds."""
    line = (
        b'{"id":"%08x-%08x-0000","t":1.0,"v":"1","ms":1.0,"rows":[{"x":%d,"name":"' + b"x" * 300 + b'"}],"y":[1.0]}\n'
    )
    for segment in range(24):
        log.raw("predictions", segment, b"".join(line % (segment, n, n) for n in range(10_900)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    done = compact(log.folder)
    seconds = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = find_prediction(log.folder, "00000007-00000100-0000")
        took.append(time.perf_counter() - began)

    assert done.segments == 16
    assert found is not None
    assert (seconds < 30, min(took) < 0.2, grown < 120_000) == (True, True, True), (seconds, took, grown)
