"""The exported files in a real Prometheus and a real Alertmanager, over the real gateway with real models and traffic.

One story in several tests, in this order: all is well, counters begin anew, the model fails, the gateway is gone,
Prometheus is gone. The control plane's rows are made by its own code from records in which everything was measured.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import yaml

from mlauto.commands.loop import free_port
from mlauto.errors import MeasurementError
from mlauto.export.alerts import GROUPS
from mlauto.export.dashboards import BOARDS, MARKS
from mlauto.monitoring.prometheus import Prometheus
from mlauto.monitoring.service import ServiceLevel
from mlauto.store import Store
from mlauto_tests.export.conftest import METRIC
from mlauto_tests.live.watching import Heard, Server, alertmanager, exported_to, heard, prometheus
from mlauto_tests.monitoring.whole import whole_rows
from mlauto_tests.serving.conftest import ROW, Gateway, eventually, gateway

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.needs("prometheus"), pytest.mark.needs("alertmanager")]

PRODUCT = "bikes"
DEFS = """\
type: mlauto.ModelProduct
attributes:
  name: bikes
  owners: ["team:bikes"]
  code: {repository: models/bikes, estimator: "bikes.model:build"}
  data: {landing: landing/bikes, target: y, task: regression}
  monitoring: {slo: {p99_ms: 5000, error_rate: 0.05}}
"""
PANELS = {
    query.expr: panel.title
    for board in BOARDS.values()
    for row in board.rows.values()
    for panel in row
    for query in panel.queries
}
ALERTS = [alert.expr for group in GROUPS.values() for alert in group]
# What has no series here, and why: that it is spelt as it is exported, mlauto_tests/export shows.
ABSENT = {"mlauto_log_failures_total": "a disk that is full is not played here"}


@dataclass
class Users:
    """A client that asks all the time and labels what it is told; `statuses` are the answers it got."""

    url: str
    statuses: list[int] = field(default_factory=list)
    paused: threading.Event = field(default_factory=threading.Event)
    idle: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        body = {"dataframe_records": [ROW]}
        with httpx.Client(base_url=f"{self.url}/v2/models/{PRODUCT}", trust_env=False, timeout=20) as client:
            while not self.ended.wait(0.02):
                if self.paused.is_set():
                    self.idle.set()
                    continue
                self.idle.clear()
                with suppress(httpx.TransportError):
                    reply = client.post("/invocations", json=body, headers={"x-mlauto-timeout-ms": "400"})
                    self.statuses.append(reply.status_code)
                    if reply.status_code == 200:
                        client.post("/feedback", json={"id": reply.headers["x-prediction-id"], "label": 1.0})


@dataclass
class Story:
    """All that runs."""

    folder: Path
    gateway: Gateway
    prometheus: Server
    team: Heard
    watchdog: Heard
    users: Users
    bundles: dict[str, Path]

    def level(self) -> ServiceLevel:
        return Prometheus(self.prometheus.url).level(PRODUCT, "1", now=time.time(), recent=300.0)

    def problem(self) -> str:
        """Why there is no level; empty when there is one."""
        try:
            self.level()
        except MeasurementError as error:
            return str(error)
        return ""

    def pause(self) -> int:
        """Stop the traffic, and return how much there was when all of it is scraped."""
        self.users.idle.clear()
        self.users.paused.set()
        assert self.users.idle.wait(20)
        paused = time.time()
        eventually(lambda: self.level().until > paused, "a scrape after the last request")
        return len(self.users.statuses)

    def left(self) -> list[str]:
        """Panels that have no data now."""
        absent = [expr for expr in PANELS if not self.prometheus.asked(filled(expr))]
        return [expr for expr in absent if not any(name in expr for name in ABSENT)]


def filled(expr: str) -> str:
    return expr.replace("$__rate_interval", "10s").replace("$product", ".*")


@pytest.fixture(scope="module")
def story(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Version 1 answers, version 2 gets copies; everything is scraped each second."""
    folder = tmp_path_factory.mktemp("watched")
    own = {name: Path(shutil.copytree(bundles[name], folder / name)) for name in ("bikes-1", "bikes-2")}
    (folder / "defs" / PRODUCT).mkdir(parents=True)
    (folder / "defs" / PRODUCT / "defs.yaml").write_text(DEFS)
    home = folder / "home"
    with ExitStack() as stack:
        team, watchdog = stack.enter_context(heard()), stack.enter_context(heard())
        found = stack.enter_context(gateway(home))
        port = free_port()
        exported_to(
            folder,
            folder / "defs",
            *("--gateway", found.served.url.removeprefix("http://"), "--alertmanager", f"127.0.0.1:{port}"),
            *("--webhook", team.url, "--watchdog", watchdog.url),
        )
        stack.enter_context(alertmanager(folder, port))
        watching = stack.enter_context(prometheus(folder))
        for name in own:
            found.start(own, name)
        found.switch(PRODUCT, "1", "2")
        users = Users(found.served.url)
        records = threading.Thread(target=_record, args=(home, users.ended))
        threads = [threading.Thread(target=users.run), records]
        for thread in threads:
            thread.start()
        try:
            yield Story(folder, found, watching, team, watchdog, users, own)
        finally:
            users.ended.set()
            for thread in threads:
                thread.join()


def _record(home: Path, ended: threading.Event) -> None:
    """The control plane looks at the product every second."""
    while True:
        Store(home).write_record(PRODUCT, "gauges", whole_rows(time.time()))
        if ended.wait(1):
            return


def test_all_that_is_watched_is_exported_and_has_data(story: Story) -> None:
    """Every metric in rules, alerts, panels and marks, but for those that are excused by name."""
    eventually(lambda: len(story.users.statuses) > 20, "traffic")
    process = story.gateway.version(PRODUCT, "1")["pid"]
    os.kill(process, signal.SIGSTOP)
    time.sleep(0.15)  # the next request has reached it by then, and waits
    os.kill(process, signal.SIGKILL)  # the other one has to answer: a retry
    eventually(lambda: "mlauto_retries_total{" in story.gateway.client.get("/metrics").text, "a retry")
    eventually(lambda: story.gateway.version(PRODUCT, "1")["state"] == "ready", "version 1 again")
    story.gateway.switch(PRODUCT, "1", shadow="2")

    eventually(lambda: not story.left(), "data in every panel", seconds=40)
    texts = [*PANELS, *ALERTS, *(expr for _, expr in MARKS.values()), (story.folder / "rules.yml").read_text()]
    names = {name for text in texts for name in METRIC.findall(text)} - set(ABSENT)
    assert len(names) > 40
    assert [name for name in sorted(names) if not story.prometheus.asked(name)] == []
    assert [name for name in ABSENT if story.prometheus.asked(name)] == []
    for expr in (*ALERTS, *(filled(expr) for _, expr in MARKS.values())):
        story.prometheus.asked(expr)
    assert set(story.users.statuses) == {200}


def test_the_watchdog_arrives(story: Story) -> None:
    """Always, at its own address, and nowhere else."""
    eventually(lambda: story.watchdog.of("Watchdog"), "the dead-man's switch", seconds=90)

    assert {name for name, *_ in story.watchdog.alerts} == {"Watchdog"}
    assert not story.team.of("Watchdog")
    assert not {"GatewayDown", "ErrorBudgetFast"} & {name for name, *_ in story.team.alerts}


def test_the_level_is_what_users_saw(story: Story) -> None:
    """Exactly as many requests as were answered since, over a restart of the gateway, too."""
    sent = story.pause()
    before = story.level()
    reply = story.gateway.order("/restart", program="", environment={})
    assert reply.status_code == 200, reply.text
    story.users.paused.clear()
    eventually(lambda: len(story.users.statuses) >= sent + 50, "more traffic")
    more = story.pause() - sent
    found = story.level()
    story.users.paused.clear()

    assert found.requests == before.requests + more
    assert found.errors == 0
    assert found.p50_ms is not None
    assert found.p99_low_ms is not None
    assert found.p99_ms is not None
    assert found.p99_low_ms <= found.p99_ms
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.saturation is not None
    assert 0 <= found.saturation < 0.1


def test_a_model_that_cannot_answer_is_told(story: Story) -> None:
    """Its file is damaged and its process dies: users get 503, the errors' and the champion's alerts arrive."""
    before = story.level()
    story.team.alerts.clear()  # its short absence in the beginning was told, too
    story.gateway.switch(PRODUCT, "1")
    story.gateway.order("/stop", product=PRODUCT, version="2")
    damaged = story.bundles["bikes-1"] / "model.skops"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"damaged")
    os.kill(story.gateway.version(PRODUCT, "1")["pid"], signal.SIGKILL)

    eventually(lambda: story.team.of("ChampionNotReady", PRODUCT), "ChampionNotReady at the webhook")
    eventually(lambda: story.team.of("ErrorBudgetFast", PRODUCT), "ErrorBudgetFast at the webhook")
    during = story.level()
    damaged.write_bytes(whole)

    assert 503 in story.users.statuses
    assert during.errors > before.errors
    assert not story.team.of("GatewayDown")


def test_a_gateway_that_is_gone_is_told_and_its_level_is_unknown(story: Story) -> None:
    """GatewayDown arrives; a few scrapes later the samples are stale, though users' counters were good."""
    story.users.paused.set()
    story.gateway.served.process.terminate()
    story.gateway.served.process.wait(30)

    eventually(lambda: story.team.of("GatewayDown"), "GatewayDown at the webhook")
    said = eventually(story.problem, "a stale level")
    assert "the newest sample is" in said
    assert "there is one every 1 s" in said


def test_prometheus_empty_and_gone(story: Story) -> None:
    """One that scrapes nobody has no sample, one that was stopped does not answer: neither gives a figure."""
    (story.folder / "empty.yml").write_text(yaml.safe_dump({"scrape_configs": []}))
    with prometheus(story.folder, "empty.yml") as server:
        client = Prometheus(server.url)
        with pytest.raises(MeasurementError, match="there is no sample of mlauto_requests_in_flight"):
            client.level(PRODUCT, "1", now=time.time(), recent=300.0)
        with pytest.raises(MeasurementError, match=r"it answered 400: .*parse error"):
            Prometheus(server.url, match="nonsense").level(PRODUCT, "1", now=time.time(), recent=300.0)
        server.suspend()
        try:
            with pytest.raises(MeasurementError, match="it did not answer within"):
                client.level(PRODUCT, "1", now=time.time(), recent=300.0)
        finally:
            server.process.send_signal(signal.SIGCONT)
    with pytest.raises(MeasurementError, match="it does not answer"):
        Prometheus(server.url).level(PRODUCT, "1", now=time.time(), recent=300.0)
