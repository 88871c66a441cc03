"""The newest label of each prediction, for a query of any size: on disk while it runs, whatever their number."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from mlauto.monitoring.log.query import Query, tables

__all__ = ["LabelIndex"]

ORIGINS = ("labels", "imported")
CACHE_KB = 16_384


class LabelIndex:
    """Labels written at `since` or later by their prediction's id; a prediction's labels are never older than it is.

    A temporary file without a name, gone with the block. Raises `MeasurementError` when the log cannot be read.
    """

    def __init__(self, folder: Path, since: float) -> None:
        self._database = sqlite3.connect("")
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        self._database.execute("CREATE TABLE label (id TEXT PRIMARY KEY, t REAL, y TEXT) WITHOUT ROWID")
        newest = (
            "INSERT INTO label VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET t = excluded.t, y = excluded.y"
            " WHERE excluded.t >= t"
        )
        for origin in ORIGINS:
            for table in tables(folder, Query(since=since), ("id", "t", "y"), origin):
                lines = zip(*(table.column(name).to_pylist() for name in ("id", "t", "y")), strict=True)
                self._database.executemany(newest, [line for line in lines if None not in line])

    def of(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """The labels of those of the predictions that have one, one value per row."""
        found = {}
        for name in ids:
            line = self._database.execute("SELECT y FROM label WHERE id = ?", (name,)).fetchone()
            if line is not None:
                found[name] = msgspec.json.decode(line[0], type=list[Any])
        return found

    def __enter__(self) -> "LabelIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
