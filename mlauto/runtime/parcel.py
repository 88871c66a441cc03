"""What passes over the socket between a job's container and us: JSON messages, and files behind them.

The other end is not trusted: a message is bounded, and a file is taken only below the names that were asked for, as a
plain new file, while the whole stays below a size.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from socket import socket
from typing import Any, BinaryIO

__all__ = ["Delivery", "ParcelError", "receive", "say", "send_files"]

MESSAGE_LIMIT = 1 << 20
MOST_FILES = 10_000
CHUNK = 1 << 20


class ParcelError(Exception):
    """The other end does not keep to the protocol, or sends what was not asked for."""


def say(connection: socket, message: dict[str, Any]) -> None:
    """Send one message."""
    connection.sendall(json.dumps(message).encode() + b"\n")


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end. Raises `ParcelError` for anything but a message of at most 1 MiB."""
    line = stream.readline(MESSAGE_LIMIT)
    if not line:
        return None
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not line.endswith(b"\n") or not isinstance(message, dict):
        raise ParcelError("what came is no message")
    return message


def send_files(connection: socket, folder: Path, names: Sequence[str]) -> list[str]:
    """Send the plain files below each of the names that is there; one sentence for whatever else lies there."""
    refused = []
    for path in _below(folder, names):
        name = path.relative_to(folder).as_posix()
        if stat.S_ISDIR(path.lstat().st_mode):
            continue
        if not stat.S_ISREG(path.lstat().st_mode):
            refused.append(f"{name[:200]} is no plain file")
            continue
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            say(connection, {"file": name, "bytes": size})
            connection.sendfile(stream, count=size or None)
    return refused


def _below(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        top = folder / name
        if not os.path.lexists(top):
            continue
        yield top
        if top.is_dir() and not top.is_symlink():
            for where, folders, files in os.walk(top):
                yield from (Path(where, one) for one in (*folders, *files))


@dataclass
class Delivery:
    """Where files go: below `folder`, under one of `names`, at most `limit` bytes in all."""

    folder: Path
    names: Sequence[str]
    limit: int
    files: int = 0

    def take(self, message: dict[str, Any], stream: BinaryIO) -> None:
        """Take the file that `message` announces. Raises `ParcelError` when it is none of those asked for."""
        name, size = message.get("file"), message.get("bytes")
        if not isinstance(name, str) or not isinstance(size, int) or size < 0:
            raise ParcelError("what came is no file")
        parts = PurePosixPath(name).parts
        if not parts or parts[0] not in self.names or ".." in parts or "\0" in name:
            raise ParcelError(f"the file {name[:200]!r} was not asked for")
        self.files, self.limit = self.files + 1, self.limit - size
        if self.limit < 0 or self.files > MOST_FILES:
            raise ParcelError("the files that came are too large, or too many")
        target = self.folder.joinpath(*parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as copy:
                while size and (chunk := stream.read(min(size, CHUNK))):
                    copy.write(chunk)
                    size -= len(chunk)
        except OSError as error:
            raise ParcelError(f"the file {name[:200]!r} cannot be kept: {error.strerror}") from error
        if size:
            raise ParcelError(f"the file {name[:200]!r} did not come whole")
