"""Finding what two versions said of the same request: one answered the user, the other was asked a copy of it."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.log.reading import LogReader, Prediction, segment_of

__all__ = ["Pair", "Pairing", "outcomes", "written_since"]

SCANS = 32  # segments per pairing; what needs more is left for the next one
CLOCK_SECONDS = 1.0  # the time of a file lags a little behind that of the line that was written last


class Pair(NamedTuple):
    """The answer to the user, and what the other version made of the copy."""

    answer: Prediction
    copy: Prediction


class Pairing:
    """One search of the log, of bounded cost, for requests since a time that both of two versions predicted.

    `pairs` are by id; `answers` those that may still get their copy's line; `foreign` the ids of requests that another
    version answered, or before that time; `deferred` those that were not looked for to the end. The methods raise
    `MeasurementError` when the log cannot be read.
    """

    def __init__(self, folder: Path, versions: Collection[str], since: float) -> None:
        self.folder, self.versions, self.since = folder, frozenset(versions), since
        self.pairs: dict[str, Pair] = {}
        self.answers: dict[str, Prediction] = {}
        self.foreign: set[str] = set()
        self.deferred: set[str] = set()
        self._scans = 0

    def find(self, ids: Collection[str]) -> None:
        """Look for the requests of those ids."""
        by_segment: dict[int, set[str]] = {}
        for name in ids:
            by_segment.setdefault(segment_of(name) or 0, set()).add(name)
        predictions = LogReader(self.folder, "predictions", Prediction)
        for segment in sorted(by_segment):
            for name, line in self._scanned(predictions, (segment, segment + 1), by_segment[segment]).items():
                self._sort(name, line)
        # a copy's line is written at about the time of the answer: the oldest file that was open then has the first
        oldest = min((answer.t for answer in self.answers.values()), default=0.0)
        shadows = LogReader(self.folder, "shadows", Prediction)
        segments = sorted(written_since(self.folder, "shadows", oldest)) if self.answers else []
        for name, copy in self._scanned(shadows, segments, self.answers.keys()).items():
            if {copy.v, self.answers[name].v} == self.versions:
                self.pairs[name] = Pair(self.answers.pop(name), copy)

    def _sort(self, name: str, line: Prediction) -> None:
        if line.t >= self.since and line.v in self.versions and line.y is not None:
            self.answers[name] = line
        else:
            self.foreign.add(name)

    def _scanned(
        self, reader: LogReader[Prediction], segments: Sequence[int], wanted: Collection[str]
    ) -> dict[str, Prediction]:
        found: dict[str, Prediction] = {}
        missing = set(wanted)
        for segment in segments:
            if not missing:
                break
            if self._scans >= SCANS:
                self.deferred |= missing
                break
            self._scans += 1
            found |= reader.scan(segment, missing)
            missing -= found.keys()
        return found


def outcomes(line: Prediction, truth: Sequence[Any]) -> list[Outcome]:
    """The rows of a request with their truth, as many as there are of both."""
    odds: Sequence[Sequence[float] | None] = line.p or [None] * len(truth)
    return [Outcome(*row) for row in zip(truth, line.y or (), odds, strict=False)]


def written_since(folder: Path, kind: str, since: float) -> Iterator[int]:
    """The numbers of a kind's segments that were written to since then, of those that are not compacted."""
    for path in folder.glob(f"{kind}-????????.jsonl"):
        try:
            changed = path.stat().st_mtime
        except FileNotFoundError:  # compacted or dropped meanwhile
            continue
        if changed >= since - CLOCK_SECONDS:
            yield int(path.stem.rpartition("-")[2], 16)
