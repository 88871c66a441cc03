"""Writing the prediction log: what was asked and answered, one line each, before the client has the answer.

Files are `predictions-XXXXXXXX.jsonl`, `labels-XXXXXXXX.jsonl` and `shadows-XXXXXXXX.jsonl` (X: the segment's number,
8 hex digits). A shadow's line has the id of the user's prediction that it is a copy of. The id of a prediction is
`<segment>-<sequence>-<4 random hex digits>`: its line is in that segment when it was written before another id was
given, else perhaps in the writer's next one. Processes that write at the same time have segments of their own.
"""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlauto.serving.log.durability import Syncer
from mlauto.serving.log.segments import Segments

__all__ = ["PredictionLog"]

ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})-[0-9a-f]{4}")
# Ids given to requests in flight when the last process was killed were never logged, and must not be given again.
SEQUENCE_GAP = 4096
RANDOM_BYTES = 1024  # drawn at once: one system call for 512 ids


class _Line(msgspec.Struct, omit_defaults=True, gc=False):
    id: str
    t: float
    v: str | None = None
    ms: float | None = None
    rows: msgspec.Raw | None = None
    y: Sequence[Any] | None = None
    p: list[list[float]] | None = None
    error: str | None = None
    code: int | None = None
    client_id: str | None = None
    retried_from: str | None = None
    k: msgspec.Raw | None = None


class PredictionLog:
    """The predictions, shadows and labels of one product. Opening it writes nothing."""

    def __init__(self, folder: Path, syncer: Syncer | None = None) -> None:
        """Without a `syncer` the kernel alone decides when lines reach the disk."""
        self.predictions = Segments(folder, "predictions", syncer=syncer)
        self.labels = Segments(folder, "labels", syncer=syncer)
        self.shadows = Segments(folder, "shadows", syncer=syncer)
        self._folder = folder
        self._syncer = syncer
        self._sequence = 0
        self._prefix = ""
        self._random: list[str] = []
        self._encode = msgspec.json.Encoder().encode

    def new_id(self) -> str:
        """An id that no other prediction of this product has; ask for it right before the line is written."""
        if self.predictions.room <= 0:
            self._begin()
        self._sequence += 1
        if not self._random:
            self._random = os.urandom(RANDOM_BYTES).hex("-", 2).split("-")
        return f"{self._prefix}{self._sequence:08x}-{self._random.pop()}"

    def _begin(self) -> None:
        """Take the next segment. Where the disk does not let us, ids go on, and writing the line says why."""
        try:
            # every line is longer than a byte, so that fewer ids were given in a segment than it has bytes
            size = self.predictions.begin()
        except OSError:
            size = self._sequence
        self._sequence = size + SEQUENCE_GAP if size else 0
        self._prefix = f"{self.predictions.number:08x}-"

    def knows(self, prediction_id: str) -> bool:
        """False for a text that cannot be an id of this product, whichever process gave it: no file is read."""
        match = ID.fullmatch(prediction_id)
        if match is None:
            return False
        segment = int(match[1], 16)
        newest = self.predictions.number
        return segment <= newest or segment <= self.predictions.newest() or self._path(segment).exists()

    def _path(self, segment: int) -> Path:
        return self._folder / f"predictions-{segment:08x}.jsonl"

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
        keys: bytes | None = None,
    ) -> None:
        """Log a prediction; `rows`, and `keys` beside them, are a JSON list of objects. Raises `OSError`."""
        line = _Line(
            prediction_id,
            int(time.time() * 1e3 + 0.5) / 1e3,  # as `round` to three places, in half the time
            version,
            int(seconds * 1e6 + 0.5) / 1e3,
            msgspec.Raw(rows),
            predictions,
            probabilities,
            None,
            None,
            client_id,
            retried_from,
            None if keys is None else msgspec.Raw(keys),
        )
        self.predictions.extend(self._encode(line))

    def failed(self, prediction_id: str, *, version: str | None, seconds: float, error: str, code: int) -> None:
        """Log a request that was not answered through no fault of the client's. Raises `OSError`."""
        moment, took = round(time.time(), 3), round(seconds * 1000, 3)
        line = _Line(id=prediction_id, t=moment, v=version, ms=took, error=error, code=code)
        self.predictions.extend(self._encode(line))

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
        moment, took = round(time.time(), 3), round(seconds * 1000, 3)
        line = _Line(id=prediction_id, t=moment, v=version, ms=took, y=predictions, p=probabilities, error=error)
        self.shadows.append(self._encode(line))

    def labelled(self, prediction_id: str, labels: Sequence[Any]) -> None:
        """Log the truth about a prediction, one value per row. Raises `OSError`."""
        line = _Line(id=prediction_id, t=round(time.time(), 3), y=labels)
        self.labels.append(self._encode(line))

    async def durable(self) -> None:
        """Return once every line written so far would survive a power cut, where that is asked for; else at once.

        Raises `OSError` when the disk did not take them.
        """
        if self._syncer is not None:
            await self._syncer.durable()

    def close(self) -> None:
        """Let go of the segments; a log opened afterwards goes on in them."""
        for segments in (self.predictions, self.labels, self.shadows):
            segments.close()
