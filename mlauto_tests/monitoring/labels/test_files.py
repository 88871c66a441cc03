"""Labels as CSV files: imported once by content, into a series of segments of their own."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import DataError
from mlauto.monitoring.labels.files import ImportReport, import_labels, read_label_file
from mlauto.monitoring.labels.joining import join_labels
from mlauto.monitoring.log.reading import Label, LogReader

Run = Callable[[], ImportReport]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "landing" / "labels"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def run(source: Path, log: Any, tmp_path: Path) -> Run:
    """One look into the folder, at a time when all files have settled."""
    return lambda: import_labels(source, log.folder, tmp_path / "imported.json", now=log.now)


def put(source: Path, name: str, text: str, *, time: float = 1_600_000_000.0) -> Path:
    path = source / name
    path.write_text(text)
    os.utime(path, (time, time))
    return path


def imported(log: Any) -> list[Label]:
    return LogReader(log.folder, "imported", Label).since(None, 1 << 30).lines


def test_no_folder_is_no_label(log: Any, tmp_path: Path) -> None:
    """A product without label files costs nothing and writes nothing."""
    report = import_labels(tmp_path / "none", log.folder, tmp_path / "imported.json", now=log.now)

    assert report == ImportReport(files=0, labels=0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_reaches_the_predictions(source: Path, run: Run, log: Any, state: Path) -> None:
    """Its labels are joined like those that came by feedback; lines with one id are the rows of that request."""
    one, two = log.predict(1.0), log.predict(2.0, 3.0)
    put(source, "a.csv", f"id,label\n{two},20\n{one},10.5\n{two},30\n")

    report = run()
    joined = join_labels(log.folder, state, version="1", window=10, now=log.now)

    assert report == ImportReport(files=1, labels=3)
    assert [(entry.y, entry.label) for entry in joined.windows["1"]] == [([1.0], [10.5]), ([2.0, 3.0], [20, 30])]


def test_a_file_is_imported_once(source: Path, run: Run, log: Any) -> None:
    """Not again, not under another name, not after a touch; a file with other content is new."""
    path = put(source, "a.csv", "id,label\nx,1\n")
    assert run().files == 1
    assert run().files == 0
    put(source, "copy.csv", path.read_text())
    os.utime(path, (1.0, 1.0))
    assert run().files == 0

    put(source, "b.csv", "id,label\nx,2\n")
    assert run() == ImportReport(files=1, labels=1)
    assert [line.y for line in imported(log)] == [[1], [2]]


def test_a_file_that_is_being_written_is_left(source: Path, run: Run, log: Any) -> None:
    """What changed within the last second is for the next look."""
    path = put(source, "a.csv", "id,label\nx,1\n", time=log.now - 0.5)
    assert run().files == 0

    os.utime(path, (log.now - 2, log.now - 2))
    assert run().files == 1


def test_the_memory_forgets_files_that_are_gone(source: Path, run: Run, tmp_path: Path) -> None:
    """It grows with the folder, not with history."""
    path = put(source, "a.csv", "id,label\nx,1\n")
    run()
    path.unlink()
    run()

    assert (tmp_path / "imported.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "needs the columns"),
        ("key,label\nx,1\n", "needs the columns id and label"),
        ("id,label\n,1\n", "line 2"),
        ("id,label\nx\n", "line 2"),
    ],
)
def test_a_bad_file_is_named_and_stops_no_other(source: Path, run: Run, log: Any, text: str, problem: str) -> None:
    """Nothing of it is imported, the report says why once, and other files are read."""
    bad = put(source, "a.csv", text)
    put(source, "b.csv", "id,label\nx,1\n")

    report = run()

    assert report.files == 1
    assert len(report.problems) == 1
    assert str(bad) in report.problems[0]
    assert problem in report.problems[0]
    assert run().problems == ()
    assert [line.id for line in imported(log)] == ["x"]


def test_bytes_that_are_no_text(source: Path) -> None:
    """A binary file is an error that names it, not a traceback."""
    path = source / "a.csv"
    path.write_bytes(b"id,label\n\xff\xfe,1\n")

    with pytest.raises(DataError, match=r"a\.csv is no CSV"):
        read_label_file(path)


def test_labels_keep_their_meaning(source: Path) -> None:
    """Numbers become numbers; what only looks like one (`01`) stays text; a byte order mark is no column."""
    path = put(source, "a.csv", '\ufeffid,other,label\na,x,1\nb,x,2.50\nc,x,01\nd,x,nan\ne,x, yes \nf,x,"a,b"\n')

    assert read_label_file(path) == {"a": [1], "b": [2.5], "c": ["01"], "d": [None], "e": ["yes"], "f": ["a,b"]}


def test_ids_without_a_label_wait_for_the_complete_file(source: Path, run: Run, log: Any, state: Path) -> None:
    """Empty labels are none, also of one row of several; nothing is lost, and the file's next state brings them."""
    one, two, three = log.predict(1.0), log.predict(2.0, 3.0), log.predict(4.0)
    path = put(source, "a.csv", f"id,label\n{one},\n{two},20\n{two},NaN\n{three},40\n")

    first = run()
    joined = join_labels(log.folder, state, version="1", window=10, now=log.now)

    assert (first.files, first.labels, first.problems) == (1, 1, ())
    assert first.waiting == (f"{path}: 2 of 3 ids have no label yet: left out",)
    assert [entry.label for entry in joined.windows["1"]] == [[40]]

    put(source, "a.csv", f"id,label\n{one},10\n{two},20\n{two},30\n{three},40\n", time=1_600_000_100.0)
    second = run()
    joined = join_labels(log.folder, state, version="1", window=10, now=log.now)

    assert (second.labels, second.waiting) == (4, ())
    assert [entry.label for entry in joined.windows["1"]] == [[10], [20, 30], [40]]


def test_an_id_that_is_there_twice_counts_once(source: Path, run: Run, log: Any, state: Path) -> None:
    """In one file the last lines of an id are its label, as the newest file's are from file to file."""
    one, two = log.predict(1.0), log.predict(2.0, 3.0)
    put(source, "a.csv", f"id,label\n{one},10\n{two},20\n{two},30\n{one},11\n{two},20\n{two},31\n")
    put(source, "b.csv", f"id,label\n{one},12\n")

    run()
    joined = join_labels(log.folder, state, version="1", window=10, now=log.now)

    assert [entry.label for entry in joined.windows["1"]] == [[12], [20, 31]]
    assert joined.rows("1") == 3
    assert joined.counts == {}


def test_large_files_fill_bounded_segments(source: Path, run: Run, log: Any) -> None:
    """A new segment is begun when one is full, and every label is there."""
    rows = 130_000
    put(source, "a.csv", "id,label\n" + "".join(f"00000000-{n:08x}-0000,{n}.25\n" for n in range(rows)))

    assert run().labels == rows
    sizes = LogReader(log.folder, "imported", Label).sizes()
    assert len(sizes) >= 2
    assert max(sizes.values()) < 6 << 20
    assert [line.y for line in imported(log)] == [[n + 0.25] for n in range(rows)]


KEY = ("time", "station")


def keyed(log: Any) -> list[tuple[str, list[Any]]]:
    lines = LogReader(log.folder, "keyed", Label).since(None, 1 << 30).lines
    return [(line.id, line.y) for line in lines]


def by_key(source: Path, log: Any, tmp_path: Path, target: str = "demand") -> ImportReport:
    return import_labels(source, log.folder, tmp_path / "imported.json", now=log.now, key=KEY, target=target)


def test_a_file_with_key_columns(source: Path, log: Any, tmp_path: Path) -> None:
    """Its labels go to a log of their own; the last line of a key counts, and a gap is left out."""
    put(source, "a.csv", "station,time,demand\nA,2026-05-01,1\nB,2026-05-01 00:00,2\nA,2026-05-01T00:00Z,3\nC,1,\n")
    report = by_key(source, log, tmp_path)

    assert keyed(log) == [
        ('{"time":"2026-05-01T00:00:00","station":"A"}', [3]),
        ('{"time":"2026-05-01T00:00:00","station":"B"}', [2]),
    ]
    assert (report.files, report.labels, report.problems) == (1, 2, ())
    assert "1 of 3 keys have no label yet" in report.waiting[0]
    assert by_key(source, log, tmp_path).files == 0


def test_the_label_column_may_be_called_label(source: Path, log: Any, tmp_path: Path) -> None:
    """Then it counts, and the target's name is another column."""
    put(source, "a.csv", "station,time,demand,label\nA,1,1,2\n")
    by_key(source, log, tmp_path)

    assert [y for _, y in keyed(log)] == [[2]]


def test_ids_come_first(source: Path, log: Any, tmp_path: Path) -> None:
    """A file that names predictions is joined by them, whatever else it has."""
    put(source, "a.csv", "id,station,time,label\nx,A,1,2\n")
    by_key(source, log, tmp_path)

    assert (keyed(log), [line.id for line in imported(log)]) == ([], ["x"])


def test_parquet_files(source: Path, log: Any, tmp_path: Path) -> None:
    """With ids or keys; times and numbers as they are."""
    import datetime

    import pyarrow
    import pyarrow.parquet

    day = datetime.datetime(2026, 5, 1, 12)
    tables = {
        "a": {"time": [day, day], "station": [7, 8], "demand": [1.5, None]},
        "b": {"id": ["x", "x"], "label": ["yes", "no"]},
    }
    for name, columns in tables.items():
        pyarrow.parquet.write_table(pyarrow.table(columns), source / f"{name}.parquet")
        os.utime(source / f"{name}.parquet", (1.0, 1.0))
    (source / "c.parquet").write_bytes(b"no Parquet")
    os.utime(source / "c.parquet", (1.0, 1.0))
    report = by_key(source, log, tmp_path)

    assert keyed(log) == [('{"time":"2026-05-01T12:00:00","station":"7"}', [1.5])]
    assert [(line.id, line.y) for line in imported(log)] == [("x", ["yes", "no"])]
    assert [problem.partition(":")[0] for problem in report.problems] == [f"{source / 'c.parquet'} is no Parquet file"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("station,demand\nA,1\n", "needs the columns time and station and demand, it has"),
        ("station,time,demand\nA,1,1\nA,,1\n", "line 3 has no time, which is of the key"),
        ("station,time\nA,1\n", "needs the columns time and station and demand"),
    ],
)
def test_a_file_without_its_key_is_a_problem(source: Path, log: Any, tmp_path: Path, text: str, problem: str) -> None:
    """It names the file and the column, and takes nothing of it."""
    path = put(source, "a.csv", text)
    report = by_key(source, log, tmp_path)

    assert report.problems[0].startswith(f"{path} ")
    assert problem in report.problems[0]
    assert keyed(log) == []
