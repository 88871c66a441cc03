"""HTTP over a unix socket at a path of any length."""

import socket
import threading
from pathlib import Path

import pytest

from mlauto.runtime.unix_http import Connection
from mlauto.serving.web.sockets import listen_unix


def test_one_thing_is_asked(tmp_path: Path) -> None:
    """Also where the path is longer than the kernel takes."""
    path = tmp_path / ("long" * 30) / "s"
    listener = listen_unix(path)
    listener.setblocking(True)

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nx-mlauto-version: 7\r\ncontent-length: 2\r\n\r\nhi")

    thread = threading.Thread(target=answer)
    thread.start()
    connection = Connection(path, 5)
    connection.request("GET", "/signature")
    reply = connection.getresponse()

    assert (reply.status, reply.headers["x-mlauto-version"], reply.read()) == (200, "7", b"hi")
    connection.close()
    thread.join()
    listener.close()


def test_nobody_there_leaves_nothing_open(tmp_path: Path) -> None:
    """No file, and a file where nobody listens; a socket left open would be a warning, which is an error here."""
    with pytest.raises(FileNotFoundError):
        Connection(tmp_path / "s", 1).request("GET", "/")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    with pytest.raises(ConnectionRefusedError):
        Connection(tmp_path / "s", 1).request("GET", "/")
