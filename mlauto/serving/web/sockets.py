"""Listening sockets, and unix sockets at paths of any length."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["listen_tcp", "listen_unix", "short_path"]


BACKLOG = 2048  # as uvicorn's
LONGEST_NAME = 80  # with what `short_path` puts before it, the kernel takes 107


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """A short name for a socket's path, valid within the block: the kernel refuses names of more than 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen_unix(path: Path) -> socket.socket:
    """A listening socket bound to `path`, for its owner only; missing folders are made.

    One that is there is replaced in one step: who connects at any moment reaches the old one or the new one.
    """
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OSError(errno.ENAMETOOLONG, f"{path.name}: File name too long for a socket")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(fresh) as name:
            mask = os.umask(0o177)
            try:
                found.bind(name)
            finally:
                os.umask(mask)
        found.listen(BACKLOG)
        fresh.replace(path)
    except OSError:
        found.close()
        raise
    found.setblocking(False)
    return found


def listen_tcp(host: str, port: int) -> socket.socket:
    """A bound TCP socket; port 0 picks a free one. Raises `OSError` when the port is taken."""
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError:
        found.close()
        raise
    found.setblocking(False)
    return found
