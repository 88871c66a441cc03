"""Restarts of the gateway: who was connected stays connected, and what goes wrong changes nothing."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlauto.serving.errors import ControlError, UnavailableError
from mlauto.serving.processes.takeover import Orders, Takeover
from mlauto.serving.supervisor import Supervisor
from mlauto_tests.serving.conftest import ROW, Gateway, eventually, gateway, prediction_lines
from mlauto_tests.serving.test_gateway import alive, load

PATH = "/v2/models/bikes/invocations"
ASKED = {"dataframe_records": [ROW]}


@pytest.fixture
def running(bundles: dict[str, Path], tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with version 1 of bikes live and version 2 behind it."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.start(bundles, "bikes-2")
        found.switch("bikes", "1", "2")
        yield found


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def restart(found: Gateway, **environment: str) -> httpx.Response:
    """The reply to the order."""
    return found.order("/restart", environment={**environment, "MLAUTO_GATEWAY_WORKERS": "1"})


def answering(found: Gateway, pid: int) -> dict[str, Any]:
    """The status, as soon as that process says it."""

    def said() -> Any:
        status = found.order("/status").json()
        return status if status["pid"] == pid else None

    status: dict[str, Any] = eventually(said, "the new process")
    return status


def message(*, close: bool = False) -> bytes:
    """A prediction's request as bytes."""
    body = json.dumps(ASKED).encode()
    head = f"POST {PATH} HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + (b"connection: close\r\n" if close else b"") + b"\r\n" + body


def reply(connection: socket.socket) -> bytes:
    """One reply, head and body."""
    text = b""
    while b"\r\n\r\n" not in text or len(text.partition(b"\r\n\r\n")[2]) < _length(text):
        piece = connection.recv(65536)
        assert piece, "the connection was closed"
        text += piece
    return text


def _length(text: bytes) -> int:
    return int(text.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


def connected(found: Gateway) -> socket.socket:
    """A connection to the public port."""
    return socket.create_connection(("127.0.0.1", int(found.served.url.rsplit(":", 1)[1])), timeout=30)


def test_no_request_fails_and_no_order_is_lost(running: Gateway) -> None:
    """Under load: restarts with a switch after each; the guardian stays, the processes and model servers are new."""
    before = running.order("/status").json()
    models = [entry["pid"] for entry in before["products"]["bikes"]["versions"].values()]
    with load(running.served.url) as traffic:
        traffic.answered_by("1", 30)
        pids = [before["pid"]]
        for champion, fallback in (("2", "1"), ("1", "2")):
            pids.append(restart(running).json()["pid"])
            status = answering(running, pids[-1])["products"]["bikes"]
            assert {entry["state"] for entry in status["versions"].values()} == {"ready"}
            eventually(lambda: running.order("/stop", product="no", version="1").status_code == 200, "open orders")
            running.switch("bikes", champion, fallback)
            assert running.client.post(PATH, json=ASKED).headers["x-mlauto-version"] == champion
            traffic.answered_by(champion, 30)

    assert traffic.failures == []
    assert len(set(pids)) == 3
    eventually(lambda: children(running.served.process.pid) == pids[-1:], "the end of the old processes")
    assert not any(map(alive, models))
    lines = prediction_lines(running.home, "bikes")
    assert len({line["id"] for line in lines}) == len(lines) == len(traffic.answers) + 2


def test_connections_go_on_in_the_new_process(running: Gateway) -> None:
    """One that rests, one in the midst of a request, one that waits for its answer: all are answered."""
    resting, begun, waiting = (connected(running) for _ in range(3))
    with resting, begun, waiting:
        for connection in (resting, begun):
            connection.sendall(message())
            assert b"200 OK" in reply(connection)
        begun.sendall(message()[:-5])
        rows = json.dumps({"dataframe_records": [ROW] * 30_000}).encode()
        waiting.sendall(b"POST %b HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (PATH.encode(), len(rows), rows))
        answering(running, restart(running).json()["pid"])
        assert reply(waiting).count(b",") > 29_000
        begun.sendall(message()[-5:])
        assert b"200 OK" in reply(begun)
        for connection in (resting, begun, waiting):
            connection.sendall(message())
            found = reply(connection)
            assert b"200 OK" in found
            assert b"connection: close" not in found.lower()


def test_other_settings_take_effect(running: Gateway) -> None:
    """Variables that are gone are gone, in the process and in the guardian behind it."""
    answering(running, restart(running, MLAUTO_API_KEY="a-key-for-tests").json()["pid"])
    assert running.client.post(PATH, json=ASKED).status_code == 401

    os.kill(running.order("/status").json()["pid"], signal.SIGKILL)
    eventually(lambda: running.client.get("/v2").status_code == 401, "the same from the guardian's next process")
    eventually(lambda: running.client.get("/v2/health/ready").status_code == 200, "the versions")
    assert b"a-key-for-tests" not in Path(f"/proc/{running.served.process.pid}/cmdline").read_bytes()

    eventually(lambda: restart(running).status_code == 200, "another restart")
    eventually(lambda: running.client.get("/v2").status_code == 200, "an open door")


def test_a_signal_restarts_it_too(running: Gateway) -> None:
    """SIGUSR2 to the guardian, as service managers send one."""
    first = running.order("/status").json()["pid"]
    running.served.process.send_signal(signal.SIGUSR2)

    second = eventually(lambda: running.order("/status").json()["pid"] not in (first, 0), "another process")
    assert second
    assert running.client.post(PATH, json=ASKED).status_code == 200


def test_a_successor_that_cannot_start_a_version_is_given_up(copied: Any, tmp_path: Path) -> None:
    """The old process goes on with connections and orders, and says why it still does."""
    damaged = copied("bikes-1")
    with gateway(tmp_path / "home") as found:
        found.start({"bikes-1": damaged}, "bikes-1")
        found.switch("bikes", "1")
        first = found.order("/status").json()["pid"]
        (damaged / "model.skops").write_bytes(b"damaged")
        refused = restart(found)

        assert refused.status_code == 502
        assert "goes on as before: version 1 of bikes does not start again" in refused.json()["error"]
        assert "model.skops" in refused.json()["error"]
        assert found.order("/status").json()["pid"] == first
        assert found.client.post(PATH, json=ASKED).status_code == 200
        found.switch("bikes", "1")
        assert children(found.served.process.pid) == [first]


def test_settings_that_are_wrong_change_nothing(running: Gateway) -> None:
    """Neither do a Python that is none, nor an environment that is not ours."""
    first = running.order("/status").json()["pid"]
    for order in ({"environment": {"MLAUTO_API_KEY": "short"}}, {"program": "/no/python"}):
        refused = running.order("/restart", **order)
        assert (refused.status_code, "the new process ended with exit code 1" in refused.text) == (502, True)

    assert running.order("/status").json()["pid"] == first
    assert running.client.post(PATH, json=ASKED).status_code == 200


@pytest.mark.parametrize("victim", ["successor", "process", "guardian"])
def test_a_kill_in_the_midst_of_a_restart_is_survived(running: Gateway, victim: str) -> None:
    """The successor: the old process goes on. The process: another one at once. The guardian: nothing stays behind."""
    guardian, process = running.served.process.pid, running.order("/status").json()["pid"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(restart, running)
        eventually(lambda: len(children(guardian)) == 2, "a successor")
        successor = next(child for child in children(guardian) if child != process)
        os.kill({"successor": successor, "process": process, "guardian": guardian}[victim], signal.SIGKILL)
        if victim == "successor":
            assert "ended with signal SIGKILL" in asked.result().json()["error"]
            assert running.order("/status").json()["pid"] == process
        else:
            assert isinstance(asked.exception(), httpx.TransportError)
    if victim == "guardian":
        eventually(lambda: not any(map(alive, (guardian, process, successor))), "the end of them all")
        return
    eventually(lambda: not alive(successor), "the end of the successor")
    eventually(lambda: running.client.post(PATH, json=ASKED).status_code == 200, "an answer")
    answering(running, eventually(lambda: restart(running).json().get("pid"), "a restart that succeeds"))


def test_orders_during_a_restart_are_told_to_come_again(running: Gateway, bundles: dict[str, Path]) -> None:
    """A restart waits for an order that is being followed; orders after it are not taken, questions are answered."""
    with ThreadPoolExecutor(2) as pool:
        starting = pool.submit(running.order, "/start", product="skies", version="1", bundle=str(bundles["skies-1"]))
        eventually(lambda: len(children(running.order("/status").json()["pid"])) == 3, "a start")
        restarting = pool.submit(restart, running)
        refused = eventually(_refused(running), "a refusal")
        assert "give the order again in a moment" in refused.json()["error"]
        assert "under way already" in restart(running).json()["error"]
        said = running.order("/predict", product="bikes", version="1", rows=[ROW])
        assert said.status_code == 200
        assert starting.result().status_code == 200
        status = answering(running, restarting.result().json()["pid"])

    assert status["products"]["skies"]["versions"]["1"]["state"] == "ready"


def _refused(running: Gateway) -> Any:
    def look() -> httpx.Response | None:
        found = running.order("/switch", product="bikes", champion="1", fallback="2")
        return found if found.status_code == 503 else None

    return look


def test_sigterm_in_the_midst_ends_everything(running: Gateway) -> None:
    """With exit code 0."""
    guardian = running.served.process.pid
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(restart, running)
        eventually(lambda: len(children(guardian)) == 2, "a successor")
        family = children(guardian)
        running.served.process.terminate()

        assert running.served.process.wait(timeout=30) == 0
        assert asked.result().status_code == 502
    assert not any(map(alive, family))


def test_orders_are_taken_one_way_or_the_other(tmp_path: Path) -> None:
    """Closing waits for those that are being followed."""
    orders = Orders()

    async def scenario() -> float:
        began = time.monotonic()
        with orders.one():
            closing = asyncio.create_task(orders.close())
            await asyncio.sleep(0.1)
            with pytest.raises(UnavailableError, match="in a moment"), orders.one():
                pass
        await closing
        return time.monotonic() - began

    assert asyncio.run(scenario()) >= 0.1
    assert not orders.open


def test_without_a_guardian_there_is_no_restart(tmp_path: Path) -> None:
    """It is said, and orders are taken as before."""

    async def scenario() -> None:
        orders = Orders()
        with pytest.raises(ControlError, match="no guardian"):
            await Takeover(Supervisor(tmp_path), orders, None).ask()
        assert orders.open

    asyncio.run(scenario())
