"""The data sensor's eye on a landing folder: which files have arrived complete, and which batch they make.

A file counts as complete when its size and modification time are as they were at the previous look, or when it was last
modified two seconds ago or earlier. It is known by name, size and modification time; the order of modification times
means nothing, so a file that is moved in with an old one is seen. Accepted files stay where they are: the folder is its
owner's. Light enough for a sensor process: no pandas, no Great Expectations.

What was planned is written down (`batches_planned/<key>`) before anyone is asked to ingest it, and removed once its
outcome is settled: a sensor that lost its run asks for the same batch again.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mlauto.errors import DataError
from mlauto.store import Store, digest_of
from mlauto.training.batches.frames import SUFFIXES

__all__ = [
    "Cursor",
    "FolderLanding",
    "LandedFile",
    "Landing",
    "PlannedBatch",
    "Scan",
    "batch_key",
    "forget",
    "pending",
    "plan",
    "planned",
    "scan",
    "settle",
]

SETTLED_SECONDS = 2.0
FULL_LOOK_SECONDS = 60.0
MAX_FILES = 10_000
MAX_IGNORED = 20
TEMPORARY = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp", "~")
WIDTH = 8


@dataclass(frozen=True, slots=True)
class LandedFile:
    """A file as a look at the folder sees it."""

    name: str
    size: int
    mtime_ns: int

    @property
    def fingerprint(self) -> bytes:
        """Eight bytes that stand for name, size and modification time."""
        text = f"{self.name}\0{self.size}\0{self.mtime_ns}".encode(errors="surrogateescape")
        return hashlib.blake2b(text, digest_size=WIDTH).digest()


class Landing(Protocol):
    """Where data files arrive. A local folder today; any fsspec path fits behind the same five questions."""

    def prepare(self) -> None:
        """Make the place, where that is possible; called once, before the first look."""

    def stamp(self, now: float) -> str:
        """A text that changes whenever a file comes or goes; empty when that cannot be told."""

    def files(self) -> Iterable[LandedFile]:
        """Every regular file, in no order. Raises `DataError` when the place cannot be read."""

    def look(self, name: str) -> LandedFile | None:
        """One file as it is now; None when it is gone."""

    def fetch(self, name: str) -> Path:
        """A local path with that file's content."""

    def withdraw(self, name: str, target: Path) -> None:
        """Move a file to the local path `target`; nothing happens when it has gone there already."""


class FolderLanding:
    """A folder on this machine; files in its sub-folders do not count."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> None:
        """Create the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def stamp(self, now: float) -> str:
        """Identity and modification time of the folder; empty while it is so fresh that a change could still hide."""
        try:
            status = self.folder.stat()
        except FileNotFoundError:
            return ""
        fresh = now - status.st_mtime < SETTLED_SECONDS
        return "" if fresh else f"{status.st_dev}:{status.st_ino}:{status.st_mtime_ns}"

    def files(self) -> Iterable[LandedFile]:
        """Every regular file in the folder."""
        found = []
        try:
            with os.scandir(self.folder) as entries:
                for entry in entries:
                    try:
                        if entry.is_file():
                            status = entry.stat()
                            found.append(LandedFile(entry.name, status.st_size, status.st_mtime_ns))
                    except FileNotFoundError:
                        continue  # it went away between listing and looking
        except OSError as error:
            raise DataError(f"landing folder {self.folder} cannot be read ({error.strerror}): create it") from error
        return found

    def look(self, name: str) -> LandedFile | None:
        """One file as it is now."""
        try:
            status = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return LandedFile(name, status.st_size, status.st_mtime_ns)

    def fetch(self, name: str) -> Path:
        """The file itself."""
        return self.folder / name

    def withdraw(self, name: str, target: Path) -> None:
        """Rename the file to `target`, or copy and then delete it where that is another file system."""
        source = self.folder / name
        if not source.exists():
            return
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise DataError(
                    f"{source} cannot be moved to {target}: allow mlauto to write in both folders"
                ) from error
            partial = target.with_name(f".{target.name}.part")
            shutil.copy2(source, partial)
            os.replace(partial, target)
            source.unlink()


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """What is remembered between two looks: eight bytes for each file in the folder, and no history.

    `known` and `waiting` are fingerprints, one after the other: files that were taken, and files not yet complete.
    `latest` is the arrival time in the newest key, so that keys rise even when the clock is set back.
    """

    known: bytes = b""
    waiting: bytes = b""
    stamp: str = ""
    looked: float = 0.0
    latest: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one look found: complete new files by name, the cursor for the next look, and what is left.

    `waiting` counts files that are not yet complete, or that exceed the 10,000 of one batch; `ignored` names up to 20
    that are neither CSV nor Parquet.
    """

    files: tuple[LandedFile, ...]
    cursor: Cursor
    waiting: int = 0
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedBatch:
    """A batch that shall be ingested: which files, exactly as they were seen, and when (seconds since the epoch)."""

    key: str
    files: tuple[LandedFile, ...]
    arrived: float


def scan(landing: Landing, cursor: Cursor, now: float) -> Scan:
    """Look once. `now` is the time in seconds since the epoch.

    A folder that has not changed is not listed again, except once a minute (a file may be overwritten in place). The
    cursor remembers only files that are there, so its size is bounded by the folder's. Raises `DataError` when the
    landing place cannot be read.
    """
    stamp = landing.stamp(now)
    if stamp and stamp == cursor.stamp and 0 <= now - cursor.looked < FULL_LOOK_SECONDS:
        return Scan(files=(), cursor=cursor)
    known, waited = _split(cursor.known), _split(cursor.waiting)
    kept, waiting, fresh, ignored = [], [], [], []
    settled_before = (now - SETTLED_SECONDS) * 1e9
    for file in landing.files():
        if not _is_data(file.name):
            if not _is_temporary(file.name):
                ignored.append(file.name)
            continue
        fingerprint = file.fingerprint
        if fingerprint in known:
            kept.append(fingerprint)
        elif file.mtime_ns < settled_before or fingerprint in waited:
            fresh.append(file)
        else:
            waiting.append(fingerprint)
    fresh.sort(key=lambda file: file.name)
    taken, left = fresh[:MAX_FILES], fresh[MAX_FILES:]
    waiting += [file.fingerprint for file in left]
    following = replace(
        cursor,
        known=b"".join(kept + [file.fingerprint for file in taken]),
        waiting=b"".join(waiting),
        stamp="" if waiting else stamp,
        looked=now,
    )
    names = tuple(sorted(ascii(name)[1:-1] for name in ignored)[:MAX_IGNORED])
    return Scan(files=tuple(taken), cursor=following, waiting=len(waiting), ignored=names)


def batch_key(files: Iterable[LandedFile], arrived: float) -> str:
    """Name of the batch that `files` make: UTC time of arrival to the millisecond, then a digest; sorts by arrival."""
    time = datetime.fromtimestamp(arrived, UTC)
    digest = digest_of([(file.name, file.size, file.mtime_ns) for file in files])
    return f"{time:%Y%m%dT%H%M%S}{time.microsecond // 1000:03d}-{digest[:8]}"


def plan(store: Store, product: str, landing: Landing, now: float) -> Scan:
    """One tick of the data sensor: look, and write down the batch that the new complete files make, if any.

    The plan is on disk before the files count as taken; killed in between, the next tick finds them planned. Ask
    `pending` for what is to be ingested. Raises `DataError` when the landing place cannot be read.
    """
    before = store.read_record(product, "landing", Cursor)
    if before is None:
        landing.prepare()
    before, forgotten = _without_forgotten(store, product, before or Cursor())
    found = scan(landing, before, now)
    cursor = found.cursor
    if found.files:
        promised = {file for key in pending(store, product) for file in planned(store, product, key).files}
        files = tuple(file for file in found.files if file not in promised)
        arrived = max(now, cursor.latest + 0.001)
        if files:
            batch = PlannedBatch(key=batch_key(files, arrived), files=files, arrived=arrived)
            store.write_record(product, f"batches_planned/{batch.key}", batch)
            cursor = replace(cursor, latest=arrived)
        found = replace(found, files=files, cursor=cursor)
    if cursor != before or forgotten:
        store.write_record(product, "landing", cursor)
    for name in forgotten:
        store.record_path(product, name).unlink(missing_ok=True)
    return found


def pending(store: Store, product: str) -> tuple[str, ...]:
    """Keys of the batches that are planned and not settled, oldest first."""
    return tuple(sorted(store.record_names(product, "batches_planned")))


def planned(store: Store, product: str, key: str) -> PlannedBatch:
    """The plan of a pending batch. Raises `DataError` when there is none."""
    batch = store.read_record(product, f"batches_planned/{key}", PlannedBatch)
    if batch is None:
        raise DataError(f"batch {key} of {product} is not planned: data arrives through the landing folder")
    return batch


def settle(store: Store, product: str, key: str) -> None:
    """The batch has its outcome: it is pending no more."""
    store.record_path(product, f"batches_planned/{key}").unlink(missing_ok=True)


def forget(store: Store, product: str, key: str, files: Iterable[LandedFile]) -> None:
    """Let files that were taken out of the landing place count as new, should somebody put them back."""
    store.write_record(product, f"landing_forget/{key}", tuple(file.fingerprint for file in files))


def _without_forgotten(store: Store, product: str, cursor: Cursor) -> tuple[Cursor, list[str]]:
    """The cursor without what was forgotten, and the records that say so."""
    names = [f"landing_forget/{key}" for key in store.record_names(product, "landing_forget")]
    gone = {print_ for name in names for print_ in store.read_record(product, name, tuple[bytes, ...]) or ()}
    if gone:
        cursor = replace(cursor, known=b"".join(_split(cursor.known) - gone), stamp="")
    return cursor, names


def _split(fingerprints: bytes) -> frozenset[bytes]:
    return frozenset(fingerprints[at : at + WIDTH] for at in range(0, len(fingerprints), WIDTH))


def _is_data(name: str) -> bool:
    # A name that is no valid UTF-8 could not be written into a record: it is reported among the ignored.
    return name.lower().endswith(SUFFIXES) and name[0] != "." and name.isprintable()


def _is_temporary(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(TEMPORARY)
