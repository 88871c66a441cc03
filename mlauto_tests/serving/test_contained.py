"""A version whose server is somebody else's: found, lost, and taken again only when it is ready."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.serving import backend as backends
from mlauto.serving import contained as containeds
from mlauto.serving.backend import StartError
from mlauto.serving.contained import Contained, Tether
from mlauto.serving.gatewaystate import VersionState
from mlauto.serving.web.link import LinkError
from mlauto_tests.serving.conftest import environment
from mlauto_tests.waiting import until

ROWS = b'[{"temp": 1.0, "hour": 2}]'


def version(socket: Path, changes: list[str] | None = None, number: str = "1") -> Contained:
    found = Contained(
        "bikes",
        number,
        VersionState(socket=str(socket)),
        socket=socket,
        log=socket.with_suffix(".log"),
        changed=lambda: changes.append(found.state) if changes is not None else None,
    )
    return found


def server(bundle: Path, socket: Path) -> subprocess.Popen[bytes]:
    """What runs in a container."""
    command = [sys.executable, "-m", "mlauto.serving.server", "--bundle", str(bundle), "--socket", str(socket)]
    return subprocess.Popen(command, env=environment())


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def test_it_is_found_lost_and_taken_again(bundles: dict[str, Path], tmp_path: Path) -> None:
    """States in order; what is asked in between fails at once, and a stop leaves server and socket alone."""
    socket = tmp_path / "model.sock"

    async def scenario() -> list[str]:
        changes: list[str] = []
        found = version(socket, changes)
        process = server(bundles["bikes-1"], socket)
        await found.start()
        assert (found.state, found.pid, found.generation) == ("ready", None, 1)
        assert found.signature is not None
        assert len((await found.ask(ROWS, 1)).predictions) == 1
        end(process)
        await until(lambda: found.state != "ready")
        with pytest.raises(LinkError):
            await found.ask(ROWS, 1)
        process = server(bundles["bikes-1"], socket)
        await until(lambda: found.state == "ready")
        assert len((await found.ask(ROWS, 1)).predictions) == 1
        await found.stop()
        assert process.poll() is None
        assert socket.exists()
        end(process)
        return changes

    changes = asyncio.run(scenario())
    assert changes[:3] == ["ready", "failed", "starting"]
    assert changes[-2:] == ["ready", "stopped"]


def test_another_version_at_the_socket_is_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Whoever answers there must be what was asked for."""
    socket = tmp_path / "model.sock"

    async def scenario() -> None:
        process = server(bundles["bikes-2"], socket)
        found = version(socket)
        with pytest.raises(StartError, match="the bundle is version 2 of bikes"):
            await found.start()
        assert found.state == "stopped"
        end(process)

    asyncio.run(scenario())


def test_without_a_server_it_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on looking, but soon others need not wait for it."""
    monkeypatch.setattr(containeds, "SOON_SECONDS", 0.05)

    async def scenario() -> None:
        found = version(tmp_path / "model.sock")
        found.resume(asyncio.Semaphore(0))
        await until(lambda: found.failures == 3)
        assert (found.hopeful, found.state) == (False, "failed")
        assert "not ready within 0.05 s" in found.problem
        assert "see the container's log" in found.problem
        await until(lambda: found.state == "starting")
        assert found.patience == backends.READY_SECONDS
        await found.stop()

    asyncio.run(scenario())


def test_one_that_hangs_is_not_killed_and_comes_back(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It owes signs of life, then counts as lost; ready is what answers again."""
    monkeypatch.setattr(backends, "PROBE_PAUSE", 0.05)
    monkeypatch.setattr(backends, "PROBE_SECONDS", 0.1)
    socket = tmp_path / "model.sock"

    async def scenario() -> None:
        process = server(bundles["bikes-1"], socket)
        found = version(socket)
        await found.start()
        os.kill(process.pid, signal.SIGSTOP)
        asking = asyncio.create_task(found.ask(ROWS, 1))
        await until(lambda: found.silent)
        assert not asking.done()
        await until(lambda: found.state == "starting")
        with pytest.raises(LinkError):  # others may answer it
            await asking
        await asyncio.sleep(0.2)
        assert found.state == "starting"
        os.kill(process.pid, signal.SIGCONT)
        await until(lambda: found.state == "ready")
        assert process.poll() is None
        await found.stop()
        end(process)

    asyncio.run(scenario())


def test_a_tether_lasts_as_long_as_the_server(bundles: dict[str, Path], tmp_path: Path) -> None:
    """It is tied when there is one, and its end is told once; letting go tells nothing."""
    socket = tmp_path / "model.sock"
    told: list[Tether] = []

    async def scenario() -> None:
        tether, other = Tether(socket, told.append), Tether(socket, told.append)
        await asyncio.sleep(0.05)
        assert not tether.tied.is_set()
        process = server(bundles["bikes-1"], socket)
        await asyncio.gather(tether.tied.wait(), other.tied.wait())
        await other.end(0)
        assert told == []
        end(process)
        await tether.ended.wait()
        assert told == [tether]
        assert tether.how() == "it closed its connections"
        await tether.end(0)

    asyncio.run(scenario())
