"""The cache forgets what nobody uses."""

import os
import time
from pathlib import Path

from mlauto.runtime.keeping import UNUSED_SECONDS, forget_unused, keep_below, use


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


def test_the_longest_unused_go_until_the_rest_is_small_enough(tmp_path: Path) -> None:
    """By bytes; a lock and the half of a file that is being written are nobody's to remove."""
    names = [f"{letter}/{letter}" for letter in "abcde"]
    paths = [aged(tmp_path / name, 1000.0 - 100 * number) for number, name in enumerate(names)]
    hidden = aged(tmp_path / "a" / ".lock", 5000)
    use(paths[0])

    assert keep_below(tmp_path, 7 * 3) == 7 * 2  # each has seven bytes
    assert [path.exists() for path in paths] == [True, False, False, True, True]
    assert hidden.exists()
    assert keep_below(tmp_path, 7 * 3) == 0
    assert keep_below(tmp_path, 7 * 3 - 1) == 7
    assert keep_below(tmp_path / "nothing", 1) == 0
