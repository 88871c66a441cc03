"""Joining labels with the predictions that they belong to, incrementally.

The join remembers, per version, the newest `window` labelled rows and how far it has read, in one small file that is
replaced as a whole. That file is a cache: without it the newest part of the log is read again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlauto.monitoring.log.reading import Label, LogReader, Prediction, segment_of
from mlauto.store import atomic_write

__all__ = ["JoinState", "Joined", "join_labels", "read_join"]

ORIGINS = ("labels", "imported")
READ_LIMIT = 8 << 20  # bytes of labels per origin and call
SCAN_LIMIT = 24  # prediction segments per call; what needs more waits for the next call
PENDING_LIMIT = 2000
PENDING_SECONDS = 3600.0
CONCURRENT = 4  # segments that may be written at a time, so that the older number is not the older prediction
DELAYS = 500
Segmenting = Callable[[Mapping[str, Any]], list[str]]
VERSIONS = 4  # the live one, its fallback and two more, for comparing after a rollback


class Joined(msgspec.Struct, array_like=True, frozen=True):
    """One request with its labels; `y`, `label`, `p` and `s` (the segments that a row is in) have one item per row.

    `t` is when it was answered.
    """

    id: str
    y: list[Any]
    label: list[Any]
    p: list[list[float]] | None = None
    t: float = 0.0
    s: list[list[str]] | None = None


class JoinState(msgspec.Struct):
    """What the join remembers. `windows`: version -> requests, oldest first. `pending`: labels without prediction yet.

    `counts`: `unknown` labels whose prediction does not exist, `unusable` ones with another number of values than rows,
    `late` ones older than a full window, `damaged` lines, `skipped` bytes beyond the bound of a call. `delays` are
    seconds from prediction to label of the 500 labels that were joined last, of any version; another label of the same
    prediction does not count, nor do `late` ones. `newest`: when the newest label arrived.
    """

    cursors: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    windows: dict[str, list[Joined]] = msgspec.field(default_factory=dict)
    pending: dict[str, tuple[float, list[Any]]] = msgspec.field(default_factory=dict)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    delays: list[float] = msgspec.field(default_factory=list)
    newest: float | None = None

    def count(self, what: str, by: int = 1) -> None:
        """Add to a count."""
        if by:
            self.counts[what] = self.counts.get(what, 0) + by

    def rows(self, version: str) -> int:
        """Labelled rows of a version in its window."""
        return sum(len(joined.y) for joined in self.windows.get(version, ()))


def read_join(path: Path) -> JoinState:
    """The remembered state; a file that is missing or does not parse gives an empty one, to be filled from the log."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=JoinState)
    except (FileNotFoundError, msgspec.MsgspecError):
        return JoinState()


def join_labels(
    folder: Path, path: Path, *, version: str, window: int, now: float, segments: Segmenting | None = None
) -> JoinState:
    """Join the labels that arrived since the last call; `path` is the state's file, `version` the one that is live.

    `segments` gives the names of the segments that a row is in. Guarantees: the newest label of an id wins; a window
    holds the newest `window` labelled rows of its version by time of prediction; the work per call is bounded whatever
    the log's length. Raises `MeasurementError`.
    """
    state = read_join(path)
    before = msgspec.json.encode(state)
    join = _Join(folder, state, version=version, window=window, now=now)
    join.segments = segments
    join.read_labels()
    join.relabel()
    join.attach()
    join.forget()
    after = msgspec.json.encode(state)
    if after != before:
        atomic_write(path, after)
    return state


class _Join:
    """One call of `join_labels`; `labels` are the ones still to be joined, id -> (time, values)."""

    def __init__(self, folder: Path, state: JoinState, *, version: str, window: int, now: float) -> None:
        self.folder, self.state = folder, state
        self.version, self.window, self.now = version, window, now
        self.labels: dict[str, tuple[float, list[Any]]] = {}
        self.delays: list[tuple[float, float]] = []
        self.segments: Segmenting | None = None

    def read_labels(self) -> None:
        """The pending labels, then the unread ones of every origin in the order of their times."""
        lines: list[Label] = []
        for origin in ORIGINS:
            chunk = LogReader(self.folder, origin, Label).since(self.state.cursors.get(origin), READ_LIMIT)
            lines += chunk.lines
            self.state.count("damaged", chunk.damaged)
            self.state.count("skipped", chunk.skipped)
            if chunk.cursor:
                self.state.cursors[origin] = chunk.cursor
        self.state.newest = max((line.t for line in lines if line.t), default=self.state.newest)
        self.labels = dict(self.state.pending)
        self.labels.update((line.id, (line.t, line.y)) for line in sorted(lines, key=lambda line: line.t))
        self.state.pending = {}

    def relabel(self) -> None:
        """Replace the labels of requests that are in a window already."""
        for name, joined in self.state.windows.items():
            self.state.windows[name] = [self._relabelled(entry) for entry in joined]

    def _relabelled(self, entry: Joined) -> Joined:
        _, values = self.labels.pop(entry.id, (0.0, entry.label))
        kept = len(entry.y)  # the last rows of the request, when it had more rows than the window
        if len(values) < kept:
            self.state.count("unusable")
            return entry
        return msgspec.structs.replace(entry, label=values[len(values) - kept :])

    def attach(self) -> None:
        """Find the predictions, newest segment first, until the live version's window can take nothing older."""
        reader = LogReader(self.folder, "predictions", Prediction)
        oldest, newest = reader.span()
        by_segment = self._by_segment()
        scanned = 0
        for segment in sorted(by_segment, reverse=True):
            wanted = set(by_segment[segment])
            if segment < self._floor():
                self.state.count("late", len(wanted))
                continue
            found: dict[str, Prediction] = {}
            there = oldest - 1 <= segment <= newest
            deferred = there and scanned >= SCAN_LIMIT
            if there and not deferred:
                scanned += 1
                found = reader.scan(segment, wanted)
                if len(found) < len(wanted) and segment < newest:
                    found |= reader.scan(segment + 1, wanted - found.keys())
            for missing in wanted - found.keys():
                self._keep_or_count(missing, waits=deferred or segment >= newest)
            self._insert(found)
        self.state.delays = [*self.state.delays, *(delay for _, delay in sorted(self.delays))][-DELAYS:]

    def _by_segment(self) -> dict[int, list[str]]:
        grouped: dict[int, list[str]] = {}
        for prediction_id in self.labels:
            segment = segment_of(prediction_id)
            if segment is None:
                self.state.count("unknown")
            else:
                grouped.setdefault(segment, []).append(prediction_id)
        return grouped

    def _floor(self) -> int:
        """The oldest segment that may have a prediction for the live version's window."""
        if not self._is_full(self.version):
            return 0
        return (segment_of(self.state.windows[self.version][0].id) or 0) - CONCURRENT

    def _keep_or_count(self, prediction_id: str, *, waits: bool) -> None:
        """Keep a label whose prediction may still come, within bounds of number and age; else it is unknown."""
        label = self.labels[prediction_id]
        if waits and self.now - label[0] <= PENDING_SECONDS and len(self.state.pending) < PENDING_LIMIT:
            self.state.pending[prediction_id] = label
        else:
            self.state.count("unknown")

    def _insert(self, found: dict[str, Prediction]) -> None:
        floors = {v: _age(entries[0]) for v, entries in self.state.windows.items() if self._is_full(v)}
        touched = set()
        for line in found.values():
            arrived, label = self.labels[line.id]
            if line.v is None or not line.y or not label or len(label) % len(line.y):
                self.state.count("unusable")
                continue
            label = label[-len(line.y) :]  # more than once in a file: the last one, as from file to file
            odds = line.p[-self.window :] if line.p else None
            tags = [self.segments(row) for row in line.parsed_rows()] if self.segments else []
            kept = tags[-self.window :] or None
            joined = Joined(line.id, line.y[-self.window :], label[-self.window :], odds, line.t, kept)
            if line.v in floors and _age(joined) < floors[line.v]:
                self.state.count("late")
                continue
            self.state.windows.setdefault(line.v, []).append(joined)
            if arrived:
                self.delays.append((arrived, round(max(0.0, arrived - line.t), 3)))
            touched.add(line.v)
        for version in touched:
            self.state.windows[version] = _newest(self.state.windows[version], self.window)

    def _is_full(self, version: str) -> bool:
        return self.state.rows(version) >= self.window

    def forget(self) -> None:
        """Drop the windows of all but the live version and those that predicted last."""
        windows = self.state.windows
        others = sorted((v for v in windows if v != self.version), key=lambda v: _age(windows[v][-1]), reverse=True)
        for version in others[VERSIONS - 1 :]:
            del windows[version]


def _newest(entries: list[Joined], rows: int) -> list[Joined]:
    """The newest requests that together have at least `rows` rows, oldest first."""
    kept: list[Joined] = []
    for entry in sorted(entries, key=_age, reverse=True):
        if rows <= 0:
            break
        kept.append(entry)
        rows -= len(entry.y)
    return kept[::-1]


def _age(joined: Joined) -> tuple[float, str]:
    return joined.t, joined.id
