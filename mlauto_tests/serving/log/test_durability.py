"""When lines reach the disk: in the background within a bound, or before the reply in one pass for all that wait."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from mlauto.serving.errors import StateError
from mlauto.serving.log.durability import MODES, Syncer, sync_folder


def test_tasks_run_within_the_bound_off_the_caller_s_thread() -> None:
    """`submit` returns at once; the pass is another thread's."""
    syncer = Syncer(bound=0.2)
    ran: list[tuple[float, str]] = []
    done = threading.Event()

    def task() -> None:
        ran.append((time.monotonic(), threading.current_thread().name))
        done.set()

    began = time.monotonic()
    syncer.submit(task)
    submitted = time.monotonic() - began

    assert done.wait(5)
    assert submitted < 0.05
    assert 0.05 < ran[0][0] - began < 1.0
    assert ran[0][1] == "log-sync"


def test_stopping_does_what_is_left() -> None:
    """Without waiting for the bound; later tasks begin a new thread."""
    syncer = Syncer(bound=60.0)
    ran: list[int] = []
    syncer.submit(lambda: ran.append(1))
    syncer.stop()
    syncer.submit(lambda: ran.append(2))
    syncer.stop()
    syncer.stop()

    assert ran == [1, 2]


def test_a_failing_disk_is_said_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """The thread goes on with what else there is to sync."""
    syncer = Syncer()
    ran: list[int] = []

    def fail() -> None:
        raise OSError(5, "Input/output error")

    syncer.submit(fail)
    syncer.submit(lambda: ran.append(1))
    syncer.stop()

    assert (syncer.failures, ran) == (1, [1])
    assert "could not be synced to disk: [Errno 5]" in capsys.readouterr().err


def test_by_default_nobody_waits() -> None:
    """`durable` is over at once, whatever there is to sync."""
    syncer = Syncer(bound=60.0)
    syncer.submit(lambda: None)
    asyncio.run(asyncio.wait_for(syncer.durable(), 1))
    syncer.stop()

    assert not syncer.shared


def test_all_that_wait_share_one_pass() -> None:
    """A hundred requests written while a pass runs wait for the next one, and only for that."""
    syncer = Syncer("shared")
    passes: list[float] = []
    release = threading.Event()

    def slow() -> None:
        passes.append(time.monotonic())
        release.wait(5)

    async def one(number: int, synced: list[int]) -> None:
        if not number:
            syncer.submit(slow)  # the first line since the last pass: the others find it noted already
        await syncer.durable()
        synced.append(number)

    async def all_of_them() -> list[int]:
        synced: list[int] = []
        syncer.submit(slow)
        await asyncio.sleep(0.05)  # a pass that began before these requests were written
        waiting = [asyncio.ensure_future(one(number, synced)) for number in range(100)]
        await asyncio.sleep(0.05)
        assert synced == []
        waiting[50].cancel()
        release.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        return synced

    synced = asyncio.run(all_of_them())
    syncer.stop()

    assert len(synced) == 99
    assert len(passes) == 2


def test_who_waits_hears_that_the_disk_failed() -> None:
    """A reply must not claim what was not done."""
    syncer = Syncer("shared")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    async def waits() -> None:
        syncer.submit(fail)
        await asyncio.sleep(0.05)  # the pass is over before the request can wait for it
        await syncer.durable()

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(waits())
    syncer.stop()


def test_nothing_written_is_nothing_to_wait_for() -> None:
    """Before the first line there is no thread."""
    asyncio.run(asyncio.wait_for(Syncer("shared").durable(), 1))

    assert "shared" in MODES


def test_an_unknown_mode_is_refused() -> None:
    """Naming the variable and the modes there are."""
    with pytest.raises(StateError, match=r"MLAUTO_LOG_SYNC='always'.*use background or shared"):
        Syncer("always")


def test_a_folder_s_names_are_synced(tmp_path: Path) -> None:
    """And a folder that is gone is an error, not silence."""
    before = len(os.listdir("/proc/self/fd"))
    sync_folder(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")
