"""A real Prometheus and a real Alertmanager with the exported files, and a webhook that hears the alerts."""

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from click.testing import CliRunner

from mlauto.cli import cli
from mlauto.commands.loop import free_port
from mlauto_tests.conftest import tool

__all__ = ["Heard", "Server", "alertmanager", "exported_to", "heard", "prometheus"]


@dataclass
class Server:
    """A program that was started, and its address."""

    url: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> None:
        """And wait for its end."""
        self.process.terminate()
        self.process.wait(20)

    def suspend(self) -> None:
        """It goes on to exist, and does nothing more."""
        self.process.send_signal(signal.SIGSTOP)
        while "T (stopped)" not in Path(f"/proc/{self.process.pid}/status").read_text():
            time.sleep(0.01)

    def asked(self, query: str) -> list[dict[str, Any]]:
        """The samples of a PromQL expression now. A wrong one is an error."""
        reply = httpx.post(f"{self.url}/api/v1/query", data={"query": query}, trust_env=False, timeout=10)
        assert reply.status_code == 200, f"{query}: {reply.text}"
        found: list[dict[str, Any]] = reply.json()["data"]["result"]
        return found


@dataclass
class Heard:
    """What a webhook was told: alert, product, status."""

    url: str
    alerts: list[tuple[str, str, str]] = field(default_factory=list)

    def of(self, name: str, product: str = "", status: str = "firing") -> bool:
        """Whether that came."""
        return (name, product, status) in self.alerts


@contextmanager
def heard() -> Iterator[Heard]:
    """A webhook."""

    class Hears(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["content-length"])))
            for alert in told["alerts"]:
                labels = alert["labels"]
                found.alerts.append((labels["alertname"], labels.get("product", ""), alert["status"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hears)
    found = Heard(f"http://127.0.0.1:{server.server_address[1]}/")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exported_to(folder: Path, defs: Path, *options: str) -> None:
    """What `mlauto export ops` writes, with every pause before an alert is told cut to a second."""
    environment = {"MLAUTO_ROOT": str(folder), "MLAUTO_HOME": str(folder / "home"), "MLAUTO_DEFS": str(defs)}
    words = ["export", "ops", "--to", str(folder), "--interval", "1s", "--scrape-key", "", *options]
    done = CliRunner().invoke(cli, words, env=environment)
    assert done.exit_code == 0, done.output
    for name, pauses in {"alerts.yml": "for", "alertmanager.yml": "group_wait|group_interval"}.items():
        path = folder / name
        text, count = re.subn(rf"(?m)^(\s+(?:{pauses})): \w+$", r"\1: 1s", path.read_text())
        assert count > 2, f"{name} has no pause"
        path.write_text(text)


@contextmanager
def _started(program: str, port: int, words: Sequence[str], folder: Path, ready: str) -> Iterator[Server]:
    url = f"http://127.0.0.1:{port}"
    with (folder / f"{Path(program).name}.{port}.log").open("wb") as log:
        command = [program, *words, f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    server = Server(url, process)
    try:
        for _ in range(300):
            assert process.poll() is None, Path(log.name).read_text()
            try:
                if httpx.get(f"{url}{ready}", trust_env=False, timeout=5).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield server
    finally:
        server.stop()


@contextmanager
def prometheus(folder: Path, config: str = "prometheus.yml", port: int | None = None) -> Iterator[Server]:
    """With the configuration in that folder, and a storage of its own."""
    port = port or free_port()
    words = [f"--config.file={folder / config}", f"--storage.tsdb.path={folder / f'tsdb-{config}'}"]
    words.append("--rules.alert.resend-delay=2s")  # what fires before Alertmanager is found is lost, and sent again
    with _started(str(tool("prometheus")), port, words, folder, "/-/ready") as server:
        yield server


@contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[Server]:
    """With the configuration in that folder, alone."""
    words = [f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'alerts'}"]
    program = str(tool("prometheus-alertmanager") or tool("alertmanager"))
    with _started(program, port, [*words, "--cluster.listen-address="], folder, "/-/ready") as server:
        yield server
