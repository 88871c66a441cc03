"""The services of `ops/compose.yaml` really run, as that file says, on PostgreSQL, with runs in containers.

A data file lands; the first run's container is killed in the middle; the sensor asks again, and the model goes live.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlauto.commands.client import GatewayClient, rows_of
from mlauto.commands.example import FIRST_ROWS, PRODUCT, TARGET, TIMESTAMP, define, land, make_model_repository
from mlauto.commands.export import export_ops
from mlauto.commands.loop import free_port
from mlauto.commands.products import find_product
from mlauto.commands.stream import DemandStream
from mlauto.export.targets import Targets
from mlauto.orchestration import steps
from mlauto.orchestration.platform import Platform
from mlauto.settings import Settings
from mlauto_tests.conftest import tool
from mlauto_tests.ops.machinery import Postgres, Stack, docker, network, postgres, until

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.needs("docker", "docker-cli", "postgres"),
    pytest.mark.timeout(900),
]
SERVICES = ("mlflow", "gateway", "code", "daemon", "webserver")
SOCKET = Path("/var/run/docker.sock")
KEY, SCRAPE_KEY = "key-of-the-clients", "key-of-prometheus"
DONE = ["batch", "image", "model", "production", "test_deployment", "training_set"]
STREAM = DemandStream(seed=7)
WALKER = """
from pathlib import Path
from mlauto.serving.plan.walker_file import brought, compiled, compiler
print(compiler(), brought(), compiled(Path("/tmp/native")))
"""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What happened: the run that was killed, its container, the run after it, and how long things took."""

    killed: str
    worker: dict[str, Any]
    failure: str
    second: str
    seconds_to_failed: float


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With `state` and `project`, as a team has them; the images' user owns both."""
    made = Path(tempfile.mkdtemp(prefix="mlauto-ops-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    """The shipped product with its commit verified and its first data landed."""
    found = Settings.from_environment(
        {
            "MLAUTO_ROOT": str(folder / "project"),
            "MLAUTO_DEFS": str(folder / "project" / "defs"),
            "MLAUTO_HOME": str(folder / "state" / "home"),
            "MLAUTO_GATEWAY_PORT": str(free_port()),
            "MLAUTO_API_KEY": KEY,
        }
    )
    define(found)
    make_model_repository(found, STREAM)
    platform, product = Platform.from_settings(found), find_product(found, PRODUCT)
    mirror = platform.mirror(product)
    mirror.fetch()
    head = mirror.head()
    assert head is not None
    steps.report_commit(platform, product, head, lambda _line: None)
    steps.verify_newest_commit(platform, product)
    land(found, STREAM.frame(0, FIRST_ROWS), "first.csv")
    return found


@pytest.fixture(scope="module")
def server_and_stack(orchestrator: str, folder: Path, settings: Settings) -> Iterator[tuple[Postgres, Stack]]:
    """PostgreSQL on this machine, and the five services in containers that reach it over their network."""
    user = "10001:10001"
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 10001, 10001, follow_symlinks=False)
    else:
        user = f"{os.getuid()}:{os.getgid()}"
    with network() as (name, address), postgres(address) as server:
        environment = {
            "POSTGRES_PASSWORD": server.password,
            "MLAUTO_POSTGRES_HOST": server.host,
            "MLAUTO_POSTGRES_PORT": str(server.port),
            "MLAUTO_API_KEY": KEY,
            "MLAUTO_SCRAPE_KEY": SCRAPE_KEY,
            "MLAUTO_IMAGE": orchestrator,
            "MLAUTO_USER": user,
            "MLAUTO_STATE": str(folder / "state"),
            "MLAUTO_STATE_AT": str(folder / "state"),
            "MLAUTO_PROJECT": str(folder / "project"),
            "MLAUTO_DEFS": "/srv/mlauto/defs",
            "MLAUTO_TICK_SECONDS": "1",
            "DOCKER_GID": str(SOCKET.stat().st_gid),
            "GATEWAY_PORT": str(settings.gateway_port),
            "DAGSTER_PORT": str(free_port()),
            "MLFLOW_PORT": str(free_port()),
        }
        stack = Stack(name, environment)
        for service in ("mlflow", "gateway", "code"):
            stack.start(service)
        stack.healthy("code", "gateway", "mlflow", seconds=240)
        for service in ("daemon", "webserver"):
            stack.start(service)
        yield server, stack


@pytest.fixture(scope="module")
def seen(server_and_stack: tuple[Postgres, Stack]) -> Seen:
    """The story, played once."""
    server, stack = server_and_stack

    def working() -> tuple[str, str] | None:
        for run, container in stack.workers().items():
            if tag(server, run, "mlauto/trigger") == "batch" and events(server, run, "STEP_START"):
                return run, container
        return None

    run, container = until("a run in the middle of its work", working, seconds=180, told=stack.logs)
    worker = json.loads(docker("inspect", container))[0]
    docker("kill", "--signal", "KILL", container)
    killed = time.monotonic()
    failed = until(
        "the killed run to fail", lambda: events(server, run, "PIPELINE_FAILURE") or None, seconds=60, told=stack.logs
    )
    seconds = time.monotonic() - killed

    def succeeded() -> str | None:
        others = "SELECT run_id, status FROM runs WHERE run_id IN (SELECT run_id FROM run_tags WHERE (key, value) IN "
        same = "(SELECT key, value FROM run_tags WHERE run_id = %s AND key = 'mlauto/work')) AND run_id <> %s"
        found = server.ask(others + same, run, run)
        assert [one for one in found if one[1] == "FAILURE"] == [], stack.logs()
        return next((str(one) for one, status in found if status == "SUCCESS"), None)

    second = until("another run to finish the work", succeeded, seconds=300, told=stack.logs)
    return Seen(
        killed=run,
        worker=worker,
        failure=json.loads(failed[0])["dagster_event"]["message"],
        second=second,
        seconds_to_failed=seconds,
    )


def events(server: Postgres, run: str, kind: str) -> list[str]:
    """A run's events of that kind, as PostgreSQL holds them."""
    query = "SELECT event FROM event_logs WHERE run_id = %s AND dagster_event_type = %s ORDER BY id"
    return [str(row[0]) for row in server.ask(query, run, kind)]


def tag(server: Postgres, run: str, name: str) -> str | None:
    """The value of a run's tag."""
    found = server.ask("SELECT value FROM run_tags WHERE run_id = %s AND key = %s", run, name)
    return str(found[0][0]) if found else None


def test_the_image_brings_the_walker_of_trees_along(orchestrator: str) -> None:
    """It has no compiler: the library that its build made, of these very sources, is what a training takes."""
    compiler, brought, taken = docker(
        "run", "--rm", "--network", "none", orchestrator, "python", "-P", "-c", WALKER
    ).split()

    assert compiler == "None"
    assert re.fullmatch(r"/opt/venv/share/mlauto/walker-\w+-[0-9a-f]{16}\.so", brought)
    assert taken == f"/tmp/native/{Path(brought).name}"


def test_a_run_whose_container_was_killed_is_marked_failed(
    seen: Seen, server_and_stack: tuple[Postgres, Stack]
) -> None:
    """By run monitoring, within seconds, and it says what it found."""
    server, _ = server_and_stack

    assert server.ask("SELECT status FROM runs WHERE run_id = %s", seen.killed) == [("FAILURE",)]
    assert "Detected run worker status" in seen.failure
    assert seen.seconds_to_failed < 20


def test_the_sensor_asks_again_and_the_model_goes_live(seen: Seen, server_and_stack: tuple[Postgres, Stack]) -> None:
    """All of the work is in PostgreSQL, and the gateway's container answers on its published port."""
    server, _ = server_and_stack
    query = "SELECT asset_key FROM event_logs WHERE run_id = %s AND dagster_event_type = 'ASSET_MATERIALIZATION'"
    made = sorted(json.loads(row[0])[-1] for row in server.ask(query, seen.second))

    assert made == DONE
    assert tag(server, seen.killed, "mlauto/attempt") == "1"
    assert tag(server, seen.second, "mlauto/attempt") == "2"


def test_the_model_that_went_live_has_the_walker(seen: Seen, settings: Settings) -> None:
    """Trained in a container without a compiler, and served with the library that the image brought along."""
    (kept,) = (settings.home / "native").iterdir()
    bundled = [path.read_bytes() for path in (settings.home / "store").rglob("walker.so")]

    assert seen.second
    assert bundled
    assert set(bundled) == {kept.read_bytes()}


def test_the_gateway_answers_who_shows_a_key(seen: Seen, settings: Settings) -> None:
    """A prediction by the version that the run's container made and the gateway's container runs."""
    rows = rows_of(STREAM.frame(0, 3).drop(columns=[TIMESTAMP, TARGET]))
    with GatewayClient(settings.gateway_url, PRODUCT, credentials=settings.credentials) as client:
        answer = client.ask(rows)
    stranger = httpx.get(f"{settings.gateway_url}/metrics", trust_env=False)
    known = {"authorization": f"Bearer {SCRAPE_KEY}"}
    scraped = httpx.get(f"{settings.gateway_url}/metrics", headers=known, trust_env=False)

    assert answer.ok, answer.problem
    assert answer.version == "1"
    assert stranger.status_code == 401
    assert f'mlauto_version_champion{{product="{PRODUCT}",version="1"}} 1' in scraped.text


@pytest.mark.needs("promtool")
def test_prometheus_scrapes_the_gateway_by_our_configuration(seen: Seen, settings: Settings, tmp_path: Path) -> None:
    """A real Prometheus, by an export with this test's address and key, has the series, and nobody is woken."""
    assert seen.second
    gateway, key = f"127.0.0.1:{settings.gateway_port}", str(tmp_path / "scrape_key")
    export_ops(settings, tmp_path, Targets(gateway=gateway, scrape_key=key, interval="1s"))
    (tmp_path / "scrape_key").write_text(SCRAPE_KEY)
    address = f"127.0.0.1:{free_port()}"
    command = [str(tool("prometheus")), f"--config.file={tmp_path}/prometheus.yml", f"--web.listen-address={address}"]

    def value(query: str) -> str | None:
        try:
            said = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, trust_env=False, timeout=5)
        except httpx.TransportError:
            return None
        found = said.json()["data"]["result"] if said.is_success else []
        return str(found[0]["value"][1]) if found else None

    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--storage.tsdb.path={tmp_path}/data"], stdout=log, stderr=log)
    try:
        champion = f'mlauto_version_champion{{job="gateway", product="{PRODUCT}", version="1"}}'
        told = (tmp_path / "log").read_text
        assert until("the champion's series", lambda: value(champion), seconds=60, told=told) == "1"
        assert value('up{job="gateway"}') == "1"
        assert value('count(ALERTS{alertstate="firing", severity="critical"})') is None
    finally:
        process.terminate()
        process.wait(20)


def test_a_run_worker_is_closed(seen: Seen, server_and_stack: tuple[Postgres, Stack], orchestrator: str) -> None:
    """It is of the code server's image, unprivileged, without the Docker socket, and its command holds no password."""
    server, stack = server_and_stack
    config, host = seen.worker["Config"], seen.worker["HostConfig"]

    assert config["Image"] == orchestrator
    assert config["User"] == stack.environment["MLAUTO_USER"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["AutoRemove"]
    assert (host["Memory"], host["PidsLimit"]) == (4 << 30, 500)
    assert {mount["Destination"] for mount in seen.worker["Mounts"] if mount["Type"] == "bind"} == {
        stack.environment["MLAUTO_STATE"],
        "/srv/mlauto",
    }
    assert server.password not in json.dumps(config["Cmd"])


def test_the_webserver_shows_both_runs(seen: Seen, server_and_stack: tuple[Postgres, Stack]) -> None:
    """Through its published port, from PostgreSQL and the shared state directory."""
    _, stack = server_and_stack
    stack.healthy("webserver", "daemon", seconds=120)
    query = "{runsOrError {... on Runs {results {runId status}}}}"
    url = f"http://127.0.0.1:{stack.environment['DAGSTER_PORT']}/graphql"
    said = httpx.post(url, json={"query": query}, trust_env=False, timeout=30).raise_for_status().json()
    shown = {one["runId"]: one["status"] for one in said["data"]["runsOrError"]["results"]}

    assert shown[seen.killed] == "FAILURE"
    assert shown[seen.second] == "SUCCESS"


def test_no_service_ended_meanwhile(seen: Seen, server_and_stack: tuple[Postgres, Stack]) -> None:
    """None was restarted or killed for its memory, and none wrote a traceback."""
    _, stack = server_and_stack
    states = {name: json.loads(docker("inspect", one))[0]["State"] for name, one in stack.started.items()}

    assert seen.second
    assert set(states) == set(SERVICES)
    assert {name for name, state in states.items() if not state["Running"] or state["OOMKilled"]} == set()
    assert "Traceback" not in stack.logs()
