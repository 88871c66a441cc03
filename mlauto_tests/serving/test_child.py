"""A child process from its start to its end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from mlauto.serving import child as children
from mlauto.serving.child import Child, trim


def python(code: str, log: Path, ends: list[str] | None = None) -> Child:
    def on_end(child: Child) -> None:
        if ends is not None:
            ends.append(child.how())

    return Child([sys.executable, "-c", code], log, on_end)


def test_its_end_is_told_with_its_last_words(tmp_path: Path) -> None:
    """Output and errors go to the log, after what earlier processes wrote there, which is not repeated."""
    ends: list[str] = []
    log = tmp_path / "logs" / "one.log"
    log.parent.mkdir()
    log.write_text("earlier\n")

    async def scenario() -> str:
        child = python("import sys; print('out', flush=True); sys.exit('err')", log, ends)
        await asyncio.wait_for(child.ended.wait(), 20)
        return child.tail()

    assert asyncio.run(scenario()) == "out\nerr"
    assert ends == ["exit code 1"]
    assert log.read_text() == "earlier\nout\nerr\n"


def test_a_signal_is_named(tmp_path: Path) -> None:
    """A kill is told by its signal's name, and the process is reaped."""
    ends: list[str] = []

    async def scenario() -> int:
        child = python("import time; time.sleep(60)", tmp_path / "log", ends)
        os.kill(child.pid, signal.SIGKILL)
        await asyncio.wait_for(child.ended.wait(), 20)
        return child.pid

    pid = asyncio.run(scenario())
    assert ends == ["signal 9 (SIGKILL)"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_ending_it_is_no_end_by_itself(tmp_path: Path) -> None:
    """`end` waits until it is gone and does not call `on_end`; a second one does nothing."""
    ends: list[str] = []

    async def scenario() -> None:
        child = python("import time; time.sleep(60)", tmp_path / "log", ends)
        await child.end(20)
        assert child.ended.is_set()
        assert child.how() == "signal 15 (SIGTERM)"
        await child.end(20)

    asyncio.run(scenario())
    assert ends == []


def test_who_does_not_end_is_killed(tmp_path: Path) -> None:
    """After the time given, or at once with 0."""
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"

    async def scenario() -> None:
        for seconds in (0.1, 0):
            log = tmp_path / f"log-{seconds}"
            child = python(ignore, log)
            while not log.read_text():
                await asyncio.sleep(0.01)
            await child.end(seconds)
            assert child.how() == "signal 9 (SIGKILL)"

    asyncio.run(scenario())


def test_it_gets_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The team's code does not see the environment of whoever started the gateway."""
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("MLAUTO_HOME", "secret")

    async def scenario() -> str:
        child = python("import os; print(sorted(os.environ.items()))", tmp_path / "log")
        await asyncio.wait_for(child.ended.wait(), 20)
        return child.tail()

    output = asyncio.run(scenario())
    assert "secret" not in output
    assert "('OMP_NUM_THREADS', '1')" in output


def test_a_log_that_grew_too_large_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a process writes to it, whose last words are still found; a missing log is no problem."""
    monkeypatch.setattr(children, "LOG_LIMIT", 100)
    log = tmp_path / "log"
    trim(log)
    for size in (100, 101):
        log.write_bytes(b"x" * size)
        trim(log)
        assert log.stat().st_size == (100 if size == 100 else 0)

    async def scenario() -> str:
        log.write_bytes(b"x" * 90)
        child = python("import time; print('y' * 90, flush=True); time.sleep(60)", log)
        while log.stat().st_size < 180:
            await asyncio.sleep(0.01)
        trim(log)
        with log.open("ab") as stream:
            stream.write(b"last words")
        await child.end(0)
        return child.tail()

    assert asyncio.run(scenario()) == "last words"
