"""Sockets at long paths, for their owner only."""

import socket
from pathlib import Path

import pytest

from mlauto.serving.web.sockets import listen_tcp, listen_unix, short_path


def test_a_path_longer_than_the_kernel_takes_works(tmp_path: Path) -> None:
    """Bound and connected through a short name; missing folders are made."""
    path = tmp_path / ("x" * 150) / "deep" / "socket"
    with listen_unix(path) as listener:
        listener.listen()
        with short_path(path) as name, socket.socket(socket.AF_UNIX) as client:
            client.connect(name)

        assert len(str(path)) > 150
        assert path.is_socket()


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    """Mode 0600 from the first moment."""
    with listen_unix(tmp_path / "socket"):
        assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed process left does not stop its successor."""
    listen_unix(tmp_path / "socket").close()
    with listen_unix(tmp_path / "socket") as listener:
        assert listener.getblocking() is False


def test_a_path_that_cannot_be_bound_raises(tmp_path: Path) -> None:
    """A name that is too long by itself is an OSError, and no descriptor is left open."""
    with pytest.raises(OSError, match=r"too long|File name"):
        listen_unix(tmp_path / ("y" * 200))


def test_a_taken_port_raises() -> None:
    """The second listener on one port is refused; IPv6 addresses are understood."""
    with listen_tcp("127.0.0.1", 0) as listener:
        listener.listen()
        with pytest.raises(OSError, match="in use"):
            listen_tcp("127.0.0.1", listener.getsockname()[1])
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text():
        with listen_tcp("::1", 0) as listener:
            assert listener.family == socket.AF_INET6


def test_a_socket_in_use_is_replaced_in_one_step(tmp_path: Path) -> None:
    """Whoever connected to the old one is with it, whoever connects from now on is with the new one."""
    path = tmp_path / "socket"
    with listen_unix(path) as old, socket.socket(socket.AF_UNIX) as before:
        before.connect(str(path))
        with listen_unix(path) as new, socket.socket(socket.AF_UNIX) as after:
            after.connect(str(path))
            for listener in (old, new):
                listener.setblocking(True)
                listener.accept()[0].close()

        assert list(tmp_path.iterdir()) == [path]
