"""Segments as Parquet: every line comes out as it went in, and is found by its id."""

import json
from pathlib import Path

import pyarrow
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import (
    Writer,
    compacted_files,
    compacted_lines,
    holds_lines,
    lines_of,
    segments_of,
    table_of,
)
from mlauto.monitoring.log.reading import Label, LogReader, Prediction

LINES = [
    b'{"id":"00000000-00000001-abcd","t":1700000000.125,"v":"3","ms":0.217,"rows":[{"a":1,"b":"x\\u00e9"}],"y":[1.5]}',
    b'{"id":"00000000-00000002-abcd","t":1,"v":"3","ms":1e-3,"rows":[],"y":["a",null],"p":[[0.1,0.9],[1.0,0.0]]}',
    b'{"id":"00000000-00000003-abcd","t":2.5,"v":null,"ms":4.0,"error":"no version is \\"ready\\"","code":503}',
    b'{"id":"00000000-00000004-abcd","t":2.5,"v":"3","y":[1],"client_id":"mine","retried_from":"4"}',
]
ODD = [
    b'{"id":"00000000-00000005-abcd","t":2.5,"y":[1],"field_of_a_newer_version":{"x":[1]}}',
    b'{"id":"00000000-00000006-abcd","t":2.5,"code":99999999999999}',
    b'{"id":"00000000-0000',
    b"\xff\xfe nonsense",
]


def write_compacted(path: Path, segments: dict[int, bytes]) -> list[int]:
    """A Parquet file of these segments, and the number of their lines."""
    with Writer(path) as writer:
        return [writer.add(number, content) for number, content in segments.items()]


def test_lines_come_out_as_they_went_in() -> None:
    """Every field, every number, text in any language; null and absent mean the same."""
    table = table_of(b"\n".join([*LINES, b""]))

    for before, after in zip(LINES, lines_of(table), strict=True):
        assert json.loads(after) == {name: value for name, value in json.loads(before).items() if value is not None}
    assert table.column("text").null_count == len(LINES)
    assert table.schema.field("rows").type == pyarrow.string()


def test_no_line_is_lost_because_it_is_odd() -> None:
    """Unknown fields, numbers out of range and damaged lines are kept byte for byte, by id where they have one."""
    table = table_of(b"\n".join(ODD))

    assert lines_of(table) == ODD
    assert table.column("id").to_pylist() == ["00000000-00000005-abcd", "00000000-00000006-abcd", None, None]


def test_an_empty_segment_is_an_empty_table() -> None:
    """With the columns all the same."""
    table = table_of(b"\n")

    assert table.num_rows == 0
    assert lines_of(table) == []


def test_lines_are_found_by_segment_and_id(tmp_path: Path) -> None:
    """Only those of that segment; an id that is not there gives nothing."""
    path = tmp_path / "predictions-00000000-00000007.parquet"
    write_compacted(path, {0: b"\n".join(LINES), 7: b"\n".join(ODD)})

    found = compacted_lines(path, 0, {"00000000-00000002-abcd", "00000000-00000005-abcd"})

    assert [json.loads(line)["id"] for line in found] == ["00000000-00000002-abcd"]
    assert compacted_lines(path, 7, ["00000000-00000005-abcd"]) == ODD[:1]
    assert compacted_lines(path, 7, ["00000000-00000001-abcd"]) == []
    assert compacted_lines(path, 3, ["00000000-00000001-abcd"]) == []
    assert segments_of(path) == [0, 7]


def test_an_empty_segment_leaves_no_trace(tmp_path: Path) -> None:
    """Its number is not in the file, and the others' row groups are theirs."""
    path = tmp_path / "predictions-00000000-00000002.parquet"
    counts = write_compacted(path, {0: b"", 1: b"\n".join(LINES), 2: b"\n"})

    assert counts == [0, 4, 0]
    assert segments_of(path) == [1]
    assert holds_lines(path, 0, b"")
    assert holds_lines(path, 2, b"\n")
    assert not holds_lines(path, 2, LINES[0])
    assert len(compacted_lines(path, 1, ["00000000-00000001-abcd"])) == 1


def test_readers_see_what_they_saw_in_the_segment(tmp_path: Path) -> None:
    """A scan gives equal predictions and labels from either form."""
    (tmp_path / "predictions-00000000.jsonl").write_bytes(b"\n".join(LINES) + b"\n")
    ids = [json.loads(line)["id"] for line in LINES]
    reader = LogReader(tmp_path, "predictions", Prediction)
    before = reader.scan(0, ids)
    write_compacted(tmp_path / "predictions-00000000-00000000.parquet", {0: b"\n".join(LINES)})
    (tmp_path / "predictions-00000000.jsonl").unlink()

    assert reader.scan(0, ids) == before
    assert len(before) == 4
    assert LogReader(tmp_path, "labels", Label).scan(0, ids) == {}


def test_files_are_known_by_their_names(tmp_path: Path) -> None:
    """Of one kind, oldest first; anything else is passed over, and no folder is no file."""
    for name in ("predictions-00000010-0000001f", "predictions-00000000-0000000f", "labels-00000000-0000000f"):
        (tmp_path / f"{name}.parquet").touch()
    (tmp_path / ".compacting-predictions.parquet").touch()

    found = compacted_files(tmp_path, "predictions")

    assert [(first, last) for first, last, _ in found] == [(0, 15), (16, 31)]
    assert compacted_files(tmp_path / "none", "predictions") == []
    with pytest.raises(MeasurementError, match="cannot be listed"):
        compacted_files(found[0][2], "predictions")


def test_a_damaged_file_is_an_error_and_a_dropped_one_is_not(tmp_path: Path) -> None:
    """The first must not pass for `never predicted`; the second is what a bound on history means."""
    path = tmp_path / "predictions-00000000-00000007.parquet"
    assert compacted_lines(path, 0, ["x"]) == []
    path.write_bytes(b"PAR1 nonsense PAR1")

    with pytest.raises(MeasurementError, match="move it away"):
        compacted_lines(path, 0, ["x"])
    with pytest.raises(MeasurementError, match="move it away"):
        holds_lines(path, 0, b"")


def test_what_is_not_the_same_is_found(tmp_path: Path) -> None:
    """Reading back compares every value: one byte, one line more or less, another order."""
    path = tmp_path / "predictions-00000000-00000000.parquet"
    content = b"\n".join([*LINES, *ODD])
    write_compacted(path, {0: content})

    assert holds_lines(path, 0, content + b"\n")
    assert not holds_lines(path, 0, content.replace(b"0.217", b"0.218"))
    assert not holds_lines(path, 0, b"\n".join([*LINES, *ODD[1:]]))
    assert not holds_lines(path, 0, b"\n".join([*ODD, *LINES]))


def test_damage_on_the_disk_is_found(tmp_path: Path) -> None:
    """Wherever a bit of the lines' data flips, reading back says so, one way or the other."""
    path = tmp_path / "predictions-00000000-00000000.parquet"
    content = b"\n".join(LINES * 50)
    write_compacted(path, {0: content})
    whole = path.read_bytes()
    start = whole.index(magic := b"\x28\xb5\x2f\xfd") + len(magic) + 4
    for place in range(start, start + 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            same = holds_lines(path, 0, content)
        except MeasurementError:
            same = False
        assert not same


def test_a_parquet_file_that_is_not_ours_is_said_so(tmp_path: Path) -> None:
    """It has no list of segments."""
    from pyarrow import parquet

    path = tmp_path / "predictions-00000000-00000000.parquet"
    parquet.write_table(table_of(LINES[0]), path)

    with pytest.raises(MeasurementError, match="move it away"):
        compacted_lines(path, 0, ["x"])
