"""A lock between processes that dies with its holder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlauto.errors import SourceError

__all__ = ["locked"]


@contextmanager
def locked(path: Path, *, timeout: float) -> Iterator[int]:
    """Hold the lock file `path` alone; yields its descriptor, which may be passed on to a child process.

    The kernel releases the lock when every process that has the descriptor is gone, however it went. Raises
    `SourceError` after `timeout` seconds of waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + timeout
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise SourceError(f"another process has held {path} for {timeout:.0f} s: see what it waits for")
            time.sleep(0.02)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
