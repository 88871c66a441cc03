"""Questions to the log in both forms: equal to looking at every line, and reading no more than they need."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import Writer
from mlauto.monitoring.log.query import Counted, Query, count, tables
from mlauto.monitoring.log.spans import keep_spans

LINES = dict[int, list[dict[str, Any]]]


def pack(folder: Path, first: int, last: int, kind: str = "predictions", *, keep: bool = False) -> Path:
    """Turn segments into a file; `keep` leaves them beside it, as a compaction that was killed does."""
    path = folder / f"{kind}-{first:08x}-{last:08x}.parquet"
    with Writer(path) as writer:
        for number in range(first, last + 1):
            segment = folder / f"{kind}-{number:08x}.jsonl"
            writer.add(number, segment.read_bytes())
            if not keep:
                segment.unlink()
    return path


def ids(folder: Path, query: Query) -> list[str]:
    return [name for table in tables(folder, query, ("id",)) for name in table.column("id").to_pylist()]


def written(log: Any, draw: random.Random, segments: int) -> list[dict[str, Any]]:
    """A log of several versions with failures and lines of a newer version, times nearly in order."""
    for segment in range(segments):
        log.segment = segment
        for _ in range(draw.randint(0, 6)):
            log.now += draw.random()
            t, v = log.now - draw.random(), draw.choice("123")
            if draw.random() < 0.2:
                log.fail(v=v if draw.random() < 0.5 else None, t=t)
            else:
                log.predict(1.0, v=v, t=t, **({"newer": [1]} if draw.random() < 0.1 else {}))
        (log.folder / f"predictions-{segment:08x}.jsonl").touch()
    paths = sorted(log.folder.glob("predictions-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def wanted(line: dict[str, Any], query: Query) -> bool:
    failed = line.get("error") is not None
    return (
        query.since <= line["t"] < query.until
        and query.version in (None, line.get("v"))
        and query.failed in (None, failed)
    )


@pytest.mark.parametrize("seed", range(40))
def test_a_query_finds_what_looking_at_every_line_finds(log: Any, seed: int) -> None:
    """Whatever the times, versions, and the form that the lines have just now."""
    draw = random.Random(seed)
    log.folder.mkdir()
    lines = written(log, draw, segments := draw.randint(1, 9))
    first = 0
    while first < segments - 1 and draw.random() < 0.8:
        last = min(segments - 1, first + draw.randint(0, 2))
        pack(log.folder, first, last, keep=draw.random() < 0.2)
        first = last + 1
    if draw.random() < 0.5:
        keep_spans(log.folder, "predictions")
    times = sorted([line["t"] for line in lines] or [0.0])
    for _ in range(6):
        ends = sorted(draw.choice([*times, -math.inf, math.inf]) for _ in range(2))
        version, failed = draw.choice([None, "1", "2", "9"]), draw.choice([None, True, False])
        query = Query(since=ends[0], until=ends[1], version=version, failed=failed)
        expected = [line for line in lines if wanted(line, query)]

        assert sorted(ids(log.folder, query)) == sorted(line["id"] for line in expected)
        bad = sum(line.get("error") is not None for line in expected)
        assert count(log.folder, query) == Counted(requests=len(expected), failed=bad)


def test_nothing_logged_is_nothing_found(tmp_path: Path) -> None:
    """And there is no error rate of nothing."""
    found = count(tmp_path / "none", Query())

    assert found == Counted(requests=0, failed=0)
    assert found.error_rate is None


def test_row_groups_of_other_times_and_versions_are_not_read(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor columns that nobody asked for: `rows` is the most of a log."""
    import pyarrow.parquet

    for segment in range(4):
        log.segment = segment
        log.predict(1.0, v=str(segment), t=log.now + 100 * segment)
    pack(log.folder, 0, 3)
    read: list[tuple[int, list[str]]] = []
    plain = pyarrow.parquet.ParquetFile.read_row_group

    def counted(self: Any, group: int, columns: list[str], **how: Any) -> Any:
        read.append((group, sorted(columns)))
        return plain(self, group, columns=columns, **how)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read_row_group", counted)
    assert count(log.folder, Query(since=log.now + 150)).requests == 2
    assert count(log.folder, Query(version="1")).requests == 1
    assert read == [(2, ["error", "t"]), (3, ["error", "t"]), (1, ["error", "t", "v"])]


def test_files_of_other_times_are_not_opened(log: Any) -> None:
    """Their times are known from the file beside them: a damaged one of another day stops nothing."""
    log.predict(1.0, t=log.now)
    old = pack(log.folder, 0, 0)
    log.segment = 1
    name = log.predict(1.0, t=log.now + 100)
    pack(log.folder, 1, 1)
    keep_spans(log.folder, "predictions")
    old.write_bytes(b"torn")

    assert ids(log.folder, Query(since=log.now + 50)) == [name]
    with pytest.raises(MeasurementError, match=r"00000000\.parquet cannot be read"):
        ids(log.folder, Query())


def test_a_segment_that_is_compacted_meanwhile_comes_once(log: Any) -> None:
    """Between the look at the folder and the reading it changed its form; one that was dropped is passed over."""
    names = []
    for segment in range(3):
        log.segment = segment
        names.append(log.predict(1.0))
    asked = tables(log.folder, Query(), ("id",))
    found = next(asked).column("id").to_pylist()
    pack(log.folder, 1, 1)
    (log.folder / "predictions-00000002.jsonl").unlink()
    found += [name for table in asked for name in table.column("id").to_pylist()]

    assert found == names[:2]


def test_damaged_lines_are_passed_over(log: Any) -> None:
    """In lines and in files."""
    name = log.predict(1.0)
    log.raw("predictions", 0, b'{"id":"00000000-0000\n\xff\xfe\n{"id":"x","t":1.0,"rows":"\xff"}\n')

    assert ids(log.folder, Query(since=log.now)) == [name]
    pack(log.folder, 0, 0)
    assert ids(log.folder, Query(since=log.now)) == [name]


def test_a_file_without_a_column_of_today_has_nothing_in_it(log: Any) -> None:
    """Files of older versions do not have the column of keys."""
    import pyarrow.parquet

    log.predict(1.0)
    path = pack(log.folder, 0, 0)
    table = pyarrow.parquet.read_table(path)
    metadata = pyarrow.parquet.read_metadata(path).metadata
    pyarrow.parquet.write_table(table.drop_columns(["k"]).replace_schema_metadata(metadata), path)

    found = next(tables(log.folder, Query(), ("id", "k")))
    assert found.column("k").to_pylist() == [None]
