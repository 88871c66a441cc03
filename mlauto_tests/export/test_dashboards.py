"""Both dashboards: whole by Grafana's schema, and every expression has data in a real Prometheus."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from mlauto.commands.loop import free_port
from mlauto.export.alerts import GROUPS
from mlauto.export.dashboards import BOARDS, MARKS, dashboards
from mlauto.export.files import exported
from mlauto.export.targets import Targets
from mlauto_tests.conftest import tool
from mlauto_tests.export.conftest import made, metrics_text, strangers

PANELS = [
    query.expr for board in BOARDS.values() for row in board.rows.values() for one in row for query in one.queries
]
MARKED = [expr for _, expr in MARKS.values()]
ALERTS = [alert.expr for group in GROUPS.values() for alert in group]


def filled(expr: str) -> str:
    return expr.replace("$__rate_interval", "10s").replace("$product", ".*")


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    """Grafana's own types read it and write the same; panels do not overlap; each says what it is."""
    text = dashboards()[name]
    board: dict[str, Any] = json.loads(text)
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]

    assert JSONEncoder(sort_keys=True, indent=2).encode(Dashboard.from_json(board)) + "\n" == text
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    assert {mark["name"] for mark in board["annotations"]["list"]} == set(MARKS)
    assert board["editable"] is False


def test_dashboards_ask_for_metrics_that_there_are(known: dict[str, set[str]]) -> None:
    """By the names and labels that the gateway renders and the rules record."""
    assert strangers([*PANELS, *MARKED], known) == []


def test_every_build_is_the_same() -> None:
    """Or `--check` would fail at random."""
    assert dashboards() == dashboards()


@contextmanager
def gateway(home: Path) -> Iterator[int]:
    """Something that says what a gateway says, with traffic that grows; its port."""
    begun = time.monotonic()

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = metrics_text(home, traffic=2 + int(10 * (time.monotonic() - begun)), now=time.time())
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def prometheus(folder: Path, scraped: int) -> Iterator[Callable[[str], httpx.Response]]:
    """A real one, by the exported configuration; asks it a query."""
    targets = Targets(gateway=f"127.0.0.1:{scraped}", alertmanager="127.0.0.1:9", scrape_key="", interval="1s")
    for name, text in exported([made(slo={"p99_ms": 250})], targets).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    address = f"127.0.0.1:{free_port()}"
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log, httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
        command = [str(tool("prometheus")), *words, f"--web.listen-address={address}"]
        process = subprocess.Popen(command, stdout=log, stderr=log)

        def ask(query: str) -> httpx.Response:
            return client.post("/api/v1/query", data={"query": query})

        try:
            yield ask
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.slow
@pytest.mark.needs("promtool")
def test_a_real_prometheus_has_data_for_every_panel(tmp_path: Path) -> None:
    """And parses every mark and alert. Everything is exported, so a panel without data is one with a wrong name."""

    def empty(ask: Callable[[str], httpx.Response]) -> list[str]:
        found = []
        for expr in PANELS:
            try:
                said = ask(filled(expr))
            except httpx.TransportError:
                return ["Prometheus does not answer yet"]
            if said.status_code == 400:
                raise AssertionError(f"{expr}: {said.json()['error']}")
            if not said.is_success or not said.json()["data"]["result"]:
                found.append(expr)
        return found

    with gateway(tmp_path / "home") as port, prometheus(tmp_path, port) as ask:
        deadline = time.monotonic() + 60
        while left := empty(ask):
            assert time.monotonic() < deadline, (left, (tmp_path / "log").read_text()[-2000:])
            time.sleep(0.5)
        for expr in (*MARKED, *ALERTS):
            assert ask(filled(expr)).json()["status"] == "success", expr
        firing = ask('ALERTS{alertstate="firing"}').json()["data"]["result"]
        refused = ask("sum(rate(mlauto_requests_total[")

    assert {"Watchdog"} <= {one["metric"]["alertname"] for one in firing}
    assert refused.status_code == 400
