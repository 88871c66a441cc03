"""Reading a series of the log from its beginning, each line once, a bounded part at a time, in whichever form it is."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import compacted_files, opened, segment_lines
from mlauto.serving.log.segments import segment_sizes

__all__ = ["Part", "Position", "read_on"]


class Position(msgspec.Struct, frozen=True):
    """How far a series was read: every segment below `floor`, and of others so many bytes and lines; no line twice."""

    floor: int = 0
    read: dict[int, tuple[int, int]] = {}


@dataclass(frozen=True)
class Part:
    """Lines by segment in the order of the segments, where to go on, and whether there was more than the limit."""

    lines: dict[int, list[bytes]]
    position: Position
    more: bool


def read_on(
    folder: Path, kind: str, position: Position, limit: int, columns: Collection[str], *, segments: int
) -> Part:
    """The next whole lines, oldest first, until `limit` bytes were read; of the newest `segments` segments only.

    Lines that were compacted come with the fields `columns` only. A last line without its newline is left. Raises
    `MeasurementError` when the log is there and cannot be read.
    """
    reader = _Reader(folder, kind, position, columns)
    first, last = reader.first, max(reader.numbers, default=-1)
    lines: dict[int, list[bytes]] = {}
    read, floor, taken = dict(position.read), max(position.floor, last - segments + 1, first), 0
    more, contiguous = False, True
    for number in sorted(n for n in reader.numbers if n >= floor):
        if taken >= limit:
            more = True
            break
        found, read[number], finished = reader.next_of(number)
        taken += sum(map(len, found)) or len(found)
        if found:
            lines[number] = found
        contiguous = contiguous and finished
        if contiguous:
            floor = number + 1
    return Part(lines, Position(floor, {n: at for n, at in read.items() if n >= floor}), more)


class _Reader:
    def __init__(self, folder: Path, kind: str, position: Position, columns: Collection[str]) -> None:
        self._folder, self._kind, self._position, self._columns = folder, kind, position, columns
        self._sizes = segment_sizes(folder, kind)  # before the files: what is compacted in between is in both
        self._files: dict[int, Path] = {}
        for low, high, path in compacted_files(folder, kind):
            self._files |= dict.fromkeys(range(max(low, position.floor), high + 1), path)
        self.numbers = self._sizes.keys() | self._files.keys()
        self.first = min(self.numbers, default=0)

    def next_of(self, number: int) -> tuple[list[bytes], tuple[int, int], bool]:
        """A segment's unread lines, how far it is read then, and whether nothing can be added to it."""
        at, lines = self._position.read.get(number, (0, 0))
        if number in self._sizes:
            try:
                return self._of_lines(number, at, lines)
            except FileNotFoundError:  # compacted meanwhile, or dropped
                return [], (at, lines), False
        try:
            return self._of_file(number, lines), (at, lines), True
        except FileNotFoundError:
            return [], (at, lines), True

    def _of_lines(self, number: int, at: int, lines: int) -> tuple[list[bytes], tuple[int, int], bool]:
        path = self._folder / f"{self._kind}-{number:08x}.jsonl"
        try:
            with path.open("rb") as stream:
                stream.seek(at)
                content = stream.read()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise MeasurementError(f"{path} cannot be read: {error}") from error
        whole = content.rfind(b"\n") + 1
        found = [line for line in content[:whole].split(b"\n") if line]
        return found, (at + whole, lines + len(found)), False

    def _of_file(self, number: int, lines: int) -> list[bytes]:
        """A file's lines have the order of the segment that they come from, so that their number says what is new."""
        path = self._files[number]
        with opened(path) as (file, segments):
            if number not in segments:
                return []
            if file.metadata.row_group(segments.index(number)).num_rows <= lines:
                return []
        return segment_lines(path, number, self._columns)[lines:]
