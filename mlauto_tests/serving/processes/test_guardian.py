"""The parent of the gateway's process, with small children in the gateway's place."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto_tests.waiting import eventually

Start = Callable[..., subprocess.Popen[str]]

CHILD = """
import os, sys, time
from mlauto.serving.processes.guardian import guarded

def serve():
    with open(sys.argv[1], "a") as log:
        print(os.getpid(), file=log, flush=True)
    {body}

sys.exit(guarded(lambda mail: serve()))
"""
WAIT = "time.sleep(60)"
PATIENT = """import signal
signal.signal({number}, lambda *_: sys.exit(5))
try:
    open(sys.argv[1] + '.ready', 'w').close()
    time.sleep(60)
except SystemExit as stop:
    return stop.code"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a guardian whose child does what the text says; it is killed in the end."""
    processes = []

    def begin(body: str = WAIT) -> subprocess.Popen[str]:
        script = CHILD.format(body=body.replace("\n", "\n    "))
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "pids")], stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def pids(tmp_path: Path) -> list[int]:
    """The children so far."""
    path = tmp_path / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_child_is_replaced(start: Start, tmp_path: Path) -> None:
    """Each time, by another process of the same parent."""
    process = start()
    for number in range(1, 4):
        eventually(lambda number=number: len(pids(tmp_path)) == number)
        if number < 3:
            os.kill(pids(tmp_path)[-1], signal.SIGKILL)
    process.terminate()
    _, said = process.communicate(timeout=20)

    assert len(set(pids(tmp_path))) == 3
    assert "was killed (SIGKILL): again in 0 s" in said
    assert "again in 0.1 s" in said


def test_a_child_that_ends_by_itself_ends_the_parent(start: Start, tmp_path: Path) -> None:
    """With its exit code, and is not replaced."""
    assert start("return 7").wait(timeout=20) == 7
    assert len(pids(tmp_path)) == 1


def test_an_error_is_shown_and_ends_the_parent(start: Start) -> None:
    """A traceback and exit code 1, as without a parent."""
    process = start("raise ArithmeticError('of all things')")
    _, said = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "ArithmeticError: of all things" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """The child decides how to end; its code is the parent's."""
    process = start(PATIENT.format(number=int(number)))
    eventually((tmp_path / "pids.ready").exists)
    process.send_signal(number)

    assert process.wait(timeout=20) == 5
    assert not alive(pids(tmp_path)[0])


def test_the_child_does_not_outlive_its_parent(start: Start, tmp_path: Path) -> None:
    """Kill -9 of the parent: nobody would pass on signals, or replace it."""
    process = start()
    eventually(lambda: pids(tmp_path))
    process.kill()
    process.wait()

    eventually(lambda: not alive(pids(tmp_path)[0]))
    assert len(pids(tmp_path)) == 1


def test_a_parent_that_waits_to_try_again_can_be_stopped(start: Start, tmp_path: Path) -> None:
    """A child that kills itself is tried again after growing pauses; SIGTERM ends that at once."""
    process = start("os.kill(os.getpid(), 9)")
    eventually(lambda: len(pids(tmp_path)) == 4)
    process.terminate()

    assert process.wait(timeout=20) == 0
