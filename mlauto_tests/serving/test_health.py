"""A sign of life from a model server, and the end of one that gives none."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlauto.serving.health import main
from mlauto_tests.serving.conftest import environment, eventually

SERVER = """
import contextlib, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ConnectionError):  # of somebody who asked and went away
        connection.recv(1000)
        connection.sendall(sys.argv[2].encode())
"""


@contextmanager
def answering(path: Path, answer: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says the same to everybody."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(path), answer], env=environment())
    try:
        eventually(path.exists, "the server's socket")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_one_that_answers_is_healthy(path: Path) -> None:
    """Asked once."""
    with answering(path, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as process:
        eventually(lambda: main([str(path)]) == 0, "a sign of life")
        assert process.poll() is None


def test_one_that_answers_otherwise_is_not_and_lives_on(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not hung: ending it is not the health check's business."""
    with answering(path, "HTTP/1.1 500 Oops\r\n\r\n") as process:
        eventually(lambda: main([str(path)]) == 1 and "500 Oops" in capsys.readouterr().out, "an answer")
        assert process.poll() is None


def test_one_that_is_not_there_yet_is_waited_for(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No socket, and a socket where nobody listens."""
    assert main([str(path)]) == 1
    assert "No such file" in capsys.readouterr().out
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert main([str(path)]) == 1
    assert "refused" in capsys.readouterr().out


def test_one_that_hangs_is_killed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Known by the socket, not by a name: it accepted every time and never answered."""
    with answering(path, "HTTP/1.1 200 OK\r\n\r\n") as process:
        eventually(lambda: main([str(path)]) == 0, "a sign of life")
        os.kill(process.pid, signal.SIGSTOP)

        assert main([str(path)], attempts=3, seconds=0.1) == 1
        assert process.wait(10) == -signal.SIGKILL
    assert "no sign of life for 0.3 s" in capsys.readouterr().out


def test_one_that_hung_for_a_moment_is_left_alone(path: Path) -> None:
    """An attempt that is answered settles it."""
    with answering(path, "HTTP/1.1 200 OK\r\n\r\n") as process:
        eventually(lambda: main([str(path)]) == 0, "a sign of life")
        os.kill(process.pid, signal.SIGSTOP)
        waker = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {process.pid}"])

        assert main([str(path)], attempts=10, seconds=0.2) == 0
        assert waker.wait() == 0
        assert process.poll() is None


def test_the_command_is_quick(path: Path) -> None:
    """The engine runs it every few seconds for every container: it loads nothing of the server."""
    program = "import sys, mlauto.serving.health; print([m for m in sys.modules if 'msgspec' in m or 'asyncio' in m])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment())

    assert said.stdout == b"[]\n"
