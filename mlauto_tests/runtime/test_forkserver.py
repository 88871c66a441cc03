"""The fork server's own side: what comes in at its socket, and that nothing that comes in stops it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.errors import MlautoError
from mlauto.runtime.forkserver import Request, send
from mlauto.runtime.warm import WarmProcess


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a fork server without libraries listens."""
    warm = WarmProcess(tmp_path_factory.mktemp("fork") / "fork.sock", libraries=())
    process: subprocess.Popen[bytes] = warm.start()
    yield warm.address
    process.communicate(timeout=20)
    assert process.returncode == 0


def connected(address: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(20)
    connection.connect(str(address))
    return connection


def asked(folder: Path, module: str = "platform", *, detached: bool = False) -> Request:
    return Request(module, [], str(folder), {"PATH": os.environ["PATH"]}, detached=detached)


def lines(connection: socket.socket) -> list[dict[str, int]]:
    with connection.makefile("rb") as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.parametrize("detached", [False, True])
def test_the_protocol_is_a_pid_then_an_exit_code(address: Path, tmp_path: Path, detached: bool) -> None:
    """Whoever waits gets both; a detached child's asker gets the pid and is rid of."""
    with (tmp_path / "out").open("wb") as output, connected(address) as connection:
        send(connection, asked(tmp_path, detached=detached), output.fileno())
        answers = lines(connection)

    assert [list(answer) for answer in answers] == ([["pid"]] if detached else [["pid"], ["exit"]])
    assert detached or answers[1] == {"exit": 0}
    assert detached or "Linux" in (tmp_path / "out").read_text()


@pytest.mark.parametrize("content", [b"", b"not JSON\n", b"[]\n", b'{"module": "platform"}\n', b"\xff\xfe\n", b"{"])
def test_what_is_no_request_is_dropped(address: Path, tmp_path: Path, content: bytes) -> None:
    """With a descriptor or without, the connection is closed, and the next request is served."""
    before = descriptors(address)
    with (tmp_path / "out").open("wb") as output:
        for attached in (True, False):
            with connected(address) as connection:
                if content and attached:
                    socket.send_fds(connection, [content], [output.fileno()])
                elif content:
                    connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
                assert received(connection) == b""
        with connected(address) as connection:
            send(connection, asked(tmp_path), output.fileno())
            assert lines(connection)[-1] == {"exit": 0}

    assert descriptors(address) == before


def received(connection: socket.socket) -> bytes:
    """All that comes; a reset is an end as well."""
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def server_of(address: Path) -> int:
    """The pid of the process that was started for this address."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            if folder.name.isdecimal() and str(address).encode() in (folder / "cmdline").read_bytes():
                return int(folder.name)
    raise AssertionError("no server")


def descriptors(address: Path) -> int:
    return len(os.listdir(f"/proc/{server_of(address)}/fd"))


def test_a_child_inherits_nothing_of_the_servers(address: Path, tmp_path: Path) -> None:
    """Its open descriptors are its three streams: no socket, no lock and no other child's connection."""
    (tmp_path / "telling.py").write_text(
        "import os\n"
        "for name in os.listdir('/proc/self/fd'):\n"
        "    try:\n        print(name, os.readlink(f'/proc/self/fd/{name}'))\n"
        "    except FileNotFoundError:\n        pass\n"
    )
    with (
        (tmp_path / "out").open("wb") as output,
        (tmp_path / "other").open("wb") as other,
        connected(address) as waiting,
        connected(address) as connection,
    ):
        send(waiting, asked(tmp_path, "this"), other.fileno())
        request = asked(tmp_path, "telling")
        send(connection, request, output.fileno())
        assert lines(connection)[-1] == {"exit": 0}
    printed = (tmp_path / "out").read_text().splitlines()
    told = [line.split(maxsplit=1) for line in printed if "/" in line or "socket:" in line]

    assert not [target for _, target in told if target.startswith("socket:") or target.endswith(".lock")]
    assert {"0", "1", "2"} <= {number for number, _ in told}


def test_random_numbers_are_each_childs_own(address: Path, tmp_path: Path) -> None:
    """Forks of one process do not share its random state."""
    (tmp_path / "dice.py").write_text("import random; print(random.random())")
    with (tmp_path / "out").open("wb") as output:
        for _ in range(3):
            with connected(address) as connection:
                send(connection, asked(tmp_path, "dice"), output.fileno())
                assert lines(connection)[-1] == {"exit": 0}

    assert len(set((tmp_path / "out").read_text().split())) == 3


def test_a_request_has_a_bounded_size(tmp_path: Path) -> None:
    """It is refused before anything is sent."""
    left, right = socket.socketpair()
    with left, right, pytest.raises(MlautoError, match="the arguments of huge are larger than 1048576 bytes"):
        send(left, Request("huge", ["x" * (1 << 20)], str(tmp_path), {}, detached=False), 0)


def test_serving_an_address_twice_returns_at_once(address: Path) -> None:
    """The lock beside the socket says that somebody is there."""
    command = [sys.executable, "-m", "mlauto.runtime.forkserver", str(address), "", ""]

    done = subprocess.run(command, stdin=subprocess.PIPE, capture_output=True, timeout=20, check=False)

    assert (done.returncode, done.stderr) == (0, b"")
