"""Writing the prediction log: segments of JSON lines, one `write` per line, bounded in all.

Files are `predictions-XXXXXXXX.jsonl`, `labels-XXXXXXXX.jsonl` and `shadows-XXXXXXXX.jsonl` (X: the segment's number,
8 hex digits). A shadow's line has the id of the user's prediction that it is a copy of. The id of a
prediction is `<segment>-<sequence>-<4 random hex digits>`, where the segment is the one that was open when the id was
given: its line is in that segment or in the next. One process writes; a restart goes on in the newest segment.
"""

import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["PredictionLog", "Segments"]

SEGMENT_BYTES = 4 << 20
MOST_SEGMENTS = 256
MOST_BYTES = 2 << 30  # of one kind: requests may be large, so the number of segments alone bounds too little
TAIL_BYTES = 64 << 10
NAME = re.compile(r"([a-z]+)-([0-9a-f]{8})\.jsonl")
ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-[0-9a-f]{4}")
LINE_START = re.compile(rb'^\{"id":"[0-9a-f]{8}-([0-9a-f]{8})-', re.MULTILINE)
# Ids given to requests in flight when the last process was killed were never logged, and must not be given again.
SEQUENCE_GAP = 4096
SEQUENCE_LIMIT = 1 << 32


class Segments:
    """One kind's files. Every method may raise `OSError`; whatever was written before is whole."""

    def __init__(
        self, folder: Path, kind: str, *, segment_bytes: int = SEGMENT_BYTES, most_segments: int = MOST_SEGMENTS
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._segment_bytes = segment_bytes
        self._most_segments = most_segments
        self._sizes = _sizes(folder, kind)
        self._file: int | None = None
        self.number = max(self._sizes, default=0)
        self._broken = bool(self._sizes) and not self.tail().endswith(b"\n")

    def tail(self) -> bytes:
        """The newest segment's last 64 kB."""
        path = self._path(self.number)
        if not path.exists():
            return b""
        with path.open("rb") as stream:
            stream.seek(max(0, self._sizes[self.number] - TAIL_BYTES))
            return stream.read()

    def append(self, line: bytes) -> None:
        """Write one line (without its newline) whole, opening the next segment first when this one is full."""
        if self._broken or self._sizes.get(self.number, 0) >= self._segment_bytes:
            self.begin()
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path(self.number), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        content = line + b"\n"
        written = 0
        try:
            written = os.write(self._file, content)
        finally:
            self._sizes[self.number] = self._sizes.get(self.number, 0) + written
            self._broken = 0 < written < len(content)
        if written < len(content):
            raise OSError(f"{self._path(self.number)}: only {written} of {len(content)} bytes were written")

    def begin(self) -> None:
        """Open the next segment with the next line, and drop the oldest ones beyond the bounds."""
        self.close()
        self._broken = False
        if self._sizes:
            self.number += 1
        while len(self._sizes) >= self._most_segments or sum(self._sizes.values()) > MOST_BYTES:
            oldest = min(self._sizes)
            self._path(oldest).unlink(missing_ok=True)
            del self._sizes[oldest]

    def close(self) -> None:
        """Close the open file; the next line opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._kind}-{number:08x}.jsonl"


def _sizes(folder: Path, kind: str) -> dict[int, int]:
    """Bytes by segment number."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = ((NAME.fullmatch(entry.name), entry.stat().st_size) for entry in entries)
        return {int(match[2], 16): size for match, size in found if match and match[1] == kind}


class _Line(msgspec.Struct, omit_defaults=True):
    id: str
    t: float
    v: str | None = None
    ms: float | None = None
    rows: msgspec.Raw | None = None
    y: list[Any] | None = None
    p: list[list[float]] | None = None
    error: str | None = None
    code: int | None = None
    client_id: str | None = None
    retried_from: str | None = None


class PredictionLog:
    """The predictions, shadows and labels of one product."""

    def __init__(self, folder: Path) -> None:
        self.predictions = Segments(folder, "predictions")
        self.labels = Segments(folder, "labels")
        self.shadows = Segments(folder, "shadows")
        self._sequence = self._resumed()
        self._encoder = msgspec.json.Encoder()

    def _resumed(self) -> int:
        """The first sequence number that was certainly not given in the newest segment."""
        found = LINE_START.findall(self.predictions.tail())
        if not found:
            self.predictions.begin()  # empty, or one line longer than what was looked at
            return 0
        return max(int(number, 16) for number in found) + SEQUENCE_GAP

    def new_id(self) -> str:
        """An id that no other prediction of this product has; ask for it right before the line is written."""
        self._sequence = (self._sequence + 1) % SEQUENCE_LIMIT
        return f"{self.predictions.number:08x}-{self._sequence:08x}-{secrets.token_hex(2)}"

    def knows(self, prediction_id: str) -> bool:
        """False for a text that cannot be an id of this product: no file is read."""
        match = ID.fullmatch(prediction_id)
        return match is not None and int(match[1], 16) <= self.predictions.number

    def answered(
        self,
        prediction_id: str,
        *,
        version: str,
        seconds: float,
        rows: bytes,
        predictions: Sequence[Any],
        probabilities: list[list[float]] | None = None,
        client_id: str | None = None,
        retried_from: str | None = None,
    ) -> None:
        """Log a prediction; `rows` are a JSON list of objects. Raises `OSError`."""
        line = _Line(
            id=prediction_id,
            t=round(time.time(), 3),
            v=version,
            ms=round(seconds * 1000, 3),
            rows=msgspec.Raw(rows),
            y=list(predictions),
            p=probabilities,
            client_id=client_id,
            retried_from=retried_from,
        )
        self.predictions.append(self._encoder.encode(line))

    def failed(self, prediction_id: str, *, version: str | None, seconds: float, error: str, code: int) -> None:
        """Log a request that was not answered through no fault of the client's. Raises `OSError`."""
        moment, took = round(time.time(), 3), round(seconds * 1000, 3)
        line = _Line(id=prediction_id, t=moment, v=version, ms=took, error=error, code=code)
        self.predictions.append(self._encoder.encode(line))

    def shadowed(
        self,
        prediction_id: str,
        *,
        version: str,
        seconds: float,
        predictions: Sequence[Any] | None = None,
        probabilities: list[list[float]] | None = None,
        error: str | None = None,
    ) -> None:
        """Log what the shadow made of the user's request of that id: predictions, or the error. Raises `OSError`."""
        line = _Line(
            id=prediction_id,
            t=round(time.time(), 3),
            v=version,
            ms=round(seconds * 1000, 3),
            y=None if predictions is None else list(predictions),
            p=probabilities,
            error=error,
        )
        self.shadows.append(self._encoder.encode(line))

    async def durable(self) -> None:
        """Return once every line written so far would survive a power cut, where that is asked for; else at once."""

    def labelled(self, prediction_id: str, labels: Sequence[Any]) -> None:
        """Log the truth about a prediction, one value per row. Raises `OSError`."""
        line = _Line(id=prediction_id, t=round(time.time(), 3), y=list(labels))
        self.labels.append(self._encoder.encode(line))
