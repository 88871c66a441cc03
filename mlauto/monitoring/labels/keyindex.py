"""Which rows were asked under which key, and the newest label of each key: one file that is changed as a whole.

It is a cache: what it has comes from the log, and where it is lost or damaged it is made again from there. Bounded: the
oldest segments' keys are forgotten first.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlauto.errors import MeasurementError
from mlauto.monitoring.log.inorder import Position
from mlauto.monitoring.log.reading import Label

__all__ = ["Asked", "KeyIndex", "open_index"]

Asked = tuple[bytes, str, int, float]  # key (empty: none), prediction's id, row, time
MOST_ROWS = 2_000_000
MOST_LABELS = 2_000_000
MOST_PER_KEY = 1000  # predictions that one label is joined with, the newest ones
WAIT_SECONDS = 5.0
FORMAT = 1
SCHEMA = f"""
CREATE TABLE asked (key BLOB, id TEXT, row INTEGER, t REAL, PRIMARY KEY (key, id, row)) WITHOUT ROWID;
CREATE INDEX asked_by_id ON asked (id, row);
CREATE TABLE label (key BLOB PRIMARY KEY, t REAL, y TEXT, segment INTEGER) WITHOUT ROWID;
CREATE INDEX label_by_segment ON label (segment);
CREATE TABLE due (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE kept (kind TEXT, segment INTEGER, rows INTEGER, PRIMARY KEY (kind, segment)) WITHOUT ROWID;
CREATE TABLE position (kind TEXT PRIMARY KEY, at TEXT) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
"""


@contextlib.contextmanager
def open_index(path: Path) -> Iterator["KeyIndex"]:
    """The index, for one change: all of it is kept when the block ends, and nothing when it fails or is killed.

    A file that is damaged, or of another version, is made anew. Raises `MeasurementError` where another process has
    it, or the disk fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.closing(_begun(path)) as database:
            yield KeyIndex(database)
            database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise MeasurementError(f"{path} cannot be used ({error}): it is tried again in a moment") from error
    except sqlite3.DatabaseError as error:
        path.unlink(missing_ok=True)
        raise MeasurementError(f"{path} was damaged ({error}): it is made again from the log") from error


def _begun(path: Path) -> sqlite3.Connection:
    try:
        database = _opened(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:  # it is no database at all
        database = None
    if database is None:
        path.unlink(missing_ok=True)
        database = _opened(path)
    if database is None:
        raise sqlite3.DatabaseError("another process makes one of another version")
    return database


def _opened(path: Path) -> sqlite3.Connection | None:
    """The file with a change begun; None when it is of another version."""
    database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        database.execute("BEGIN IMMEDIATE")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            for statement in SCHEMA.split(";"):
                database.execute(statement)
    except sqlite3.Error:
        database.close()
        raise
    if found in (0, FORMAT):
        return database
    database.close()
    return None


class KeyIndex:
    """The open index; what a label is joined with is `due` until it was taken."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._run = database.execute
        self._many = database.executemany

    def position(self, kind: str) -> Position:
        """How far a series of the log was read."""
        found = self._run("SELECT at FROM position WHERE kind = ?", (kind,)).fetchone()
        return msgspec.json.decode(found[0], type=Position) if found else Position()

    def moved(self, kind: str, position: Position) -> None:
        """The series was read so far."""
        self._run("INSERT OR REPLACE INTO position VALUES (?, ?)", (kind, msgspec.json.encode(position).decode()))

    def ask(self, segment: int, rows: Sequence[Asked]) -> None:
        """Add a segment's rows; those whose key has a label already are due."""
        self._many("INSERT OR IGNORE INTO asked VALUES (?, ?, ?, ?)", rows)
        labelled = "INSERT OR IGNORE INTO due SELECT ? WHERE EXISTS (SELECT 1 FROM label WHERE key = ?)"
        self._many(labelled, ((name, key) for key, name, _, _ in rows if key))
        self._keep("asked", segment, len(rows))

    def label(self, segment: int, labels: Iterable[tuple[bytes, float, str]]) -> int:
        """Add a segment's labels (key, time, JSON); the newest counts. How many of them said something new."""
        new = 0
        for key, t, y in labels:
            found = self._run("SELECT t, y FROM label WHERE key = ?", (key,)).fetchone()
            if found is not None and found[0] > t:
                continue
            self._run("INSERT OR REPLACE INTO label VALUES (?, ?, ?, ?)", (key, t, y, segment))
            if found is None or found[1] != y:
                self._run(
                    "INSERT OR IGNORE INTO due SELECT DISTINCT id FROM asked WHERE key = ? ORDER BY id DESC LIMIT ?",
                    (key, MOST_PER_KEY),
                )
                new += 1
        self._keep("label", segment, new)
        return new

    def take_due(self, values: int) -> tuple[list[Label], bool]:
        """The labels of requests that have new ones, of about so many rows, and whether there are more.

        A request has all its labels of now, None for rows without one; the time is that of the newest one, or of the
        prediction, if that is later.
        """
        taken: list[Label] = []
        rows = 0
        due = self._run("SELECT id FROM due ORDER BY id LIMIT ?", (values + 1,)).fetchall()  # a request has a row
        for (name,) in due:
            if rows >= values:
                return taken, True
            found = self._run(
                "SELECT label.y, max(asked.t, coalesce(label.t, 0)) FROM asked LEFT JOIN label USING (key)"
                " WHERE asked.id = ? ORDER BY asked.row",
                (name,),
            ).fetchall()
            self._run("DELETE FROM due WHERE id = ?", (name,))
            rows += len(found)
            if any(y is not None for y, _ in found):
                truth: list[Any] = [None if y is None else msgspec.json.decode(y) for y, _ in found]
                taken.append(Label(id=name, y=truth, t=max(t for _, t in found)))
        return taken, False

    def forget(self) -> None:
        """Drop the oldest segments' rows and labels beyond the bounds."""
        for segment in self._beyond("asked", MOST_ROWS):
            self._run("DELETE FROM asked WHERE id < ?", (f"{segment + 1:08x}",))
        for segment in self._beyond("label", MOST_LABELS):
            self._run("DELETE FROM label WHERE segment <= ?", (segment,))

    def _keep(self, kind: str, segment: int, rows: int) -> None:
        self._run(
            "INSERT INTO kept VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET rows = rows + excluded.rows",
            (kind, segment, rows),
        )

    def _beyond(self, kind: str, most: int) -> list[int]:
        """The segments, the newest excepted, that make the kind's rows too many; they no longer count."""
        kept = self._run("SELECT segment, rows FROM kept WHERE kind = ? ORDER BY segment", (kind,)).fetchall()
        total, dropped = sum(rows for _, rows in kept), []
        for segment, rows in kept[:-1]:
            if total <= most:
                break
            self._run("DELETE FROM kept WHERE kind = ? AND segment = ?", (kind, segment))
            total -= rows
            dropped.append(segment)
        return dropped
