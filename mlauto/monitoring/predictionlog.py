"""Reading the prediction log that the gateway writes: segments of JSON lines, newest last, at a bounded cost per call.

A series is the segments of one kind in one folder: `predictions-XXXXXXXX.jsonl`, `labels-XXXXXXXX.jsonl` or
`imported-XXXXXXXX.jsonl` (X: the segment's number, 8 hex digits). A series has one writer, which appends whole
lines and closes a segment before it opens the next. A prediction's id begins with the number of the segment that was
open when the id was given, so that it is found by scanning that segment or the next.
"""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mlauto.errors import MeasurementError

__all__ = ["Chunk", "Cursor", "Label", "LogReader", "Prediction", "find_label", "find_prediction", "segment_of"]

NAME = re.compile(r"([a-z]+)-([0-9a-f]{8})\.jsonl")
ID = re.compile(r"([0-9a-f]{8})-[0-9a-f]{8}-[0-9a-f]{4}")
LONGEST_LINE = 32 << 20  # a request body of 16 MB, and its answers
FEW = 16  # so many ids are searched as bytes; for more it is faster to parse every line once
LABEL_SEGMENTS = 16


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


@dataclass(frozen=True, order=True)
class Cursor:
    """How far a series was read: the byte after the last whole line of a segment."""

    segment: int
    offset: int


@dataclass(frozen=True)
class Chunk(Generic[Line]):
    """Lines in the order of writing; `damaged` lines did not parse, `skipped` bytes lay beyond the bound."""

    lines: list[Line]
    cursor: Cursor | None
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
        """Bytes by segment number, oldest first; empty when nothing was logged yet."""
        found = {}
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    match = NAME.fullmatch(entry.name)
                    if match and match[1] == self.kind:
                        found[int(match[2], 16)] = entry.stat().st_size
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise MeasurementError(f"prediction log {self.folder} cannot be listed: {error}") from error
        return dict(sorted(found.items()))

    def since(self, cursor: Cursor | None, limit: int) -> Chunk[Line]:
        """The whole lines written since `cursor` (None: since ever), but no more than the newest `limit` bytes.

        A last line without its newline is still being written and is left for the next call.
        """
        sizes = self.sizes()
        if not sizes:
            return Chunk([], None)
        start, skipped = _start(sizes, cursor, limit)
        lines: list[Line] = []
        damaged, newest, position = 0, max(sizes), start
        for segment in (s for s in sizes if s >= start.segment):
            offset = start.offset if segment == start.segment else 0
            content = self._read(segment, offset)
            if segment == start.segment and skipped and offset:
                cut = content.find(b"\n") + 1  # the bound fell inside a line
                content, offset, skipped = content[cut:], offset + cut, skipped + cut
            whole = content.rfind(b"\n") + 1
            broken = self._decode(content[:whole], lines)
            damaged += broken + (segment != newest and whole < len(content))
            position = Cursor(segment, offset + whole)
        return Chunk(lines, position, damaged, skipped)

    def tail(self, limit: int) -> Chunk[Line]:
        """The newest lines within about `limit` bytes, and at least one if there is any."""
        while True:
            chunk = self.since(None, limit)
            if chunk.lines or not chunk.skipped or limit >= LONGEST_LINE:
                return chunk
            limit *= 2

    def scan(self, segment: int, ids: Collection[str]) -> dict[str, Line]:
        """The lines of one segment with one of those ids (the newest of each); empty for a segment that is gone."""
        content = self._read(segment, 0, missing_ok=True)
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

    def _read(self, segment: int, offset: int, *, missing_ok: bool = False) -> bytes:
        path = self.folder / f"{self.kind}-{segment:08x}.jsonl"
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


def _start(sizes: dict[int, int], cursor: Cursor | None, limit: int) -> tuple[Cursor, int]:
    """Where to begin so that at most `limit` bytes follow, and how many unread bytes lie before that."""
    oldest = Cursor(min(sizes), 0)
    begin = max(cursor, oldest) if cursor else oldest
    if begin.segment > max(sizes):
        begin = oldest  # the folder was emptied and begun anew
    begin = Cursor(begin.segment, min(begin.offset, sizes.get(begin.segment, 0)))
    unread = sum(size for segment, size in sizes.items() if segment >= begin.segment) - begin.offset
    excess = skipped = max(0, unread - limit)
    for segment, size in sizes.items():
        if segment < begin.segment:
            continue
        offset = begin.offset if segment == begin.segment else 0
        if excess < size - offset or segment == max(sizes):
            return Cursor(segment, min(offset + excess, size)), skipped
        excess -= size - offset
    return begin, skipped


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
        for number in sorted(reader.sizes(), reverse=True)[:LABEL_SEGMENTS]:
            hit = reader.scan(number, [prediction_id])
            if hit:
                found.append(hit[prediction_id])
                break
    return max(found, key=lambda label: label.t, default=None)
