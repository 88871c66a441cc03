"""Orders on the control socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto_tests.serving.conftest import ROW, Gateway, gateway, prediction_lines


@pytest.fixture(scope="module")
def running(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with one version that is not rolled out."""
    with gateway(tmp_path_factory.mktemp("control") / "home") as found:
        found.start(bundles, "bikes-1")
        yield found


def test_status_says_what_runs(running: Gateway, bundles: dict[str, Path]) -> None:
    """Process, address, and each version's state, process and bundle."""
    status = running.order("/status").json()
    version = status["products"]["bikes"]["versions"]["1"]

    children = (
        Path(f"/proc/{running.served.process.pid}/task/{running.served.process.pid}/children").read_text().split()
    )
    assert str(status["pid"]) in children, "it is the process below its guardian"
    assert status["workers"] == [status["pid"]]
    assert running.served.url == f"http://{status['host']}:{status['port']}"
    assert (version["state"], version["kind"], version["starts"]) == ("ready", "process", 1)
    assert version["bundle"] == str(bundles["bikes-1"])
    assert version["problem"] == ""


def test_a_version_can_be_asked_before_it_is_rolled_out(running: Gateway) -> None:
    """Without a line in the log; its rows are checked like users' rows."""
    reply = running.order("/predict", product="bikes", version="1", rows=[ROW, {}])
    wrong = running.order("/predict", product="bikes", version="1", rows=[{"temp": "warm"}])
    missing = running.order("/predict", product="bikes", version="9", rows=[ROW])

    assert reply.json()["version"] == "1"
    assert len(reply.json()["predictions"]) == 2
    assert reply.json()["probabilities"] is None
    assert (wrong.status_code, missing.status_code) == (400, 409)
    assert "rows[0].temp" in wrong.json()["error"]
    assert prediction_lines(running.home, "bikes") == []


@pytest.mark.parametrize(
    ("path", "content", "status", "words"),
    [
        ("/start", {"product": "bikes"}, 400, "missing required field `version`"),
        ("/start", {"product": "bikes", "version": 1, "bundle": "/"}, 400, "version: expected `str`, got `int`"),
        ("/start", {"product": "bikes", "version": "1", "bundle": "/", "more": 1}, 400, "unknown field `more`"),
        ("/start", {"product": "bikes", "version": "../1", "bundle": "/"}, 400, "version: '../1' must be letters"),
        ("/start", {"product": "bikes", "version": "1", "bundle": "/nowhere"}, 400, "no absolute path of a bundle"),
        ("/switch", {"product": "bikes", "champion": "9"}, 409, "version 9 of bikes is not ready (not running)"),
        ("/switch", {"product": "cars", "champion": "1"}, 409, "version 1 of cars is not ready"),
        ("/switch", {"product": "bikes"}, 400, "missing required field `champion`"),
        ("/switch", {"product": "bikes", "champion": None}, 400, "champion: expected `str`, got `null`"),
        ("/switch", {"product": "bikes", "champion": "1", "fallback": "1"}, 409, "its own fallback"),
        ("/switch", {"product": "bikes", "champion": "1", "fallback": "9"}, 409, "version 9 of bikes is not ready"),
        ("/switch", {"product": "bikes", "champion": "1", "canary": "1"}, 409, "its own canary"),
        ("/switch", {"product": "bikes", "champion": "1", "canary": "9", "percent": 5}, 409, "version 9 of bikes is"),
        ("/switch", {"product": "bikes", "champion": "1", "percent": 5}, 409, "there is no canary: name one"),
        ("/switch", {"product": "bikes", "champion": "1", "percent": 101}, 400, "percent: expected `float` <= 100.0"),
        ("/switch", {"product": "bikes", "champion": "1", "percent": -1}, 400, "percent: expected `float` >= 0.0"),
        ("/switch", {"product": "bikes", "champion": "1", "shadow": "1"}, 409, "its own shadow"),
        ("/switch", {"product": "bikes", "champion": "1", "shadow": "9"}, 409, "version 9 of bikes is not ready"),
        ("/restart", {"product": "bikes"}, 400, "unknown field `product`"),
        ("/restart", {"environment": {"PATH": "/"}}, 400, "'PATH' is no variable of mlauto's"),
        ("/reload", {"product": "bikes"}, 404, "is no order"),
    ],
)
def test_orders_that_cannot_be_followed_say_why(
    running: Gateway, path: str, content: dict[str, object], status: int, words: str
) -> None:
    """And nothing is changed."""
    before = running.order("/status").json()
    reply = running.order(path, **content)

    assert reply.status_code == status
    assert words in reply.json()["error"]
    assert running.order("/status").json() == before


def test_a_bundle_of_another_product_does_not_start(running: Gateway, bundles: dict[str, Path]) -> None:
    """The process tells whose version it is, and that is compared with the order."""
    reply = running.order("/start", product="cars", version="1", bundle=str(bundles["bikes-2"]))

    assert reply.status_code == 502
    assert "the bundle is version 2 of bikes: build it for cars" in reply.json()["error"]
    assert "cars" not in running.order("/status").json()["products"]


def test_stopping_forgets_and_unknown_versions_are_stopped(running: Gateway, bundles: dict[str, Path]) -> None:
    """Also from the counters; the order is idempotent."""
    running.start(bundles, "bikes-2")
    assert running.served.post("/v2/models/bikes/versions/2/invocations", {"instances": [ROW]}).status_code == 200
    assert 'version="2"' in running.client.get("/metrics").text
    for _ in range(2):
        assert running.order("/stop", product="bikes", version="2").json() == {"state": "stopped"}

    assert 'version="2"' not in running.client.get("/metrics").text
    assert set(running.order("/status").json()["products"]["bikes"]["versions"]) == {"1"}
