"""Removal of what nothing refers to any more: artifacts of the store, and what killed processes left behind.

An artifact is put into the store first and named by a record later, so only old ones go: `GRACE` is far more than lies
between the two. Each goes at once (a rename, or an unlink) under the store's lock, where its age is looked at again:
whoever finds an artifact has renewed its age and keeps it, whoever comes later does not find it. It may be killed
anywhere and be run again, and several may run at a time.
"""

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlauto.store import Store

__all__ = ["GRACE", "LEFT_BEHIND", "Swept", "sweep"]

GRACE = 3600.0
LEFT_BEHIND = 86400.0  # so long nothing was written there: longer than any step of ours takes
DIGEST = re.compile(r"[0-9a-f]{64}")
GONE = "gone"  # prefix of what is being removed


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How much was removed: files and directories of the store, leftovers of killed processes, and their bytes."""

    objects: int = 0
    trees: int = 0
    leftovers: int = 0
    bytes: int = 0


def sweep(
    store: Store, referenced: Collection[str], *, now: float, grace: float = GRACE, left_behind: float = LEFT_BEHIND
) -> Swept:
    """Remove artifacts that are not in `referenced` and older than `grace` seconds, and leftovers of a day.

    `referenced` must have been collected after `now`. Raises `OSError` when something cannot be removed.
    """
    objects = [
        _take_away(store, path, now - grace)
        for shard in _entries(store.objects)
        for path in _entries(shard)
        if DIGEST.fullmatch(path.name) and path.name not in referenced
    ]
    trees = [
        _take_away(store, path, now - grace)
        for path in _entries(store.trees)
        if DIGEST.fullmatch(path.name) and path.name not in referenced
    ]
    leftovers = [_clear(path) for path in _leftovers(store, now - left_behind)]
    return Swept(
        objects=sum(size is not None for size in objects),
        trees=sum(size is not None for size in trees),
        leftovers=len(leftovers),
        bytes=sum(size or 0 for size in (*objects, *trees, *leftovers)),
    )


def _take_away(store: Store, path: Path, before: float) -> int | None:
    """Remove an artifact whose age is from before that time, and return its bytes; None when it stays or was gone."""
    if _changed(path) >= before:
        return None
    trash = store.scratch(GONE)
    try:
        with store.locked():
            if _changed(path) >= before:
                return None
            os.rename(path, trash / path.name)
    except FileNotFoundError:  # another one took it
        return None
    finally:
        size = _clear(trash)
    return size


def _leftovers(store: Store, before: float) -> Iterator[Path]:
    """Scratch directories and halves of files that nobody has written to since `before`, and halves of removals."""
    for path in _entries(store.home / "tmp"):
        if path.name.startswith(f"{GONE}-") or max(map(_changed, _below(path))) < before:
            yield path
    for shard in _entries(store.objects):
        for path in _entries(shard):
            if path.name.startswith(".") and _changed(path) < before:
                yield path


def _clear(path: Path) -> int:
    """Remove a file or a directory that is nobody's, and return its bytes."""
    size = sum(map(_size, _below(path)))
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)  # another one may be at it; what stays is a leftover
    else:
        path.unlink(missing_ok=True)
    return size


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _below(path: Path) -> list[Path]:
    """The path itself and what is below it, whatever goes away meanwhile."""
    return [path, *(Path(folder, name) for folder, folders, files in os.walk(path) for name in (*folders, *files))]


def _changed(path: Path) -> float:
    """When it was put or renewed; never for what is gone."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return float("-inf")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        return 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return 0
