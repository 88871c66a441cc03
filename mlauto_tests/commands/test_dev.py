"""`mlauto dev` as a user starts it: a real UI on the loopback interface, and what is said when that cannot be."""

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from mlauto.commands.dev import run_dev
from mlauto.commands.loop import Loop, dagster_environment, free_port
from mlauto.commands.ui import Reload, reload_products
from mlauto.errors import MlautoError
from mlauto.settings import Settings


def test_a_taken_port_is_a_sentence(settings: Settings) -> None:
    """The error names the address and another port, before anything is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(MlautoError, match=f"the UI cannot listen on 127.0.0.1:{port}.*mlauto dev --port"):
            run_dev(settings, port=port)
        with pytest.raises(MlautoError, match=f"the gateway cannot listen on 127.0.0.1:{port}.*MLAUTO_GATEWAY_PORT"):
            run_dev(replace(settings, gateway_port=port), port=free_port())
    assert not settings.home.exists()


@pytest.mark.live
def test_the_ui_answers_and_ends_with_its_children(tmp_path: Path) -> None:
    """The UI knows the three sensors, all of them running, and reloads when asked; an interrupt ends every process."""
    loop, port = Loop.scratch(tmp_path / "loop"), free_port()
    command = [str(Path(sys.executable).with_name("mlauto")), "dev", "--port", str(port)]
    query = '{sensorsOrError(repositorySelector: {repositoryName: "__repository__", repositoryLocationName: "mlauto"}) '
    query += "{... on Sensors {results {name sensorState {status}}}}}"
    environment = {**dagster_environment(loop.settings), "MLFLOW_TRACKING_URI": loop.settings.mlflow_uri}
    loop.daemon = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)

    def sensors() -> list[dict[str, dict[str, str]]] | None:
        try:
            reply = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, trust_env=False, timeout=20)
        except httpx.TransportError:
            return None
        data = reply.json().get("data") or {}
        return (data.get("sensorsOrError") or {}).get("results")

    try:
        found = loop.wait_for("the sensors in the UI", sensors, timeout=90)
        reloaded = reload_products(loop.settings)
        os.killpg(loop.daemon.pid, signal.SIGINT)
        loop.daemon.wait(timeout=30)
        loop.daemon = None
        gone = loop.wait_for("every process to end", lambda: not loop.processes(), timeout=30)
    finally:
        loop.stop()

    states = {str(sensor["name"]): sensor["sensorState"]["status"] for sensor in found}
    assert states == {"commits": "RUNNING", "data": "RUNNING", "live": "RUNNING"}
    assert reloaded == Reload(url=f"http://127.0.0.1:{port}")
    assert gone
