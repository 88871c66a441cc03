"""Orders over the control socket, and what is said when nobody listens."""

import socket
import struct
import threading
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.gateway_client import GatewayClient
from mlauto.runtime.local import LocalRuntime
from mlauto.serving.gateway import locked
from mlauto.serving.web.sockets import listen_unix


def test_without_a_gateway_nothing_answers(tmp_path: Path) -> None:
    """No socket: not running, no process, and orders fail with the place of the log."""
    client = GatewayClient(tmp_path)

    assert client.answers() is False
    assert client.answered() is None
    assert client.pid() is None
    with pytest.raises(DeliveryError, match=r"does not answer .*gateway\.log"):
        client.status()


def test_a_socket_that_nobody_serves_is_no_gateway(tmp_path: Path) -> None:
    """A stale socket file of a killed gateway counts as none, and asking leaves no socket open."""
    import gc
    import socket

    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "control.sock"))

    assert GatewayClient(tmp_path).answers() is False
    gc.collect()


def test_the_process_is_known_by_its_lock(tmp_path: Path) -> None:
    """A pid file that is not locked names a process of the past."""
    (tmp_path / "pid").write_text("1\n")
    client = GatewayClient(tmp_path)

    assert client.pid() is None


def test_a_lock_is_held_once(tmp_path: Path) -> None:
    """The second taker of the gateway's lock gets nothing, and the holder's pid can be read."""
    import os

    held = locked(tmp_path / "pid")
    try:
        assert held is not None
        assert locked(tmp_path / "pid") is None
        assert GatewayClient(tmp_path).pid() == os.getpid()
    finally:
        os.close(held or 0)


def test_errors_of_the_gateway_are_its_own_sentences(runtime: LocalRuntime) -> None:
    """What the gateway refuses arrives as `DeliveryError` with its words."""
    runtime.ensure()
    client = GatewayClient(runtime._settings.gateway_home)

    assert client.answers() is True
    assert client.status()["products"] == {}
    with pytest.raises(DeliveryError, match="no absolute path of a bundle"):
        client.start("bikes", "1", Path("nowhere"))
    with pytest.raises(DeliveryError, match="must be letters, digits"):
        client.start("../up", "1", Path("/"))
    with pytest.raises(DeliveryError, match="is not ready"):
        client.predict("bikes", "1", [{}])
    client.stop("bikes", "1")


def test_a_gateway_that_dies_while_it_is_asked_is_none(tmp_path: Path) -> None:
    """It took the connection and reset it: whoever needs a gateway starts another one."""
    listener = listen_unix(tmp_path / "control.sock")
    listener.settimeout(30)  # made for an event loop it does not wait by itself

    def die() -> None:
        taken, _ = listener.accept()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        taken.close()

    with listener:
        killed = threading.Thread(target=die)
        killed.start()
        found = GatewayClient(tmp_path).answered()
        killed.join()

    assert found is None
