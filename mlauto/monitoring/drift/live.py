"""The window of live traffic, kept as parts in a file beside the label join's, so that each look counts only new rows.

A window is the newest 20,000 rows of the live version, from at most a day ago unless those are fewer than 1,000. It
survives restarts; a new version, or another profile of it, begins with an empty one.
"""

import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlauto.measured import DriftReport
from mlauto.monitoring.drift.bounds import YEAR
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import Counts, StoredCounts
from mlauto.monitoring.drift.fitting import answers_in
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.drift.report import budget_of, drift_report
from mlauto.monitoring.log.reading import LogReader, Prediction
from mlauto.store import atomic_write

__all__ = ["WINDOW_ROWS", "live_drift", "window_counts"]

WINDOW_ROWS = 20_000  # a shift by a tenth of an sd is found with so many
WINDOW_SECONDS = 86_400.0  # a whole cycle of most traffic
QUIET_ROWS = 1000
PARTS = 8  # of a window: the oldest leaves at a time
LOOK_BYTES = 4 << 20  # of log that one look counts at most, the newest: of heavier traffic it is a sample


class _Part(msgspec.Struct):
    """Rows of the window that came between two times."""

    since: float
    until: float
    counts: StoredCounts


class _Window(msgspec.Struct):
    """What is known of the window of one version and profile, and up to where the log was read."""

    version: str
    profile: str
    cursor: dict[int, int] | None = None
    parts: list[_Part] = []


def live_drift(
    folder: Path, state: Path, profile: Profile, *, version: str, every: float, now: float
) -> DriftReport | None:
    """The report on the window as it is now, looked at every so many seconds; None before there are 100 rows.

    `folder` holds the prediction log, `state` is this function's own file. Cost does not grow with the window or the
    log. Raises `MeasurementError` when the log cannot be read.
    """
    if not profile.rows:
        return None
    window = _read(state, version, profile)
    tally = Tally(profile)
    chunk = LogReader(folder, "predictions", Prediction).since(window.cursor, LOOK_BYTES)
    lines = [line for line in chunk.lines if line.v == version and line.y is not None]
    if lines:
        _add(window, tally, lines)
    if lines or window.cursor != chunk.cursor:
        window.cursor = chunk.cursor
        atomic_write(state, msgspec.msgpack.encode(window))
    _drop(window, now)
    total = _total(window, tally)
    if not total.rows:
        return None
    since, until = min(part.since for part in window.parts), max(part.until for part in window.parts)
    budget = budget_of(profile, YEAR / max(every, 1.0), rows=total.rows, seconds=until - since)
    return drift_report(profile, total, budget, since=since, until=until)


def window_counts(state: Path, profile: Profile, *, version: str) -> Counts:
    """The counts of the window as the last look left it; of no rows where there is none."""
    return _total(_read(state, version, profile), Tally(profile))


def _total(window: _Window, tally: Tally) -> Counts:
    return sum((Counts.restored(part.counts) for part in window.parts), start=tally.none())


def _read(state: Path, version: str, profile: Profile) -> _Window:
    """The window in the file, or an empty one; a damaged file costs the rows in it, which the next ones replace."""
    digest = hashlib.sha256(msgspec.json.encode(profile)).hexdigest()
    try:
        window = msgspec.msgpack.decode(state.read_bytes(), type=_Window)
    except (FileNotFoundError, msgspec.MsgspecError):
        return _Window(version, digest)
    return window if (window.version, window.profile) == (version, digest) else _Window(version, digest)


def _add(window: _Window, tally: Tally, lines: Sequence[Prediction]) -> None:
    """Count the lines, a part's worth at a time."""
    for few in _parts_of(lines):
        rows: list[dict[str, Any]] = []
        answers: list[Any] = []
        for line in few:
            given = line.parsed_rows()
            told = answers_in(line.y or (), line.p)
            if len(told) == len(given):
                rows += given
                answers += told
        if not rows:
            continue
        counts, since, until = tally.rows(rows, answers), few[0].t, few[-1].t
        last = window.parts[-1] if window.parts else None
        if last is not None and last.counts.rows + len(rows) <= WINDOW_ROWS / PARTS:
            last.counts = (Counts.restored(last.counts) + counts).stored()
            last.until = max(last.until, until)
        else:
            window.parts.append(_Part(since, until, counts.stored()))


def _parts_of(lines: Sequence[Prediction]) -> Sequence[Sequence[Prediction]]:
    size = WINDOW_ROWS // PARTS
    return [list(itertools.islice(lines, start, start + size)) for start in range(0, len(lines), size)]


def _drop(window: _Window, now: float) -> None:
    """Parts that are not needed for the newest 20,000 rows, or are old while there are enough of newer ones."""
    rows = sum(part.counts.rows for part in window.parts)
    while window.parts:
        rest = rows - window.parts[0].counts.rows
        old = window.parts[0].until < now - WINDOW_SECONDS
        if rest < (QUIET_ROWS if old else WINDOW_ROWS):
            return
        rows = rest
        del window.parts[0]
