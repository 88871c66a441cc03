"""One version's process: started, watched, started again, stopped."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from mlauto.serving import backend as backends
from mlauto.serving.backend import Backend, StartError
from mlauto.serving.errors import ModelError
from mlauto.serving.gatewaystate import VersionState
from mlauto.serving.web.link import LinkError
from mlauto_tests.waiting import until

ROWS = b'[{"temp": 1.0, "hour": 2}]'


def version(bundle: Path, folder: Path, changes: list[str] | None = None) -> Backend:
    found = Backend(
        "bikes",
        "1",
        VersionState(bundle=str(bundle)),
        socket=folder / "run" / "one.sock",
        log=folder / "logs" / "one.log",
        changed=lambda: changes.append(found.state) if changes is not None else None,
    )
    return found


def test_a_version_lives_dies_comes_back_and_is_stopped(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Its states are told in order; after a kill the next process is another generation; a stop leaves nothing."""

    async def scenario() -> list[str]:
        changes: list[str] = []
        found = version(bundles["bikes-1"], tmp_path, changes)
        await found.start()
        first = found.pid
        assert first is not None
        assert (found.state, found.generation, found.hopeful) == ("ready", 1, False)
        assert found.signature is not None
        assert found.signature.task == "regression"
        assert len((await found.ask(ROWS, 1)).predictions) == 1
        with pytest.raises(ModelError, match=r"version 1: rows\[0\]: column 'nobody' is not one of the model's"):
            await found.ask(b'[{"nobody": 1}]', 1)
        os.kill(first, signal.SIGKILL)
        await until(lambda: found.state == "ready" and found.generation == 2)
        assert found.pid != first
        assert "SIGKILL" in found.problem or found.problem == ""
        assert len((await found.ask(ROWS, 1)).predictions) == 1
        await found.stop()
        assert found.pid is None
        with pytest.raises(LinkError):
            await found.ask(ROWS, 1)
        return changes

    assert asyncio.run(scenario()) == ["ready", "failed", "starting", "ready", "stopped"]
    assert not (tmp_path / "run" / "one.sock").exists()


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The error ends with the log's tail of this start, and there is no process and no retry."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "one.log").write_text("words of an earlier start\n")

    async def scenario() -> Backend:
        found = version(tmp_path / "bundle", tmp_path)
        with pytest.raises(StartError, match=r"(?s)exit code 1\n.*manifest\.json cannot be read") as caught:
            await found.start()
        assert "earlier start" not in str(caught.value)
        return found

    found = asyncio.run(scenario())
    assert (found.state, found.pid, found.generation) == ("stopped", None, 1)


def test_a_version_that_keeps_failing_is_started_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on trying, is soon not worth waiting for, and can be stopped in between."""
    monkeypatch.setattr(backends, "FIRST_PAUSE", 0.001)

    async def scenario() -> None:
        found = version(tmp_path, tmp_path)
        assert found.hopeful
        found.resume(asyncio.Semaphore(1))
        await until(lambda: found.generation >= 4)
        assert not found.hopeful or found.state == "starting"
        assert "manifest.json" in found.problem
        await found.stop()
        assert found.state == "stopped"

    asyncio.run(scenario())


def test_a_start_that_takes_too_long_is_given_up(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that did not become ready in time is gone."""
    monkeypatch.setattr(backends, "READY_SECONDS", 0.05)

    async def scenario() -> None:
        found = version(bundles["bikes-1"], tmp_path)
        with pytest.raises(StartError, match="not ready within"):
            await found.start()
        assert found.pid is None

    asyncio.run(scenario())


def test_a_process_that_hangs_is_replaced(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It owes a sign of life first and is killed in the end; what it was being asked may be asked of another."""
    monkeypatch.setattr(backends, "PROBE_PAUSE", 0.1)
    monkeypatch.setattr(backends, "PROBE_SECONDS", 0.2)

    async def scenario() -> str:
        found = version(bundles["bikes-1"], tmp_path)
        await found.start()
        first = found.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        asking = asyncio.create_task(found.ask(ROWS, 1))
        await until(lambda: found.silent)
        assert found.state == "ready"
        with pytest.raises(LinkError):
            await asking
        said = found.problem
        await until(lambda: found.state == "ready" and found.generation == 2)
        assert (found.pid == first, found.silent) == (False, 0)
        assert len((await found.ask(ROWS, 1)).predictions) == 1
        await found.stop()
        return said

    assert asyncio.run(scenario()) == "the model server gave no sign of life for 1 s and is killed"


def test_a_process_that_was_slow_for_a_moment_goes_on(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign of life pays the debt; it is the same process."""
    monkeypatch.setattr(backends, "PROBE_PAUSE", 0.1)
    monkeypatch.setattr(backends, "PROBE_SECONDS", 0.5)

    async def scenario() -> None:
        found = version(bundles["bikes-1"], tmp_path)
        await found.start()
        first = found.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        await until(lambda: found.silent)
        os.kill(first, signal.SIGCONT)
        await until(lambda: not found.silent)
        assert (found.pid, found.generation, found.state) == (first, 1, "ready")
        await found.stop()

    asyncio.run(scenario())


def test_stopping_waits_for_requests_in_flight(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A request that is being answered when the stop comes is answered."""

    async def scenario() -> None:
        found = version(bundles["bikes-1"], tmp_path)
        await found.start()
        many = b"[" + b",".join([ROWS[1:-1]] * 30_000) + b"]"
        asking = asyncio.create_task(found.ask(many, 30_000))
        await until(lambda: found.in_flight)
        await found.stop()
        assert len((await asking).predictions) == 30_000

    asyncio.run(scenario())
