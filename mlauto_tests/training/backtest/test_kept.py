"""The fits that backtests leave: which are forgotten."""

import os
import time
from pathlib import Path

from mlauto.runtime.keeping import UNUSED_SECONDS, use
from mlauto.training.backtest.kept import CACHE_LIMIT, forget_fits


def test_the_cache_forgets_what_no_backtest_used(tmp_path: Path) -> None:
    """A fit that was taken from it counts as used; beyond the limit in bytes the longest unused ones go."""
    old, used, large = (tmp_path / folder / "fit.npz" for folder in ("00", "01", "02"))
    for file in (old, used, large):
        file.parent.mkdir()
        file.write_bytes(b"losses")
        os.utime(file, (1.0, 1.0))
    use(used)
    with large.open("wb") as stream:
        stream.truncate(CACHE_LIMIT)
    os.utime(large, (time.time() - UNUSED_SECONDS / 2,) * 2)

    forget_fits(tmp_path)

    assert [file.exists() for file in (old, used, large)] == [False, True, False]
