"""A lock between processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.errors import SourceError
from mlauto.integration.lock import locked


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    """A second holder waits, and gives up after its time with the file's name."""
    path = tmp_path / "deep" / "x.lock"

    with locked(path, timeout=1), pytest.raises(SourceError, match=r"x\.lock for 0 s"), locked(path, timeout=0.05):
        pytest.fail("two holders")
    with locked(path, timeout=0.05):
        assert path.exists()


def test_lock_dies_with_its_holder(tmp_path: Path) -> None:
    """Kill -9 of the holder frees the lock."""
    path = tmp_path / "x.lock"
    code = (
        "import sys, time; from pathlib import Path; from mlauto.integration.lock import locked\n"
        "with locked(Path(sys.argv[1]), timeout=5):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SourceError), locked(path, timeout=0.05):
            pytest.fail("two holders")
        holder.kill()

    with locked(path, timeout=5) as descriptor:
        assert descriptor > 2
