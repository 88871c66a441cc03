"""The gateway as a process: users are answered through switches, crashes and restarts."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from mlauto_tests.serving.conftest import ROW, environment, eventually, free_port, gateway, prediction_lines

MODULE = "mlauto.serving.gateway"


@dataclass
class Load:
    """Clients that ask for predictions over connections of their own until they are stopped."""

    url: str
    answers: list[tuple[str, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        asyncio.run(self._clients())

    async def _clients(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(6)))

    async def _client(self) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as client:
            while not self.stopping.is_set():
                try:
                    reply = await client.post("/v2/models/bikes/invocations", json={"dataframe_records": [ROW]})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if reply.status_code == 200:
                    self.answers.append((reply.headers["x-mlauto-version"], reply.json()["predictions"][0]))
                else:
                    self.failures.append(f"{reply.status_code} {reply.text}")

    def answered_by(self, version: str, count: int) -> None:
        """Wait until so many more answers of that version came."""
        start = len(self.answers)
        eventually(lambda: sum(v == version for v, _ in self.answers[start:]) >= count, f"{count} answers of {version}")


@contextmanager
def load(url: str) -> Iterator[Load]:
    found = Load(url)
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        yield found
    finally:
        found.stopping.set()
        thread.join()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_no_request_fails_through_switches_and_a_killed_champion(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Under load: two switches, and kill -9 of the champion with a warm fallback. Every request is answered."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.start(bundles, "bikes-2")
        found.switch("bikes", "1")
        with load(found.served.url) as traffic:
            traffic.answered_by("1", 60)
            found.switch("bikes", "2", "1")
            traffic.answered_by("2", 60)
            found.switch("bikes", "1", "2")
            traffic.answered_by("1", 60)
            killed = found.version("bikes", "1")["pid"]
            os.kill(killed, signal.SIGKILL)
            traffic.answered_by("2", 5)  # not more: the champion may be back before that
            eventually(lambda: found.version("bikes", "1")["state"] == "ready", "the champion again")
            traffic.answered_by("1", 60)

        assert traffic.failures == []
        assert all(answer > 900 if version == "2" else answer < 100 for version, answer in traffic.answers)
        assert found.version("bikes", "1")["pid"] != killed
        assert found.version("bikes", "1")["starts"] == 2
        lines = prediction_lines(tmp_path / "home", "bikes")
        assert len(lines) == len(traffic.answers)
        assert len({line["id"] for line in lines}) == len(lines)


def test_a_champion_that_hangs_is_covered_and_replaced(bundles: dict[str, Path], tmp_path: Path) -> None:
    """SIGSTOP under load: the fallback answers meanwhile, no request fails, and a new process takes its place."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.start(bundles, "bikes-2")
        found.switch("bikes", "1", "2")
        with load(found.served.url) as traffic:
            traffic.answered_by("1", 20)
            hung = found.version("bikes", "1")["pid"]
            os.kill(hung, signal.SIGSTOP)
            traffic.answered_by("2", 20)
            eventually(lambda: found.version("bikes", "1")["starts"] == 2, "a new process")
            traffic.answered_by("1", 20)

        assert traffic.failures == []
        assert found.version("bikes", "1")["pid"] != hung
        assert not alive(hung)


def test_a_killed_champion_without_fallback_is_waited_for(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A request that comes while the only version is being restarted is held until it answers."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")
        with load(found.served.url) as traffic:
            traffic.answered_by("1", 20)
            os.kill(found.version("bikes", "1")["pid"], signal.SIGKILL)
            eventually(lambda: found.version("bikes", "1")["starts"] == 2, "a second start")
            traffic.answered_by("1", 40)

        assert traffic.failures == []


def test_it_goes_on_after_kill_9_and_leaves_no_orphan(bundles: dict[str, Path], tmp_path: Path) -> None:
    """The model servers of a killed gateway end with it; the next gateway has the same champion and fallback."""
    home, port = tmp_path / "home", free_port()
    with gateway(home, port) as first:
        first.start(bundles, "bikes-1")
        first.start(bundles, "bikes-2")
        first.switch("bikes", "2", "1")
        pids = [first.version("bikes", version)["pid"] for version in ("1", "2")]
        first.served.process.kill()
        first.served.process.wait()
        eventually(lambda: not any(map(alive, pids)), "the end of the orphans")
    with gateway(home, port) as second:
        reply = second.served.post("/invocations", {"dataframe_records": [ROW]})
        status = second.order("/status").json()["products"]["bikes"]

        assert reply.status_code == 200
        assert reply.headers["x-mlauto-version"] == "2"
        assert (status["champion"], status["fallback"]) == ("2", "1")
        eventually(lambda: second.version("bikes", "1")["state"] == "ready", "the fallback again")


def test_sigterm_answers_what_is_in_flight(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A large request that is being predicted when SIGTERM comes is answered; then everything ends, with code 0."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")
        pid = found.version("bikes", "1")["pid"]
        replies: list[httpx.Response] = []
        rows = {"dataframe_records": [ROW] * 60_000}
        asking = threading.Thread(target=lambda: replies.append(found.served.post("/invocations", rows)))
        asking.start()
        eventually(
            lambda: found.order("/status").json()["products"]["bikes"]["versions"]["1"]["in_flight"], "a request"
        )
        found.served.process.terminate()
        asking.join()

        assert found.served.process.wait(timeout=30) == 0
        assert replies[0].status_code == 200
        assert len(replies[0].json()["predictions"]) == 60_000
        eventually(lambda: not alive(pid), "the end of the model server")
        assert not list((tmp_path / "home" / "gateway" / "run").glob("*.sock"))


def test_a_second_gateway_for_the_same_home_refuses(tmp_path: Path) -> None:
    """Exit code 3, and the first one is not disturbed."""
    with gateway(tmp_path / "home") as found:
        command = [sys.executable, "-m", MODULE, "--home", str(tmp_path / "home"), "--port", str(free_port())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)

        assert done.returncode == 3
        assert "another gateway runs" in done.stderr
        assert found.client.get("/v2/health/live").status_code == 200


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Exit code 1 and what to do, when something else listens there."""
    with gateway(tmp_path / "one") as found:
        port = found.served.url.rsplit(":", 1)[1]
        command = [sys.executable, "-m", MODULE, "--home", str(tmp_path / "two"), "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)

        assert done.returncode == 1
        assert f"127.0.0.1:{port}" in done.stderr
        assert "MLAUTO_GATEWAY_PORT" in done.stderr


def test_a_broken_state_file_is_named(tmp_path: Path) -> None:
    """The gateway does not begin from nothing when its state cannot be read."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "state.json").write_text('{"products": 7}')
    command = [sys.executable, "-m", MODULE, "--home", str(tmp_path), "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)

    assert done.returncode == 1
    assert "state.json is no gateway state" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deep_home_is_no_problem(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Unix sockets work below paths longer than the 107 bytes that the kernel takes."""
    home = tmp_path / ("d" * 120) / "home"
    with gateway(home) as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")

        assert found.served.post("/invocations", {"dataframe_records": [ROW]}).status_code == 200
        assert (home / "gateway" / "control.sock").stat().st_mode & 0o777 == 0o600


def test_the_gateway_stays_light() -> None:
    """Neither numpy nor pandas nor scikit-learn nor httpx is imported by it: it must start at once and stay small."""
    code = (
        "import sys, mlauto.serving.gateway, uvicorn, uvloop, httptools\n"
        "heavy = {'numpy', 'pandas', 'sklearn', 'scipy', 'skops', 'pyarrow', 'mlflow', 'dagster', 'httpx'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "print([m for m in sys.modules if m.startswith('mlauto.') and not m.startswith('mlauto.serving')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment(), check=True
    )

    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


def test_its_memory_stays_small(bundles: dict[str, Path], tmp_path: Path) -> None:
    """The process that answers users holds less than 80 MB."""
    with gateway(tmp_path / "home") as found:
        found.start(bundles, "bikes-1")
        found.switch("bikes", "1")
        for _ in range(50):
            found.served.post("/invocations", {"dataframe_records": [ROW]})
        status = Path(f"/proc/{found.served.process.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

        assert resident < 80 * 1024


def test_time_is_not_lost_on_a_restart(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A gateway that is told to run nothing is up within a second or two."""
    began = time.monotonic()
    with gateway(tmp_path / "home") as found:
        assert found.client.get("/v2").json()["models"] == []
        assert time.monotonic() - began < 5
