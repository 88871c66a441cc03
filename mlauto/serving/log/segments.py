"""Files of JSON lines: one `write` per line, numbered segments of bounded size, bounded in all, one writer for each.

A writer holds an advisory lock (flock) on its segment for as long as it may write to it; the kernel lets go of it when
the process ends, however it ends. So several processes may write one kind at a time, each to a segment of its own, a
restart goes on in the newest one, and nobody removes a file that is still written to.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlauto.serving.log.durability import Syncer, sync_folder

__all__ = ["Segments", "hold", "is_held", "segment_numbers", "segment_sizes"]

SEGMENT_BYTES = 4 << 20
MOST_SEGMENTS = 256
MOST_BYTES = 2 << 30  # of one kind: requests may be large, so the number of segments alone bounds too little
# What was compacted is a file of its own, named after its first and its last segment; their numbers are not used again.
NAME = re.compile(r"([a-z]+)-(?:[0-9a-f]{8}-)?([0-9a-f]{8})\.(jsonl|parquet)")
LOOK_SECONDS = 1.0


class Segments:
    """One kind's files. Every method may raise `OSError`; whatever was written before is whole.

    `number` is the segment that is written to, or the newest one there is; `room` are the bytes left in it, 0 or less
    when `begin` is due.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_segments: int = MOST_SEGMENTS,
        syncer: Syncer | None = None,
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._segment_bytes = segment_bytes
        self._most_segments = most_segments
        self._syncer = syncer
        self._file = -1
        self._began = False
        self._unsynced = False
        self._looked = time.monotonic()
        self._newest = max(segment_numbers(folder, kind), default=0)
        self.number = self._newest
        self.room = 0

    def newest(self) -> int:
        """The newest segment's number, this process's or another's, as it was at most a second ago."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._newest = max(segment_numbers(self._folder, self._kind), default=0)
        return max(self._newest, self.number)

    def append(self, line: bytes) -> None:
        """Write one line (without its newline) whole, beginning the next segment first when this one is full."""
        if self.room <= 0:
            self.begin()
        self.extend(line)

    def extend(self, line: bytes) -> None:
        """Write one line to the segment that is open, full or not; where none is, or it is damaged, to the next."""
        if self._file < 0:
            self.begin()
        content = line + b"\n"
        written = os.write(self._file, content)
        self.room -= written
        if self._syncer is not None and not self._unsynced:
            self._unsynced = True
            self._syncer.submit(self._sync)
        if written < len(content):
            path = self._path(self.number)
            self.close()  # the next line must not go on where this one was cut
            raise OSError(f"{path}: only {written} of {len(content)} bytes were written")

    def begin(self) -> int:
        """Take a segment with room and drop the oldest ones beyond the bounds; returns the bytes it has already.

        The first time that is the newest segment, if it is whole and nobody's; otherwise it is a new one.
        """
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = segment_numbers(self._folder, self._kind)
        newest = max(numbers, default=None)
        size = None
        if newest is not None and not self._began:
            size = self._resume(newest)
        if size is None:
            self._create(0 if newest is None else max(newest, self.number) + 1)
            self._later(self._drop_oldest)
            size = 0
        self._began = True
        self.room = self._segment_bytes - size
        return size

    def close(self) -> None:
        """Let go of the open segment; the next line goes to a new one."""
        file, self._file, self.room = self._file, -1, 0
        if file < 0:
            return
        if self._syncer is None:
            os.close(file)
        else:
            self._syncer.submit(partial(_finish, file))

    def _later(self, task: Callable[[], None]) -> None:
        """What need not be done before the next line is written is done by the syncer's thread."""
        if self._syncer is None:
            task()
        else:
            self._syncer.submit(task)

    def _sync(self) -> None:
        """Have what was written so far survive a power cut; called by the syncer, which alone closes files."""
        self._unsynced = False
        file = self._file
        if file >= 0:
            os.fdatasync(file)

    def _resume(self, number: int) -> int | None:
        """Hold the segment of that number and return its size; None when it is full, torn or another's."""
        path = self._path(number)
        try:
            size = path.stat().st_size
        except FileNotFoundError:  # compacted, or dropped by another process
            return None
        if size >= self._segment_bytes or not _is_whole(path, size):
            return None
        file = hold(path)
        if file is None:
            return None
        size = os.fstat(file).st_size
        self._file, self.number = file, number
        return size

    def _create(self, number: int) -> None:
        while True:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with contextlib.suppress(FileExistsError):
                file = os.open(self._path(number), flags, 0o640)
                if _lock(file):
                    break
                os.close(file)
            number += 1
        self._file, self.number = file, number
        if self._syncer is not None:
            self._syncer.submit(partial(sync_folder, self._folder))

    def _drop_oldest(self) -> None:
        sizes = segment_sizes(self._folder, self._kind)
        count, total = len(sizes), sum(sizes.values())
        for number in sorted(sizes):
            if count <= self._most_segments and total <= MOST_BYTES:
                return
            file = hold(self._path(number))
            if file is not None:  # another process still writes to it otherwise
                self._path(number).unlink(missing_ok=True)
                os.close(file)
                count, total = count - 1, total - sizes[number]

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._kind}-{number:08x}.jsonl"


def segment_numbers(folder: Path, kind: str) -> set[int]:
    """Numbers of the segments of a kind; of those that were compacted, the last of each file."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    found = (NAME.fullmatch(name) for name in names if name.startswith(f"{kind}-"))
    return {int(match[2], 16) for match in found if match and match[1] == kind}


def segment_sizes(folder: Path, kind: str) -> dict[int, int]:
    """Bytes of the segments of a kind by their numbers, in no order; empty where there is no folder."""
    sizes = {}
    length = len(f"{kind}-00000000.jsonl")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if len(name) == length and name.startswith(f"{kind}-") and NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):  # dropped or compacted by another process
                    sizes[int(name[-14:-6], 16)] = entry.stat().st_size
    return sizes


def hold(path: Path) -> int | None:
    """A descriptor, to append with, that keeps every other process from writing to or removing this segment.

    None when another process holds it or it is gone. Closing the descriptor lets go.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if _lock(file):
        return file
    os.close(file)
    return None


def is_held(path: Path) -> bool:
    """Whether a process may still write to this segment; looking hinders nobody."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone, or what else whoever reads it will hear
        return False
    return False


def _lock(file: int) -> bool:
    """Whether the lock was had, and the file is still in its folder."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _is_whole(path: Path, size: int) -> bool:
    """Whether the last line has its end: what a crash cut off is left alone, and not continued."""
    with path.open("rb") as stream:
        stream.seek(max(0, size - 1))
        return stream.read() in (b"", b"\n")


def _finish(file: int) -> None:
    try:
        os.fdatasync(file)
    finally:
        os.close(file)
