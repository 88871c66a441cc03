"""Bundles become images, images become processes, and the public port says who answers."""

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
from mlauto.runtime.base import Route, Runtime
from mlauto.runtime.local import LocalRuntime
from mlauto.serving.bundle import write_manifest
from mlauto.settings import Settings
from mlauto_tests.serving.conftest import ROW, eventually, free_port

Copied = Callable[[str], Path]


def built(runtime: LocalRuntime, copied: Copied, name: str) -> Image:
    product, version = name.rsplit("-", 1)
    return runtime.build(product, version, "key", copied(name))


def test_a_version_is_built_started_asked_switched_to_and_stopped(runtime: LocalRuntime, copied: Copied) -> None:
    """A rollout of two versions, step by step, as delivery does it."""
    seam: Runtime = runtime
    first, second = built(runtime, copied, "bikes-1"), built(runtime, copied, "bikes-2")

    assert (seam.live("bikes"), seam.running("bikes"), seam.route("bikes")) == (None, {}, None)

    seam.start("bikes", first)
    answer = seam.predict("bikes", "1", [ROW, {"sky": None}])

    assert answer.version == "1"
    assert len(answer.predictions) == 2
    assert answer.probabilities is None
    assert 0 < answer.seconds < 10
    assert (seam.live("bikes"), seam.running("bikes"), seam.route("bikes")) == (None, {"1": "ready"}, None)

    seam.switch("bikes", Route("1"))
    seam.start("bikes", second)
    seam.switch("bikes", Route("2", "1"))

    assert (seam.live("bikes"), seam.route("bikes")) == ("2", Route("2", "1"))
    assert seam.predict("bikes", "2", [ROW]).predictions[0] > 900 > seam.predict("bikes", "1", [ROW]).predictions[0]

    with pytest.raises(DeliveryError, match="answers users"):
        seam.stop("bikes", "2")
    seam.stop("bikes", "1")
    seam.stop("bikes", "1")

    assert seam.running("bikes") == {"2": "ready"}


def test_asking_through_the_runtime_is_no_traffic(runtime: LocalRuntime, settings: Settings, copied: Copied) -> None:
    """Verification leaves no line in the prediction log."""
    runtime.start("skies", built(runtime, copied, "skies-1"))
    answer = runtime.predict("skies", "1", [ROW])

    assert answer.predictions[0] in ("no", "yes")
    assert answer.probabilities is not None
    assert sum(answer.probabilities[0]) == pytest.approx(1)
    assert not (settings.home / "products" / "skies" / "predictions").exists()


def test_starting_again_changes_nothing(runtime: LocalRuntime, copied: Copied) -> None:
    """Start is idempotent: the second one returns at once, and the process is the same."""
    image = built(runtime, copied, "bikes-1")
    runtime.start("bikes", image)
    status = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]
    runtime.start("bikes", image)

    assert runtime._gateway.status()["products"]["bikes"]["versions"]["1"]["pid"] == status["pid"]


def test_a_version_from_another_bundle_replaces_it_without_a_gap(runtime: LocalRuntime, copied: Copied) -> None:
    """The same version built again, while it answers users: it stays champion, in a new process."""
    first = built(runtime, copied, "bikes-1")
    runtime.start("bikes", first)
    runtime.switch("bikes", Route("1"))
    content = Path(first.reference)
    again = content.parent / "again"
    import shutil

    shutil.copytree(content, again)
    (again / "card.md").write_text("# another card")
    write_manifest(again, name="bikes", version="1", commit="c", key="k")
    second = runtime.build("bikes", "1", "key", again)
    before = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]["pid"]
    runtime.start("bikes", second)
    after = runtime._gateway.status()["products"]["bikes"]["versions"]["1"]

    assert second.digest != first.digest
    assert after["pid"] != before
    assert after["bundle"] == second.reference
    assert runtime.live("bikes") == "1"


def test_a_version_that_is_not_ready_is_not_switched_to(runtime: LocalRuntime, copied: Copied) -> None:
    """The champion stays, whatever was wrong with the order."""
    runtime.start("bikes", built(runtime, copied, "bikes-1"))
    runtime.switch("bikes", Route("1"))
    for version, fallback, words in (("2", None, "is not ready"), ("1", "2", "is not ready"), ("1", "1", "its own")):
        with pytest.raises(DeliveryError, match=words):
            runtime.switch("bikes", Route(version, fallback))

    assert runtime.live("bikes") == "1"


def test_a_bundle_that_does_not_start_says_why(runtime: LocalRuntime, copied: Copied) -> None:
    """The tail of the server's log is in the error, and nothing is left running or recorded."""
    import skops.io
    from sklearn.linear_model import Ridge

    content = copied("bikes-1")
    skops.io.dump(Ridge().fit([[1.0], [2.0]], [1.0, 2.0]), content / "model.skops")
    write_manifest(content, name="bikes", version="1", commit="c", key="k")
    image = runtime.build("bikes", "1", "key", content)

    with pytest.raises(DeliveryError, match=r"(?s)exit code 1\n.*the model refuses these values"):
        runtime.start("bikes", image)
    assert runtime.running("bikes") == {}
    assert not runtime._gateway.home.joinpath("state.json").exists()


def test_a_damaged_or_wrong_bundle_is_not_built(runtime: LocalRuntime, copied: Copied, tmp_path: Path) -> None:
    """No manifest, a changed file, another product's bundle: each is refused with its reason."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeliveryError, match=r"manifest\.json cannot be read"):
        runtime.build("bikes", "1", "key", tmp_path / "empty")
    content = copied("bikes-1")
    with pytest.raises(DeliveryError, match="is version 1 of bikes, not 7 of cars"):
        runtime.build("cars", "7", "key", content)
    (content / "golden.json").write_text("{}")
    with pytest.raises(DeliveryError, match=r"golden\.json in the bundle .* was changed"):
        runtime.build("bikes", "1", "key", content)


def test_an_image_of_another_kind_is_refused(runtime: LocalRuntime) -> None:
    """A container image is not for this runtime."""
    image = Image(kind="docker", digest="d", reference="r", version="1", key="k")

    with pytest.raises(DeliveryError, match="is a docker"):
        runtime.start("bikes", image)


def test_equal_content_has_an_equal_digest(runtime: LocalRuntime, copied: Copied, tmp_path: Path) -> None:
    """Images are addressed by content: building twice gives the same image."""
    import shutil

    content = copied("bikes-1")
    shutil.copytree(content, tmp_path / "twin")

    assert runtime.build("bikes", "1", "k", content) == runtime.build("bikes", "1", "k", tmp_path / "twin")
    assert not content.exists()


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
        assert httpx.get(f"{keyed.gateway_url}/v2").status_code == 401
        with pytest.raises(DeliveryError, match="set MLAUTO_API_KEY"):
            LocalRuntime(dataclasses.replace(keyed, api_keys="")).live("bikes")
    finally:
        runtime.shut_down()


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


def test_a_start_costs_one_cold_model_server(runtime: LocalRuntime, copied: Copied) -> None:
    """Nothing but the server's own start is waited for; generous, as the machine may be busy."""
    image = built(runtime, copied, "bikes-1")
    runtime.ensure()
    began = time.monotonic()
    runtime.start("bikes", image)

    assert time.monotonic() - began < 15


def test_a_damaged_bundle_is_not_held(runtime: LocalRuntime, copied: Copied) -> None:
    """It is removed, so that it is built again; and there is nothing else to tidy up."""
    image = built(runtime, copied, "bikes-1")
    assert runtime.holds("bikes", image)
    assert runtime.tidy("bikes", [], 0.0) == ()
    Path(image.reference, "golden.json").write_text("{}")

    assert not runtime.holds("bikes", image)
    assert not Path(image.reference).exists()
    assert not runtime.holds("bikes", image)
