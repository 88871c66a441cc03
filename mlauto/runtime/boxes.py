"""The directory through which a job's container is spoken to: a socket, and a lock that says that its maker lives.

A container whose lock nobody holds was left behind by a process that was killed; it is removed by the next job to
start, or by tidying up.
"""

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlauto.runtime.engine import HOME_LABEL, Engine
from mlauto.serving.web.sockets import short_path

__all__ = ["BOX_LABEL", "box", "container_user", "listening", "remove_leftovers"]

BOX_LABEL = "mlauto.box"
UNPRIVILEGED = 10001


def container_user() -> int:
    """Who other people's code is in a container: this user, so that it reads what we wrote; for root, nobody's uid."""
    return os.getuid() or UNPRIVILEGED


@contextmanager
def box(home: Path) -> Iterator[Path]:
    """A new directory below the state directory that the container's user may enter, and this process's lock in it."""
    base = home / "tmp"
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=base, prefix="job-"))
    try:
        with (folder / "lock").open("w") as lock:
            (folder / "lock").chmod(0o600)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.chown(folder, container_user(), -1)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def listening(folder: Path) -> Iterator[socket.socket]:
    """The socket `socket` in a box; the container's user may connect."""
    with socket.socket(socket.AF_UNIX) as listener:
        with short_path(folder / "socket") as name:
            listener.bind(name)
        os.chown(folder / "socket", container_user(), -1)
        listener.listen(1)
        yield listener


def remove_leftovers(engine: Engine, home: Path) -> tuple[str, ...]:
    """Remove the containers of this state directory whose makers are gone; their names."""
    removed = []
    for state in engine.containers({HOME_LABEL: str(home), BOX_LABEL: ""}):
        folder = Path(state.labels[BOX_LABEL])
        if not _held(folder):
            engine.remove(state.id)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(state.name)
    return tuple(removed)


def _held(folder: Path) -> bool:
    """Whether a process that lives holds the lock in that directory."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
