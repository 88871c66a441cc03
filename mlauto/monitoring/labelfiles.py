"""Labels that arrive as files: `<landing>/labels/*.csv` with the columns `id` and `label`, imported once by content.

Imported labels are a series of segments of their own beside the gateway's, so that each series has one writer.
"""

import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mlauto.errors import DataError
from mlauto.monitoring.predictionlog import Label, LogReader
from mlauto.store import atomic_write, file_digest

__all__ = ["ImportReport", "import_labels", "read_label_file"]

SEGMENT_BYTES = 4 << 20
SEGMENTS = 64
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


def import_labels(source: Path, folder: Path, path: Path, *, now: float) -> ImportReport:
    """Append the label files `source/*.csv` (columns `id`, `label`) that were not imported yet to the label log.

    Several lines with one id are the rows of that request, in order; an id that has a line with an empty label is left
    out, and comes with the same file once that is complete. A file is known by its content, so that copying or
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
            lines = read_label_file(file)
        except DataError as error:
            problems.append(str(error))
            continue
        there = {key: values for key, values in lines.items() if None not in values}
        _append(folder, [Label(id=key, y=values, t=now) for key, values in there.items()])
        files, labels = files + 1, labels + sum(len(values) for values in there.values())
        if len(there) < len(lines):
            waiting.append(f"{file}: {len(lines) - len(there):,} of {len(lines):,} ids have no label yet: left out")
    if present != seen:
        atomic_write(path, msgspec.json.encode(present))
    return ImportReport(files=files, labels=labels, problems=tuple(problems), waiting=tuple(waiting))


def _read_seen(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _label_files(source: Path, now: float) -> Iterator[tuple[str, Path]]:
    """Identity (name, size, time) and path of the settled CSV files, by name."""
    if not source.is_dir():
        return
    with os.scandir(source) as entries:
        found = sorted((e.name, e.path, e.stat()) for e in entries if e.name.endswith(".csv") and e.is_file())
    for name, file, stat in found:
        if now - stat.st_mtime >= SETTLE_SECONDS:
            yield f"{name}:{stat.st_size}:{stat.st_mtime_ns}", Path(file)


def read_label_file(path: Path) -> dict[str, list[Any]]:
    """Labels by prediction id, None for an empty one. Raises `DataError` naming file and line if it is no such CSV."""
    labels: dict[str, list[Any]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"id", "label"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} needs the columns id and label, it has {reader.fieldnames}: add the header")
            for row in reader:
                if not row["id"] or row["label"] is None:
                    raise DataError(f"{path} line {reader.line_num} has no id or no label: complete or delete it")
                labels.setdefault(row["id"].strip(), []).append(_value(row["label"].strip()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is no CSV file in UTF-8: {error}") from error
    return labels


def _value(text: str) -> Any:
    """A number where the text is exactly how one is written (`1`, `2.5`, not `01`); None for nothing; else the text."""
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


def _append(folder: Path, labels: list[Label]) -> None:
    """Write whole lines, at most a segment at once, to the newest segment of imported labels or to a new one."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = LogReader(folder, "imported", Label)
    for first in range(0, len(labels), 10_000):
        content = b"".join(msgspec.json.encode(label) + b"\n" for label in labels[first : first + 10_000])
        sizes = reader.sizes()
        newest = max(sizes, default=0)
        target = newest + (sizes.get(newest, 0) >= SEGMENT_BYTES)
        handle = os.open(folder / f"imported-{target:08x}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "wb", buffering=0) as stream:
            stream.write(content)
        for old in [number for number in sizes if number <= target - SEGMENTS]:
            (folder / f"imported-{old:08x}.jsonl").unlink(missing_ok=True)
