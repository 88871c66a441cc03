"""How long what lies in the cache is kept: while it is used. Whatever is missing there is made or fetched again."""

import time
from pathlib import Path

__all__ = ["UNUSED_SECONDS", "forget_unused", "use"]

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
