"""Reading a series from its beginning: each line once, whatever its form, and no more than was asked for."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.inorder import Position, read_on
from mlauto_tests.monitoring.log.test_query import pack

COLUMNS = ("id", "t")


def names(lines: dict[int, list[bytes]]) -> list[str]:
    return [msgspec.json.decode(line)["id"] for found in lines.values() for line in found]


@pytest.mark.parametrize("seed", range(40))
def test_each_line_comes_once(log: Any, seed: int) -> None:
    """While segments are written, two at a time, and compacted."""
    draw = random.Random(seed)
    position, read, written, packed = Position(), list[str](), list[str](), 0
    log.raw("predictions", 0, b"")
    for _ in range(40):
        match draw.choice("wwwwsrrc"):
            case "w":
                newest = log.segment
                log.segment = draw.randint(max(packed, newest - 1), newest)
                written.append(log.predict(1.0))
                log.segment = newest
            case "s":
                log.segment += 1
                log.raw("predictions", log.segment, b"")  # numbers are given in order
            case "r":
                part = read_on(log.folder, "predictions", position, draw.choice([1, 300, 9999]), COLUMNS, segments=99)
                read += names(part.lines)
                position = part.position
            case "c" if log.segment - 2 > packed:
                for number in range(packed, log.segment - 1):
                    log.raw("predictions", number, b"")
                pack(log.folder, packed, log.segment - 2)
                packed = log.segment - 1
    more = True
    while more:
        part = read_on(log.folder, "predictions", position, 300, COLUMNS, segments=99)
        read, position, more = read + names(part.lines), part.position, part.more

    assert sorted(read) == sorted(written)
    assert position.floor >= packed


def test_only_the_newest_segments(log: Any) -> None:
    """A reader that lost its place does not begin years ago."""
    made = []
    for segment in range(5):
        log.segment = segment
        made.append(log.predict(1.0))
    pack(log.folder, 0, 2)

    part = read_on(log.folder, "predictions", Position(), 1 << 20, COLUMNS, segments=3)
    assert (names(part.lines), part.more) == (made[2:], False)


def test_an_unfinished_line_is_left(log: Any) -> None:
    """Until its end is there."""
    name = log.predict(1.0)
    log.raw("predictions", 0, b'{"id":"x","t":')
    first = read_on(log.folder, "predictions", Position(), 1 << 20, COLUMNS, segments=9)
    log.raw("predictions", 0, b"1.0}\n")
    second = read_on(log.folder, "predictions", first.position, 1 << 20, COLUMNS, segments=9)

    assert (names(first.lines), names(second.lines)) == ([name], ["x"])


def test_a_dropped_segment_is_passed_over(log: Any) -> None:
    """What is gone cannot be read, and holds up nobody."""
    log.predict(1.0)
    log.segment = 1
    name = log.predict(1.0)
    (log.folder / "predictions-00000000.jsonl").unlink()

    assert names(read_on(log.folder, "predictions", Position(), 1 << 20, COLUMNS, segments=9).lines) == [name]


def test_no_log_is_no_line(tmp_path: Path) -> None:
    """Nor an error."""
    part = read_on(tmp_path / "none", "predictions", Position(), 1, COLUMNS, segments=9)

    assert (part.lines, part.more) == ({}, False)


def test_a_segment_that_cannot_be_read_is_an_error(log: Any) -> None:
    """It is not taken for an empty one."""
    (log.folder / "predictions-00000000.jsonl").mkdir(parents=True)

    with pytest.raises(MeasurementError, match="cannot be read"):
        read_on(log.folder, "predictions", Position(), 1, COLUMNS, segments=9)
