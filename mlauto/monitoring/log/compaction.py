"""Full segments of the prediction log become Parquet files, a third of the size or less; history is bounded in all.

It may be killed at any point and be called again: a file appears whole or not at all, segments go only when the file
that has their lines was read back, and those that a killed call left beside their file go in the next call. A segment
that a process may still write to is left alone, and no writer ever waits.
"""

import contextlib
import fcntl
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import Writer, compacted_files, holds_lines, segments_of
from mlauto.monitoring.log.spans import keep_spans, spans_of
from mlauto.serving.log.segments import hold, segment_sizes

__all__ = ["MOST_BYTES", "Compaction", "Group", "compact", "due_groups", "expired"]

KINDS = ("predictions", "shadows", "labels", "imported", "keyed")
GROUP_BYTES = 64 << 20  # 16 full segments to a file
GROUP_SEGMENTS = 64
# The newest part stays as lines: metrics, joins and evidence read it at every tick.
KEPT_BYTES = 32 << 20
KEPT_SEGMENTS = 64
MOST_BYTES = 1 << 30  # of one kind, in both forms, unless the product says otherwise
TEMPORARY = ".compacting-"


@dataclass(frozen=True)
class Group:
    """Segments of one kind that belong into one file."""

    kind: str
    segments: tuple[int, ...]

    @property
    def name(self) -> str:
        """Equal for equal work: the kind and the last segment."""
        return f"{self.kind}-{self.segments[-1]:08x}"


@dataclass(frozen=True, kw_only=True)
class Compaction:
    """What one call did, and what there is now in Parquet: `files` of `file_bytes`."""

    segments: int
    lines: int
    bytes_before: int
    bytes_after: int
    dropped: int
    files: int
    file_bytes: int


def due_groups(folder: Path) -> list[Group]:
    """The groups that are large enough to be compacted now, oldest first; a look at the folder's names and sizes."""
    return [group for kind in KINDS for group in _groups(kind, segment_sizes(folder, kind))]


def expired(folder: Path, oldest: float) -> list[Path]:
    """Files whose lines are all older than `oldest`, which the next `compact` drops. Raises `MeasurementError`."""
    if oldest == -math.inf:
        return []
    files = [file for kind in KINDS for file in spans_of(folder, kind)]
    return [path for path, span in files if span.high is not None and span.high < oldest]


def _groups(kind: str, sizes: dict[int, int]) -> Iterator[Group]:
    newest_first = sorted(sizes, reverse=True)
    kept = bytes_kept = 0
    while kept < len(newest_first) and kept < KEPT_SEGMENTS and (not kept or bytes_kept < KEPT_BYTES):
        bytes_kept += sizes[newest_first[kept]]
        kept += 1
    gathered: list[int] = []
    for number in newest_first[: kept - 1 if kept else 0 : -1] if kept < len(newest_first) else []:
        gathered.append(number)
        if sum(sizes[n] for n in gathered) >= GROUP_BYTES or len(gathered) >= GROUP_SEGMENTS:
            yield Group(kind, tuple(gathered))
            gathered = []


def compact(folder: Path, *, most_bytes: int = MOST_BYTES, oldest: float = -math.inf) -> Compaction:
    """Compact what is due, finish what a killed call left, and drop the oldest files beyond the bounds.

    Of each kind `most_bytes` are kept, and no file whose lines are all older than `oldest` (seconds since the epoch).
    Raises `MeasurementError` when another process compacts the same log, when a file was damaged meanwhile, or when the
    disk fails; no line is lost then.
    """
    segments = lines = before = after = dropped = 0
    with _alone(folder):
        for kind in KINDS:
            _finish(folder, kind)
        for group in due_groups(folder):
            made = _compact(folder, group)
            if made is not None:
                written, count, read = made
                segments += len(group.segments)
                lines, before, after = lines + count, before + read, after + written
        for kind in KINDS:
            dropped += _drop(folder, kind, most_bytes, oldest)
            keep_spans(folder, kind)
    files = [path for kind in KINDS for _, _, path in compacted_files(folder, kind)]
    return Compaction(
        segments=segments,
        lines=lines,
        bytes_before=before,
        bytes_after=after,
        dropped=dropped,
        files=len(files),
        file_bytes=sum(path.stat().st_size for path in files),
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One call at a time for a folder; a killed one's unfinished file is cleared away."""
    if not folder.is_dir():
        raise MeasurementError(f"{folder} is not there: no prediction was logged yet")
    with (folder / ".compaction.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MeasurementError(f"another process compacts {folder}: wait for it") from None
        for unfinished in folder.glob(f"{TEMPORARY}*"):
            unfinished.unlink()
        yield


def _path(folder: Path, kind: str, segment: int) -> Path:
    return folder / f"{kind}-{segment:08x}.jsonl"


def _compact(folder: Path, group: Group) -> tuple[int, int, int] | None:
    """Bytes written, lines, and bytes read; None where too little is left, as its writers are not done with it."""
    with contextlib.ExitStack() as held:
        segments = [number for number in group.segments if _hold(held, _path(folder, group.kind, number))]
        if not segments:
            return None
        temporary = folder / f"{TEMPORARY}{group.name}"
        target = folder / f"{group.kind}-{segments[0]:08x}-{segments[-1]:08x}.parquet"
        read = lines = 0
        with Writer(temporary) as writer:
            for number in segments:
                content = _path(folder, group.kind, number).read_bytes()
                lines += writer.add(number, content)
                read += len(content)
        for number in segments:
            _check(temporary, number, _path(folder, group.kind, number))
        os.replace(temporary, target)
        _sync(folder)
        for number in segments:
            _path(folder, group.kind, number).unlink(missing_ok=True)
        return target.stat().st_size, lines, read


def _hold(held: contextlib.ExitStack, path: Path) -> bool:
    """Keep writers away from a segment until the block ends; False when one has it, or it is gone."""
    file = hold(path)
    if file is None:
        return False
    held.callback(os.close, file)
    return True


def _check(file: Path, number: int, segment: Path) -> None:
    """Read a segment's lines back. Raises `MeasurementError` when they are not what the segment has."""
    if not holds_lines(file, number, segment.read_bytes()):
        raise MeasurementError(f"{file} has not the lines of {segment}: look for a failing disk, or move {file} away")


def _sync(folder: Path) -> None:
    """The file's name must be on disk before the segments' names go."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _finish(folder: Path, kind: str) -> None:
    """Remove the segments that a killed call left beside the file that has their lines."""
    sizes = segment_sizes(folder, kind)
    for first, last, path in compacted_files(folder, kind):
        if any(first <= number <= last for number in sizes):
            for number in sizes.keys() & set(segments_of(path)):
                segment = _path(folder, kind, number)
                _check(path, number, segment)
                segment.unlink()


def _drop(folder: Path, kind: str, most_bytes: int, oldest: float) -> int:
    """Remove the oldest files while both forms together exceed the bound, and those that are too old; how many."""
    files = [(path, span, path.stat().st_size) for path, span in spans_of(folder, kind)]
    total = sum(size for _, _, size in files) + sum(segment_sizes(folder, kind).values())
    dropped = 0
    for path, span, size in files:
        if total > most_bytes or (span.high is not None and span.high < oldest):
            path.unlink()
            total -= size
            dropped += 1
    return dropped
