"""How long what lies in the cache is kept: while it is used. Whatever is missing there is made or fetched again."""

import time
from pathlib import Path

__all__ = ["UNUSED_SECONDS", "forget_unused", "keep_below", "use"]

UNUSED_SECONDS = 60 * 86_400.0


def use(*paths: Path) -> None:
    """Note that kept files are used now."""
    for path in paths:
        path.touch()


def forget_unused(folder: Path) -> None:
    """Remove the files below a folder that nobody has used for so long. Others may do the same at the same time."""
    limit = time.time() - UNUSED_SECONDS
    for path in list(folder.rglob("*")):
        try:
            if path.is_file() and path.stat().st_mtime < limit:
                path.unlink()
        except FileNotFoundError:  # another process was faster
            continue


def keep_below(folder: Path, limit: int) -> int:
    """Remove the files below a folder that were used longest ago, until the others have `limit` bytes at most.

    Returns the bytes that were removed. Others may do the same at the same time.
    """
    found = []
    for path in list(folder.rglob("*")):
        try:
            if path.is_file() and not path.name.startswith("."):  # locks, and halves of files
                known = path.stat()
                found.append((known.st_mtime, known.st_size, path))
        except FileNotFoundError:
            continue
    excess = total = max(0, sum(size for _, size, _ in found) - limit)
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        path.unlink(missing_ok=True)
        excess -= size
    return total - excess
