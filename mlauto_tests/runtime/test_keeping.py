"""The cache forgets what nobody uses."""

import os
import time
from pathlib import Path

from mlauto.runtime.keeping import UNUSED_SECONDS, forget_unused, use


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("content")
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


def test_only_what_nobody_uses_is_forgotten(tmp_path: Path) -> None:
    """However deep it lies; what was used lately stays, however old it is."""
    gone, young = aged(tmp_path / "a" / "b" / "old", UNUSED_SECONDS + 60), aged(tmp_path / "a" / "young", 60)
    used = aged(tmp_path / "used", 2 * UNUSED_SECONDS)
    use(used, young)
    forget_unused(tmp_path)

    assert (gone.exists(), young.exists(), used.exists()) == (False, True, True)
    forget_unused(tmp_path / "nothing")
