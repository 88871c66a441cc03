"""The gateway as its runtimes start, ask, restart and end it; those on the local runtime have models."""

import dataclasses
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mlauto.errors import DeliveryError
from mlauto.records import Image
from mlauto.runtime.base import Route
from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto_tests.serving.conftest import eventually, free_port

Copied = Callable[[str], Path]


def built(runtime: LocalRuntime, copied: Copied, name: str) -> Image:
    product, version = name.rsplit("-", 1)
    return runtime.build(product, version, "key", copied(name))


def test_many_callers_start_one_gateway(runtime: LocalRuntime) -> None:
    """Simultaneous calls of `ensure` end with one gateway that answers all of them."""
    problems: list[DeliveryError] = []

    def ensure() -> None:
        try:
            runtime.ensure()
        except DeliveryError as error:
            problems.append(error)

    threads = [threading.Thread(target=ensure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    parent = Path(f"/proc/{runtime._gateway.status()['pid']}/status").read_text().split("PPid:")[1].split()[0]
    assert int(parent) == runtime._gateway.pid(), "the lock's owner is the guardian of the gateway that answers"


def test_the_gateway_comes_back_after_kill_9(runtime: LocalRuntime, settings: Settings, copied: Copied) -> None:
    """The next call that needs it starts it again, with the same champion."""
    runtime.start("bikes", built(runtime, copied, "bikes-1"))
    runtime.switch("bikes", Route("1"))
    pid = runtime._gateway.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: runtime._gateway.pid() is None, "the end of the gateway")

    assert runtime.live("bikes") is None
    assert runtime.running("bikes") == {}

    runtime.ensure()

    assert runtime.live("bikes") == "1"
    assert runtime._gateway.pid() != pid


def test_shutting_down_waits_for_the_end(runtime: LocalRuntime) -> None:
    """After `shut_down` nobody listens; a second one does nothing."""
    runtime.ensure()
    url = runtime._settings.gateway_url
    assert httpx.get(f"{url}/v2/health/ready").json() == {"ready": True, "not_ready": []}
    runtime.shut_down()
    runtime.shut_down()

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")


def test_a_taken_port_is_an_error_with_its_reason(settings: Settings) -> None:
    """When something else listens on the gateway's port, the error says so and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        runtime = LocalRuntime(dataclasses.replace(settings, gateway_port=other.getsockname()[1]))
        for _ in range(2):  # what earlier gateways wrote into the log is not part of it
            with pytest.raises(DeliveryError, match="MLAUTO_GATEWAY_PORT") as error:
                runtime.ensure()
            assert str(error.value).count("cannot listen") == 1


def test_a_gateway_on_another_port_is_noticed(runtime: LocalRuntime) -> None:
    """Settings that point at another port than the running gateway's would send clients to nobody."""
    runtime.ensure()
    other = LocalRuntime(dataclasses.replace(runtime._settings, gateway_port=free_port()))

    with pytest.raises(DeliveryError, match="listens on port"):
        other.ensure()


def test_a_restart_takes_other_settings_and_loses_no_order(
    runtime: LocalRuntime, settings: Settings, copied: Copied
) -> None:
    """The new process is another one behind the same guardian; an order given meanwhile is followed by it."""
    keyed = LocalRuntime(dataclasses.replace(runtime._settings, api_keys="a-key-for-tests"))
    keyed.restart()  # without a gateway this is a start
    runtime.restart()
    for version in ("1", "2"):
        runtime.start("bikes", runtime.build("bikes", version, version, copied(f"bikes-{version}")))
    runtime.switch("bikes", Route("1"))
    guardian, process = runtime._gateway.pid(), runtime._gateway.status()["pid"]
    thread = threading.Thread(target=keyed.restart)
    thread.start()
    time.sleep(0.2)
    runtime.switch("bikes", Route("2"))
    thread.join()

    assert runtime._gateway.pid() == guardian
    assert runtime._gateway.status()["pid"] != process
    assert keyed.live("bikes") == "2"
    with pytest.raises(DeliveryError, match="set MLAUTO_API_KEY"):
        runtime.live("bikes")


def test_a_restart_that_fails_is_an_error_with_its_reason(runtime: LocalRuntime, copied: Copied) -> None:
    """And the old process answers as before."""
    runtime.ensure()
    process = runtime._gateway.status()["pid"]
    broken = LocalRuntime(dataclasses.replace(runtime._settings, api_keys="short"))

    with pytest.raises(DeliveryError, match=r"goes on as before: the new process ended with exit code 1"):
        broken.restart()
    with pytest.raises(DeliveryError, match="listens on port"):
        LocalRuntime(dataclasses.replace(runtime._settings, gateway_port=free_port())).restart()
    assert runtime._gateway.status()["pid"] == process


def test_a_gateway_with_a_key_is_asked_with_it(settings: Settings, copied: Copied) -> None:
    """The gateway gets the settings' keys, and `live` shows the first; with another one the error says what to do."""
    keyed = dataclasses.replace(settings, gateway_port=free_port(), api_keys="a-key-for-tests, another-one")
    runtime = LocalRuntime(keyed)
    try:
        image = runtime.build("bikes", "1", "k", copied("bikes-1"))
        runtime.start("bikes", image)
        runtime.switch("bikes", Route("1"))

        assert runtime.live("bikes") == "1"
        assert 'mlauto_requests_in_flight{product="bikes"} 0' in (runtime.metrics() or "")
        assert httpx.get(f"{keyed.gateway_url}/v2").status_code == 401
        with pytest.raises(DeliveryError, match="/metrics: 401"):
            LocalRuntime(dataclasses.replace(keyed, api_keys="")).metrics()
        with pytest.raises(DeliveryError, match="set MLAUTO_API_KEY"):
            LocalRuntime(dataclasses.replace(keyed, api_keys="")).live("bikes")
    finally:
        runtime.shut_down()
    assert runtime.metrics() is None


def test_a_stranger_on_the_port_is_no_champion(settings: Settings) -> None:
    """`live` asks the public port; something else that answers there is an error, not a version."""
    import http.server

    class Stranger(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"hello": 1}).encode())

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        runtime = LocalRuntime(dataclasses.replace(settings, gateway_port=server.server_port))
        with pytest.raises(DeliveryError, match="is no gateway"):
            runtime.live("bikes")
        thread.join()
