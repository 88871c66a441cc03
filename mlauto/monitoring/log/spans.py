"""When the lines of a Parquet file of the prediction log were written, so that a query opens only the files it needs.

The times come from the statistics in the files' footers. Of a kind's files they are kept in one small file beside them,
which is a cache: what it does not have is read from the footer.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import compacted_files, opened
from mlauto.store import atomic_write

__all__ = ["Span", "keep_spans", "span_of", "spans_of"]

EVER = (-math.inf, math.inf)


class Span(msgspec.Struct, array_like=True, frozen=True):
    """The first and the last time of lines, seconds since the epoch; None where a line does not tell its time."""

    low: float | None
    high: float | None

    def overlaps(self, since: float, until: float) -> bool:
        """Whether a line of a time from `since` to before `until` may be among them."""
        low, high = EVER if self.low is None or self.high is None else (self.low, self.high)
        return high >= since and low < until


def spans_of(folder: Path, kind: str) -> Iterator[tuple[Path, Span]]:
    """The kind's Parquet files, oldest segments first. Raises `MeasurementError` for one that cannot be read."""
    known = _kept(folder, kind)
    for _, _, path in compacted_files(folder, kind):
        span = known.get(path.name)
        try:
            yield path, _read(path) if span is None else span
        except FileNotFoundError:  # dropped meanwhile
            continue


def keep_spans(folder: Path, kind: str) -> None:
    """Write down the spans of all files, for those who ask later. Raises `MeasurementError` and `OSError`."""
    known = _kept(folder, kind)
    spans = {path.name: span for path, span in spans_of(folder, kind)}
    if spans != known:
        atomic_write(_cache(folder, kind), msgspec.json.encode(spans))


def span_of(metadata: Any, group: int) -> Span:
    """The times of one row group, from the file's metadata."""
    column = metadata.row_group(group).column(metadata.schema.names.index("t"))
    found = column.statistics
    if found is None or not found.has_min_max or found.null_count is None or found.null_count > 0:
        return Span(None, None)
    return Span(found.min, found.max)


def _read(path: Path) -> Span:
    with opened(path) as (file, _):
        spans = [span_of(file.metadata, group) for group in range(file.metadata.num_row_groups)]
    lows, highs = [span.low for span in spans], [span.high for span in spans]
    if not spans or None in lows or None in highs:
        return Span(None, None)
    return Span(min(low for low in lows if low is not None), max(high for high in highs if high is not None))


def _cache(folder: Path, kind: str) -> Path:
    return folder / f".{kind}.spans.json"


def _kept(folder: Path, kind: str) -> dict[str, Span]:
    try:
        return msgspec.json.decode(_cache(folder, kind).read_bytes(), type=dict[str, Span])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}
    except OSError as error:
        raise MeasurementError(f"{_cache(folder, kind)} cannot be read: {error}") from error
