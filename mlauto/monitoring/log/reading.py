"""Reading the prediction log that the gateway writes: segments of JSON lines, newest last, at a bounded cost per call.

A series is the segments of one kind in one folder: `predictions-XXXXXXXX.jsonl`, `shadows-...`, `labels-...` or
`imported-...` (X: the segment's number, 8 hex digits). A segment has one writer, which appends whole lines; several may
write at a time, each to its own. A prediction's id begins with the number of the segment that was open when the id was
given, so that it is found by scanning that segment or the next. Old segments are compacted; `scan` finds those too.
"""

import contextlib
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import compacted_files, compacted_lines
from mlauto.serving.log.segments import is_held

__all__ = ["Chunk", "Label", "LogReader", "Prediction", "find_label", "find_prediction", "segment_of"]

NAME = re.compile(r"([a-z]+)-([0-9a-f]{8})\.jsonl")
ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{4}")
LONGEST_LINE = 32 << 20  # a request body of 16 MB, and its answers
FEW = 16  # so many ids are searched as bytes; for more it is faster to parse every line once
LABEL_SEGMENTS = 16
CONCURRENT = 8  # writers at a time that are looked for
CLOCK_SECONDS = 1.0  # the time of a file lags a little behind that of the line that was written last


class Prediction(msgspec.Struct, frozen=True):
    """One request: `v` is the version that answered, `y` its predictions (one per row), `p` the classes' probabilities.

    A request that failed has `error` and `code` instead of `y`. `rows` are left as JSON until `parsed_rows`.
    """

    id: str
    t: float
    v: str | None = None
    ms: float | None = None
    rows: msgspec.Raw = msgspec.Raw(b"[]")
    y: list[Any] | None = None
    p: list[list[float]] | None = None
    error: str | None = None
    code: int | None = None
    client_id: str | None = None
    retried_from: str | None = None

    def parsed_rows(self) -> list[dict[str, Any]]:
        """The request's rows, column -> value. Raises `MeasurementError` if the gateway wrote something else."""
        try:
            return msgspec.json.decode(self.rows, type=list[dict[str, Any]])
        except msgspec.MsgspecError as error:
            raise MeasurementError(f"prediction {self.id} has no readable rows: {error}") from error


class Label(msgspec.Struct, frozen=True):
    """The truth about one request, one value per row."""

    id: str
    y: list[Any]
    t: float = 0.0


Line = TypeVar("Line", Prediction, Label)


@dataclass(frozen=True)
class Chunk(Generic[Line]):
    """Lines in the order of time, and how far each segment was read: the byte after its last whole line.

    `damaged` lines did not parse, `skipped` bytes lay beyond the bound.
    """

    lines: list[Line]
    cursor: dict[int, int] = field(default_factory=dict)
    damaged: int = 0
    skipped: int = 0


def segment_of(prediction_id: str) -> int | None:
    """The segment that was open when the id was given, or None for a text that is no prediction id."""
    match = ID.fullmatch(prediction_id)
    return int(match[1], 16) if match else None


class LogReader(Generic[Line]):
    """Reads one series. Every method raises `MeasurementError` when the log is there and cannot be read."""

    def __init__(self, folder: Path, kind: str, line: type[Line]) -> None:
        self.folder = folder
        self.kind = kind
        self._decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(line)

    def sizes(self) -> dict[int, int]:
        """Bytes by number of the segments that were not compacted, oldest first; empty when nothing was logged yet."""
        return {number: stat.st_size for number, stat in self._stats().items()}

    def span(self) -> tuple[int, int]:
        """The oldest and the newest segment's number, compacted ones included; (0, -1) when there is none."""
        numbers = list(self._stats())
        for first, last, _ in compacted_files(self.folder, self.kind):
            numbers += (first, last)
        return min(numbers, default=0), max(numbers, default=-1)

    def since(self, cursor: Mapping[int, int] | None, limit: int) -> Chunk[Line]:
        """The whole lines written since `cursor` (None: since ever), but no more than the newest `limit` bytes.

        A last line without its newline is still being written and is left for the next call.
        """
        sizes = self.sizes()
        position = {segment: min((cursor or {}).get(segment, 0), size) for segment, size in sizes.items()}
        excess = skipped = max(0, sum(sizes.values()) - sum(position.values()) - limit)
        lines: list[Line] = []
        damaged = 0
        for segment, size in sizes.items():
            skip = min(excess, size - position[segment])
            excess, offset = excess - skip, position[segment] + skip
            position[segment] = offset
            if offset == size:
                continue
            content = self._read(segment, offset)
            if skip:
                cut = content.find(b"\n") + 1  # the bound fell inside a line
                content, offset, skipped = content[cut:], offset + cut, skipped + cut
            whole = content.rfind(b"\n") + 1
            damaged += self._decode(content[:whole], lines)
            position[segment] = offset + whole
            if whole < len(content) and self._is_closed(segment, sizes):
                damaged, position[segment] = damaged + 1, offset + len(content)
        lines.sort(key=_time)  # in order already, unless several write at a time
        return Chunk(lines, position, damaged, skipped)

    def newest(self, since: float, limit: int) -> tuple[Iterator[list[Line]], bool]:
        """The lines of that time or later, a segment at a time, oldest first; and whether `limit` bytes cut some off.

        Lines that do not parse are passed over. What was compacted is older than the newest 32 MB, and is not read.
        """
        chosen: list[tuple[int, int]] = []
        stats = self._stats()
        left, cut = limit, False
        for segment in sorted(stats, reverse=True):
            stat = stats[segment]
            if stat.st_mtime < since - CLOCK_SECONDS:
                continue
            cut = stat.st_size > left
            chosen.append((segment, max(0, stat.st_size - left)))
            left -= stat.st_size
            if left <= 0:
                break
        cut = cut or (len(chosen) == len(stats) and bool(compacted_files(self.folder, self.kind)))
        return (self._later(segment, offset, since) for segment, offset in reversed(chosen)), cut

    def _later(self, segment: int, offset: int, since: float) -> list[Line]:
        content = self._read(segment, offset, missing_ok=True)
        lines: list[Line] = []
        self._decode(content[content.find(b"\n") + 1 :] if offset else content, lines)
        return [line for line in lines if line.t >= since]

    def tail(self, limit: int) -> Chunk[Line]:
        """The newest lines within about `limit` bytes, and at least one if there is any.

        Of several segments that are written to now, each has an equal part of the bound.
        """
        sizes = self.sizes()
        written = [segment for segment in list(sizes)[-CONCURRENT:] if is_held(self._path(segment))]
        if len(written) > 1 and sum(sizes[segment] for segment in written) > limit:
            part = limit // len(written)
            found = [self._later(segment, max(0, sizes[segment] - part), -math.inf) for segment in written]
            lines = sorted((line for lines in found for line in lines), key=_time)
            return Chunk(lines, sizes, skipped=sum(sizes.values()) - limit)
        while True:
            chunk = self.since(None, limit)
            if chunk.lines or not chunk.skipped or limit >= LONGEST_LINE:
                return chunk
            limit *= 2

    def scan(self, segment: int, ids: Collection[str]) -> dict[str, Line]:
        """The lines of one segment with one of those ids (the newest of each); empty for a segment that is gone."""
        content = self._read(segment, 0, missing_ok=True)
        if not content:
            content = self._compacted(segment, ids)
        if len(ids) > FEW:
            lines: list[Line] = []
            self._decode(content, lines)
            return {line.id: line for line in lines if line.id in ids}
        found = {}
        for wanted in ids:
            line = self._search(content, wanted)
            if line is not None:
                found[wanted] = line
        return found

    def _search(self, content: bytes, wanted: str) -> Line | None:
        """The newest line with that id; the text may also occur elsewhere in a line, so each hit is parsed."""
        needle, end = f'"{wanted}"'.encode(), len(content)
        while (hit := content.rfind(needle, 0, end)) >= 0:
            first = content.rfind(b"\n", 0, hit) + 1
            stop = content.find(b"\n", hit)
            lines: list[Line] = []
            self._decode(content[first : stop if stop >= 0 else len(content)], lines)
            if lines and lines[0].id == wanted:
                return lines[0]
            end = first
        return None

    def _compacted(self, segment: int, ids: Collection[str]) -> bytes:
        for first, last, path in compacted_files(self.folder, self.kind):
            if first <= segment <= last and (lines := compacted_lines(path, segment, ids)):
                return b"\n".join(lines)
        return b""

    def _stats(self) -> dict[int, os.stat_result]:
        """What the file system says of each segment, oldest first."""
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    match = NAME.fullmatch(entry.name)
                    if match and match[1] == self.kind:
                        with contextlib.suppress(FileNotFoundError):  # dropped or compacted meanwhile
                            found[int(match[2], 16)] = entry.stat()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise MeasurementError(f"prediction log {self.folder} cannot be listed: {error}") from error
        return dict(sorted(found.items()))

    def _is_closed(self, segment: int, sizes: Mapping[int, int]) -> bool:
        """Whether nobody will go on with what stands at the segment's end: not the newest one, and nobody's."""
        return segment != max(sizes) and not is_held(self._path(segment))

    def _path(self, segment: int) -> Path:
        return self.folder / f"{self.kind}-{segment:08x}.jsonl"

    def _read(self, segment: int, offset: int, *, missing_ok: bool = False) -> bytes:
        path = self._path(segment)
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                return stream.read()
        except FileNotFoundError:
            if missing_ok:
                return b""
            raise MeasurementError(f"{path} was dropped while it was read: measure again") from None
        except OSError as error:
            raise MeasurementError(f"{path} cannot be read: {error}") from error

    def _decode(self, content: bytes, into: list[Line]) -> int:
        """Append the lines that parse; returns how many did not."""
        damaged = 0
        for text in content.split(b"\n"):
            try:
                into.append(self._decoder.decode(text))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                damaged += bool(text)
        return damaged


def _time(line: Prediction | Label) -> float:
    return line.t


def find_prediction(folder: Path, prediction_id: str) -> Prediction | None:
    """The logged prediction of that id, reading two segments at most; None when it was never made, or dropped."""
    segment = segment_of(prediction_id)
    if segment is None:
        return None
    reader = LogReader(folder, "predictions", Prediction)
    for number in (segment, segment + 1):
        found = reader.scan(number, [prediction_id])
        if found:
            return found[prediction_id]
    return None


def find_label(folder: Path, prediction_id: str) -> Label | None:
    """The newest label of that id within the newest 16 label segments of either origin, or None."""
    found: list[Label] = []
    for kind in ("labels", "imported"):
        reader = LogReader(folder, kind, Label)
        oldest, newest = reader.span()
        for number in range(newest, max(oldest, newest - LABEL_SEGMENTS + 1) - 1, -1):
            hit = reader.scan(number, [prediction_id])
            if hit:
                found.append(hit[prediction_id])
                break
    return max(found, key=lambda label: label.t, default=None)
