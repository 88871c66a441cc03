"""Segments of lines: whole, numbered, bounded, each with one writer, and continued after a crash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.serving.log import segments as module
from mlauto.serving.log.durability import Syncer
from mlauto.serving.log.segments import Segments, hold, segment_numbers

WRITER = """
import sys
from pathlib import Path
from mlauto.serving.log.segments import Segments
segments = Segments(Path(sys.argv[1]), "labels")
segments.append(b"theirs")
print(segments.number, flush=True)
sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_segments_are_bounded(tmp_path: Path) -> None:
    """The oldest files are dropped beyond the bound; numbers only grow."""
    segments = Segments(tmp_path, "labels", segment_bytes=10, most_segments=3)
    for number in range(10):
        segments.append(b"0123456789" + str(number).encode())

    assert names(tmp_path) == [f"labels-{n:08x}.jsonl" for n in (7, 8, 9)]


def test_bytes_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few but huge lines do not fill the disk."""
    monkeypatch.setattr(module, "MOST_BYTES", 5_000)
    segments = Segments(tmp_path, "predictions", segment_bytes=10)
    for _ in range(20):
        segments.append(b"x" * 1_000)

    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8_000


def test_the_syncer_drops_what_is_beyond_the_bounds(tmp_path: Path) -> None:
    """Looking through old files is nothing that a request should wait for."""
    syncer = Syncer(bound=60.0)
    segments = Segments(tmp_path, "labels", segment_bytes=10, most_segments=3, syncer=syncer)
    for _ in range(10):
        segments.append(b"0123456789")
    before = len(names(tmp_path))
    syncer.stop()

    assert (before, names(tmp_path)) == (10, [f"labels-{n:08x}.jsonl" for n in (7, 8, 9)])


def test_two_writers_never_share_a_segment(tmp_path: Path) -> None:
    """Each takes a new one while another holds the newest; both may go on for as long as they like."""
    first, second = Segments(tmp_path, "labels", segment_bytes=20), Segments(tmp_path, "labels", segment_bytes=20)
    first.append(b"first")
    second.append(b"second")
    for number in range(6):
        first.append(b"first %d" % number)
        second.append(b"second %d" % number)

    contents = [(tmp_path / name).read_text().split("\n") for name in names(tmp_path)]
    assert all(len({line.partition(" ")[0] for line in lines if line}) == 1 for lines in contents)
    assert sum(len(lines) - 1 for lines in contents) == 14


def test_another_process_s_segment_is_left_to_it(tmp_path: Path) -> None:
    """Until it ends, however it ends; then the next writer goes on where it stopped."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "0\n"
        meanwhile = Segments(tmp_path, "labels")
        meanwhile.append(b"ours")
        meanwhile.close()
        (tmp_path / "labels-00000001.jsonl").unlink()
        held = hold(tmp_path / "labels-00000000.jsonl")
        other.kill()
    after = Segments(tmp_path, "labels")
    after.append(b"ours")

    assert (meanwhile.number, held, after.number) == (1, None, 0)
    assert (tmp_path / "labels-00000000.jsonl").read_bytes() == b"theirs\nours\n"


def test_a_segment_that_is_written_to_is_not_dropped(tmp_path: Path) -> None:
    """However old it is: its writer's lines would be lost without a word."""
    slow = Segments(tmp_path, "labels", segment_bytes=10, most_segments=3)
    slow.append(b"slow")
    quick = Segments(tmp_path, "labels", segment_bytes=10, most_segments=3)
    for _ in range(10):
        quick.append(b"0123456789")
    slow.append(b"still")

    assert (tmp_path / "labels-00000000.jsonl").read_bytes() == b"slow\nstill\n"
    assert len(names(tmp_path)) == 3


def test_what_was_compacted_keeps_its_numbers(tmp_path: Path) -> None:
    """A new segment comes after the last one of every compacted file."""
    (tmp_path / "predictions-00000003-00000012.parquet").touch()
    (tmp_path / "labels-00000001.jsonl").touch()
    (tmp_path / "predictions-00000020.jsonl.tmp").touch()
    segments = Segments(tmp_path, "predictions")

    assert segment_numbers(tmp_path, "predictions") == {0x12}
    assert segments.number == 0x12
    segments.append(b"line")
    assert segments.number == 0x13


def test_a_segment_that_went_away_is_not_resumed(tmp_path: Path) -> None:
    """Compacted between our look and our lock: what is written to it would be gone."""
    path = tmp_path / "labels-00000000.jsonl"
    path.write_bytes(b"line\n")
    file = os.open(path, os.O_WRONLY)
    path.unlink()

    assert hold(path) is None
    assert not module._lock(file)
    os.close(file)


def test_extending_goes_on_in_a_full_segment(tmp_path: Path) -> None:
    """A line whose id names the segment stays in it; `append` is what begins the next."""
    segments = Segments(tmp_path, "predictions", segment_bytes=10)
    segments.append(b"0123456789")
    segments.extend(b"late")
    segments.append(b"next")

    assert (tmp_path / "predictions-00000000.jsonl").read_bytes() == b"0123456789\nlate\n"
    assert (tmp_path / "predictions-00000001.jsonl").read_bytes() == b"next\n"


def test_what_is_written_is_synced_and_closed_by_the_syncer(tmp_path: Path) -> None:
    """One task for any number of lines until it ran; a segment that is finished is synced before it is closed."""
    syncer = Syncer(bound=0.01)
    segments = Segments(tmp_path, "labels", segment_bytes=50, syncer=syncer)
    for _ in range(20):
        segments.append(b"0123456789")
    segments.close()
    syncer.stop()
    open_files = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]

    assert syncer.failures == 0
    assert not any(str(tmp_path) in name for name in open_files)
    assert sum(path.read_bytes().count(b"\n") for path in tmp_path.iterdir()) == 20


def test_the_newest_number_is_looked_up_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another worker's segments are seen after a second; asking often costs nothing."""
    segments = Segments(tmp_path, "predictions")
    (tmp_path / "predictions-00000007.jsonl").touch()
    assert segments.newest() == 0
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)

    assert segments.newest() == 7
