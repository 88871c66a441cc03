"""Labels that arrive as files: `<landing>/labels/*.csv` or `.parquet`, imported once by content.

Their columns are `id` and `label`, or, where the product has a key, the key columns and `label` or the target's name.
"""

import contextlib
import csv
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from mlauto.errors import DataError
from mlauto.monitoring.labels.keys import key_text
from mlauto.monitoring.labels.written import append_labels
from mlauto.monitoring.log.reading import Label
from mlauto.store import atomic_write, file_digest

__all__ = ["ImportReport", "columns_of", "import_labels", "read_key_file", "read_label_file"]

SETTLE_SECONDS = 1.0  # a label file that changed less than this ago may still be being written


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What one look into the folder of label files did; a `problem` names the file and what is wrong with it.

    `waiting` sentences say of a file how many of its ids have no label yet: they were left out.
    """

    files: int
    labels: int
    problems: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


def import_labels(
    source: Path, folder: Path, path: Path, *, now: float, key: Sequence[str] = (), target: str = "label"
) -> ImportReport:
    """Append the label files of `source` that were not imported yet to the label log.

    Several lines with one id are the rows of that request, in order; an id that has a line with an empty label is left
    out, and comes with the same file once that is complete. Files without ids but with the `key` columns go to the log
    of labels by key, which `keyjoin` reads. A file is known by its content, so that copying or
    renaming it imports nothing; one that changed a second ago is left for the next call. `path` remembers what was
    seen. A process killed in between imports a file twice, which changes nothing: the newest label of an id wins.
    """
    seen = _read_seen(path)
    present: dict[str, str] = {}
    files = labels = 0
    problems, waiting = [], []
    known = set(seen.values())
    for name, file in _label_files(source, now):
        digest = seen.get(name) or file_digest(file)
        present[name] = digest
        if digest in known:
            continue
        known.add(digest)
        try:
            by_key = bool(key) and ("id" in key or "id" not in columns_of(file))
            lines = read_key_file(file, key, target) if by_key else read_label_file(file)
        except DataError as error:
            problems.append(str(error))
            continue
        there = {name: values for name, values in lines.items() if None not in values}
        append_labels(
            folder,
            "keyed" if by_key else "imported",
            [Label(id=name, y=values, t=now) for name, values in there.items()],
        )
        files, labels = files + 1, labels + sum(len(values) for values in there.values())
        if len(there) < len(lines):
            missing, what = len(lines) - len(there), "keys" if by_key else "ids"
            waiting.append(f"{file}: {missing:,} of {len(lines):,} {what} have no label yet: left out")
    if present != seen:
        atomic_write(path, msgspec.json.encode(present))
    return ImportReport(files=files, labels=labels, problems=tuple(problems), waiting=tuple(waiting))


def _read_seen(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _label_files(source: Path, now: float) -> Iterator[tuple[str, Path]]:
    """Identity (name, size, time) and path of the settled files, by name."""
    if not source.is_dir():
        return
    with os.scandir(source) as entries:
        found = sorted(
            (e.name, e.path, e.stat()) for e in entries if e.name.endswith((".csv", ".parquet")) and e.is_file()
        )
    for name, file, stat in found:
        if now - stat.st_mtime >= SETTLE_SECONDS:
            yield f"{name}:{stat.st_size}:{stat.st_mtime_ns}", Path(file)


def read_label_file(path: Path) -> dict[str, list[Any]]:
    """Labels by prediction id, None for an empty one. Raises `DataError` naming file and line if it has not those."""
    labels: dict[str, list[Any]] = {}
    for place, row in _lines(path, ("id", "label")):
        if not row["id"] or row["label"] is None:
            raise DataError(f"{path} {place} has no id or no label: complete or delete it")
        labels.setdefault(str(row["id"]).strip(), []).append(_value(row["label"]))
    return labels


def read_key_file(path: Path, key: Sequence[str], target: str) -> dict[str, list[Any]]:
    """Labels by the text of their key, the last of each, None for an empty one; their column is `label` or `target`.

    Raises `DataError` naming the file and the line that has no key, or the columns that are missing.
    """
    labels: dict[str, list[Any]] = {}
    names = columns_of(path)
    label = "label" if "label" in names and "label" not in key else target
    for place, row in _lines(path, (*key, label)):
        text = key_text(key, [row[name] for name in key])
        if text is None:
            gap = next(name for name in key if key_text((name,), (row[name],)) is None)
            raise DataError(f"{path} {place} has no {gap}, which is of the key: complete or delete it")
        labels[text] = [_value(row[label])]
    return labels


def columns_of(path: Path) -> tuple[str, ...]:
    """The names in a label file's header. Raises `DataError`."""
    if path.suffix == ".parquet":
        with _parquet(path) as file:
            return tuple(file.schema_arrow.names)
    with _csv(path) as stream:
        return tuple(csv.DictReader(stream).fieldnames or ())


def _lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line of a file, and the words for its place."""
    names = columns_of(path)
    if not set(needed) <= set(names):
        raise DataError(f"{path} needs the columns {' and '.join(needed)}, it has {list(names)}: add the header")
    if path.suffix == ".parquet":
        number = 0
        with _parquet(path) as file:
            for batch in file.iter_batches(columns=list(dict.fromkeys(needed))):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
        return
    with _csv(path) as stream:
        reader = csv.DictReader(stream)
        for row in reader:
            yield f"line {reader.line_num}", row


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            yield stream
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from error


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is no Parquet file: {error}") from error


def _value(value: Any) -> Any:
    """A number where a text is exactly how one is written (`1`, `2.5`, not `01`); None for nothing; else the text."""
    if not isinstance(value, str):
        usable = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        return value if usable else None if value is None or isinstance(value, float) else str(value)
    text = value.strip()
    if text.lower() in ("", "nan"):
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if kind is int and str(number) != text:
            return text
        return number if math.isfinite(number) else text
    return text
