"""Questions to the whole prediction log, compacted or not, which never is in memory: one segment's columns are.

Of a Parquet file only the row groups that the footer's statistics of time and version leave are read, and of those only
the columns that were asked for. The newest lines, which are not compacted yet, are decoded as far as they are needed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.compacted import COLUMNS, JSON, compacted_files, opened, segments_of
from mlauto.monitoring.log.spans import span_of, spans_of
from mlauto.serving.log.segments import segment_sizes

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Counted", "Query", "count", "tables"]

CLOCK_SECONDS = 1.0  # the time of a file lags a little behind that of the line that was written last
TYPES: dict[str, Any] = {"string": str | None, "float64": float | None, "int32": int | None}


@dataclass(frozen=True, kw_only=True)
class Query:
    """Requests from `since` to before `until` (seconds since the epoch), of one version, failed or answered ones."""

    since: float = -math.inf
    until: float = math.inf
    version: str | None = None
    failed: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How many requests there were, and how many of them failed."""

    requests: int
    failed: int

    @property
    def error_rate(self) -> float | None:
        """The share that failed; None where there was no request."""
        return self.failed / self.requests if self.requests else None


def count(folder: Path, query: Query) -> Counted:
    """The requests that a query finds. Reads times, errors and versions only. Raises `MeasurementError`."""
    requests = failed = 0
    for table in tables(folder, query, ("error",)):
        requests += table.num_rows
        failed += table.num_rows - table.column("error").null_count
    return Counted(requests=requests, failed=failed)


def tables(folder: Path, query: Query, columns: Sequence[str], kind: str = "predictions") -> "Iterator[pyarrow.Table]":
    """The lines that a query finds, a segment at a time, with some of the log's columns (`rows`, `y`, `p`: JSON text).

    They come in the order of the segments, which is that of time while one process writes. Lines that do not parse are
    passed over, as everywhere. A segment that is compacted meanwhile comes once; one that is dropped, not at all.
    Raises `MeasurementError` when the log is there and cannot be read.
    """
    scan = _Scan(folder, kind, query, columns)
    lines = segment_sizes(folder, kind)  # before the files: what is compacted in between is in both
    for path, span in spans_of(folder, kind):
        for number in scan.also_in(path, lines):
            del lines[number]
        if span.overlaps(query.since, query.until):
            yield from scan.file(path)
    for number in sorted(lines):
        yield from scan.segment(number)


class _Scan:
    """One question: what it reads of files and segments, and what it chooses of that."""

    def __init__(self, folder: Path, kind: str, query: Query, columns: Sequence[str]) -> None:
        self._folder, self._kind, self._query = folder, kind, query
        self._columns = list(columns)
        filters = ("t", *["v"] * (query.version is not None), *["error"] * (query.failed is not None))
        self._needed = list(dict.fromkeys((*columns, *filters)))

    def also_in(self, path: Path, lines: dict[int, int]) -> list[int]:
        """The segments that are in the file and beside it too, as after a compaction that was killed."""
        first, last = (int(part, 16) for part in path.stem.split("-")[-2:])
        beside = [number for number in lines if first <= number <= last]
        try:
            return sorted(set(beside) & set(segments_of(path))) if beside else []
        except FileNotFoundError:  # dropped meanwhile
            return []

    def file(self, path: Path, only: int | None = None) -> "Iterator[pyarrow.Table]":
        """The chosen lines of all segments in a file, or of one; nothing when it was dropped meanwhile."""
        try:
            with opened(path) as (file, segments):
                for group, number in enumerate(segments):
                    if only in (None, number) and _may_have(file.metadata, group, self._query):
                        yield from self._chosen(self._read(file, group))
        except FileNotFoundError:
            return

    def segment(self, number: int) -> "Iterator[pyarrow.Table]":
        """The chosen lines of a segment that was not compacted when the scan began."""
        path = self._folder / f"{self._kind}-{number:08x}.jsonl"
        try:
            if path.stat().st_mtime < self._query.since - CLOCK_SECONDS:
                return
            content = path.read_bytes()
        except FileNotFoundError:  # compacted meanwhile, or dropped
            for first, last, file in compacted_files(self._folder, self._kind):
                if first <= number <= last:
                    yield from self.file(file, number)
            return
        except OSError as error:
            raise MeasurementError(f"{path} cannot be read: {error}") from error
        yield from self._chosen(_decoded(content.split(b"\n"), self._needed))

    def _read(self, file: Any, group: int) -> "pyarrow.Table":
        """The columns of one row group; the lines that are kept as they were are decoded."""
        import pyarrow

        names, plain = file.schema_arrow.names, _is_plain(file.metadata, group)
        wanted = [name for name in self._needed if name in names]
        table = file.read_row_group(group, columns=wanted if plain else [*wanted, "text"], use_threads=False)
        odd = None
        if not plain:
            text = table.column("text")
            odd = _decoded(text.drop_null().to_pylist(), self._needed)
            table = table.filter(text.is_null()).drop_columns(["text"])
        for name in self._needed:
            if name not in names:
                table = table.append_column(name, pyarrow.nulls(table.num_rows, pyarrow.type_for_alias(COLUMNS[name])))
        table = table.select(self._needed)
        return table if odd is None else pyarrow.concat_tables([table, odd])

    def _chosen(self, table: "pyarrow.Table") -> "Iterator[pyarrow.Table]":
        import pyarrow.compute as pc

        query, keep = self._query, []
        if query.since > -math.inf:
            keep.append(pc.greater_equal(table.column("t"), query.since))
        if query.until < math.inf:
            keep.append(pc.less(table.column("t"), query.until))
        if query.version is not None:
            keep.append(pc.equal(table.column("v"), query.version))
        if query.failed is not None:
            keep.append(pc.is_valid(table.column("error")) if query.failed else pc.is_null(table.column("error")))
        for mask in keep[1:]:
            keep[0] = pc.and_kleene(keep[0], mask)
        chosen = (table.filter(keep[0]) if keep else table).select(self._columns)
        if chosen.num_rows:
            yield chosen


def _is_plain(metadata: Any, group: int) -> bool:
    """Whether no line of a row group had to be kept as it was."""
    found = metadata.row_group(group).column(metadata.schema.names.index("text")).statistics
    return found is not None and found.null_count == metadata.row_group(group).num_rows


def _may_have(metadata: Any, group: int, query: Query) -> bool:
    """Whether a row group's statistics allow a line that the query wants."""
    if not span_of(metadata, group).overlaps(query.since, query.until):
        return False
    found = metadata.row_group(group).column(metadata.schema.names.index("v")).statistics
    told = found is not None and found.has_min_max and _is_plain(metadata, group)
    return query.version is None or not told or bool(found.min <= query.version <= found.max)


def _decoded(lines: Sequence[bytes], needed: Sequence[str]) -> "pyarrow.Table":
    """The needed fields of lines as a table with the types of the compacted ones."""
    import pyarrow

    fields: list[tuple[str, Any, Any]] = []
    for name in needed:
        raw = name in JSON
        fields.append((name, msgspec.Raw if raw else TYPES[COLUMNS[name]], msgspec.Raw() if raw else None))
    decode = msgspec.json.Decoder(msgspec.defstruct("Line", fields, gc=False)).decode
    texts = [place for place, name in enumerate(needed) if name in JSON]
    rows = []
    for line in lines:
        if line:
            try:
                values = list(msgspec.structs.astuple(decode(line)))
                for place in texts:
                    values[place] = bytes(values[place]).decode() or None
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            rows.append(values)
    by_column: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(needed)
    arrays = [
        pyarrow.array(values, type=pyarrow.type_for_alias(COLUMNS[name]))
        for name, values in zip(needed, by_column, strict=True)
    ]
    return pyarrow.table(arrays, names=list(needed))
