"""Which versions run, and which of them answer."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlauto.serving.errors import ControlError, StateError
from mlauto.serving.gatewaystate import RouteState
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.others import Alone
from mlauto.serving.route import Route
from mlauto.serving.supervisor import Supervisor
from mlauto_tests.serving.conftest import environment


def recorded(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "state.json").read_text())["products"]
    return found


def test_orders_are_recorded_before_they_are_followed(bundles: dict[str, Path], tmp_path: Path) -> None:
    """After every order the state file says what should run, and a supervisor made from it runs the same."""

    async def scenario() -> None:
        first = Supervisor(tmp_path)
        await first.start("bikes", "1", str(bundles["bikes-1"]))
        assert recorded(tmp_path)["bikes"]["champion"] is None
        await first.switch("bikes", RouteState(champion="1"))
        assert recorded(tmp_path)["bikes"]["champion"] == "1"
        assert first.products["bikes"].route.champion is first.products["bikes"].versions["1"]
        await first.shut_down()

        second = Supervisor(tmp_path)
        second.resume()
        champion = second.products["bikes"].route.champion
        assert champion is not None
        while champion.state != "ready":
            await second.change(30)
        assert second.status()["bikes"]["champion"] == "1"
        await second.shut_down()

    asyncio.run(scenario())


def test_a_refused_order_changes_nothing(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Neither the file nor what runs."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        for order in (
            supervisor.start("bikes", "1", "relative"),
            supervisor.start("bikes", "1", str(tmp_path)),
            supervisor.start("b/kes", "1", str(bundles["bikes-1"])),
            supervisor.start("bikes", "", str(bundles["bikes-1"])),
            supervisor.switch("bikes", RouteState(champion="1")),
        ):
            with pytest.raises(ControlError):
                await order
        assert supervisor.products == {}
        await supervisor.stop("bikes", "1")

    asyncio.run(scenario())
    assert not (tmp_path / "state.json").exists()


def test_simultaneous_starts_make_one_process(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Two orders to start the same version wait for the same process."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        order = ("bikes", "1", str(bundles["bikes-1"]))
        await asyncio.gather(supervisor.start(*order), supervisor.start(*order))
        assert supervisor.products["bikes"].versions["1"].generation == 1
        assert len(list((tmp_path / "run").glob("*.sock"))) == 1
        await supervisor.shut_down()

    asyncio.run(scenario())


def test_a_stopped_version_takes_no_part_any_more(bundles: dict[str, Path], tmp_path: Path) -> None:
    """The champion cannot be stopped, all others can; the last version's end forgets the product."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        await asyncio.gather(
            *(supervisor.start("bikes", version, str(bundles[f"bikes-{version}"])) for version in ("1", "2"))
        )
        await supervisor.switch("bikes", RouteState(champion="1", fallback="2", canary="2", percent=10, shadow="2"))
        with pytest.raises(ControlError, match="answers users"):
            await supervisor.stop("bikes", "1")
        await supervisor.stop("bikes", "2")
        assert supervisor.products["bikes"].route == Route(supervisor.products["bikes"].versions["1"])
        assert recorded(tmp_path)["bikes"] == {
            "champion": "1",
            "fallback": None,
            "canary": None,
            "percent": 0.0,
            "shadow": None,
            "versions": {"1": {"bundle": str(bundles["bikes-1"])}},
        }
        await supervisor.shut_down()

    asyncio.run(scenario())


def test_the_whole_route_survives_a_restart(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Canary, its share and the shadow go on under the next gateway, and a replaced process keeps its parts."""

    async def scenario() -> None:
        first = Supervisor(tmp_path)
        for version in ("1", "2"):
            await first.start("bikes", version, str(bundles[f"bikes-{version}"]))
        route = RouteState(champion="1", canary="2", percent=12.5, shadow="2")
        await first.switch("bikes", route)
        await first.shut_down()

        second = Supervisor(tmp_path)
        second.resume()
        found = second.products["bikes"]
        assert found.route == Route(found.versions["1"], None, found.versions["2"], 12.5, found.versions["2"])
        said = second.status()["bikes"]
        assert [said[name] for name in ("champion", "fallback", "canary", "percent", "shadow")] == [
            "1",
            None,
            "2",
            12.5,
            "2",
        ]
        with pytest.raises(ControlError, match="is not ready"):
            await second.switch("bikes", route)
        await second.shut_down()

    asyncio.run(scenario())


def test_a_state_that_cannot_be_written_refuses_the_order(bundles: dict[str, Path], tmp_path: Path) -> None:
    """What cannot be recorded is not done: the process is ended again."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        (tmp_path / "state.json").mkdir()
        with pytest.raises(ControlError, match="state cannot be written"):
            await supervisor.start("bikes", "1", str(bundles["bikes-1"]))
        assert supervisor.products == {}

    asyncio.run(scenario())


def test_a_change_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    """Also when nothing ever changes; an unreadable state is an error at once."""

    async def scenario() -> None:
        await asyncio.wait_for(Supervisor(tmp_path).change(0.01), 5)

    asyncio.run(scenario())
    (tmp_path / "state.json").write_text("7")
    with pytest.raises(StateError):
        Supervisor(tmp_path)


def test_sockets_of_killed_gateways_are_removed(tmp_path: Path) -> None:
    """Those of one that still runs are left alone, be it only for the end of a restart."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("999999999-1.sock", "bikes-1-1.sock", f"{os.getpid()}-1.sock"):
        (folder / name).touch()

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        supervisor.resume()
        await supervisor.shut_down()

    asyncio.run(scenario())
    assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}-1.sock"]


def test_what_was_ready_is_waited_for(bundles: dict[str, Path], copied: Any, tmp_path: Path) -> None:
    """Until it is, or will not be: then the problem is said."""

    async def scenario() -> None:
        first = Supervisor(tmp_path)
        damaged = copied("bikes-2")
        await first.start("bikes", "1", str(bundles["bikes-1"]))
        await first.start("bikes", "2", str(damaged))
        assert sorted(first.ready()) == [("bikes", "1"), ("bikes", "2")]
        await first.shut_down()

        (damaged / "model.skops").write_bytes(b"damaged")
        second = Supervisor(tmp_path)
        second.resume()
        assert await second.ready_again([("bikes", "1")]) == ""
        assert "version 2 of bikes does not start again: " in await second.ready_again(first_two)
        assert "it is not in the state file" in await second.ready_again([("cars", "1")])
        await second.shut_down()

    first_two = [("bikes", "1"), ("bikes", "2")]
    asyncio.run(scenario())


class Slow(Alone):
    """Others that follow when they are let."""

    def __init__(self) -> None:
        super().__init__(Metrics())
        self.following = asyncio.Event()
        self.finishing = asyncio.Event()

    async def seen(self) -> None:
        """When they are let."""
        await self.following.wait()

    async def finished(self) -> None:
        """Likewise."""
        await self.finishing.wait()


def test_an_order_is_followed_when_others_follow_it(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A start and a switch return when everybody knows; a process ends only when nobody asks it any more."""

    async def scenario() -> None:
        supervisor, others = Supervisor(tmp_path), Slow()
        supervisor.others = others
        starting = asyncio.create_task(supervisor.start("bikes", "1", str(bundles["bikes-1"])))
        while not supervisor.products:
            await supervisor.change(0.05)
        await asyncio.sleep(0.05)
        assert not starting.done()
        others.following.set()
        await starting
        await supervisor.start("bikes", "2", str(bundles["bikes-2"]))

        others.following.clear()
        switching = asyncio.create_task(supervisor.switch("bikes", RouteState(champion="2")))
        await asyncio.sleep(0.2)
        assert supervisor.status()["bikes"]["champion"] == "2"
        assert not switching.done()
        others.following.set()
        await switching

        backend = supervisor.products["bikes"].versions["1"]
        stopping = asyncio.create_task(supervisor.stop("bikes", "1"))
        await asyncio.sleep(0.2)
        assert "1" not in supervisor.status()["bikes"]["versions"]
        assert backend.state == "ready"
        others.finishing.set()
        await stopping
        assert backend.state == "stopped"
        await supervisor.shut_down()

    asyncio.run(scenario())


def test_requests_elsewhere_are_counted(bundles: dict[str, Path], tmp_path: Path) -> None:
    """In what is said of a version."""

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path)
        await supervisor.start("bikes", "1", str(bundles["bikes-1"]))
        status = supervisor.status({("bikes", "1"): 3, ("bikes", "2"): 1})
        assert status["bikes"]["versions"]["1"]["in_flight"] == 3
        await supervisor.shut_down()

    asyncio.run(scenario())


def test_a_container_is_reached_and_remembered(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Its server goes on through the gateway's end, and the next gateway has it as it is."""
    socket = tmp_path / "model.sock"
    command = [sys.executable, "-m", "mlauto.serving.server", "--bundle", str(bundles["bikes-1"])]

    async def scenario() -> None:
        first = Supervisor(tmp_path)
        for bad in ("relative.sock", str(socket)):
            with pytest.raises(ControlError, match=r"socket: .* is no absolute path, or there is a bundle"):
                await first.start("bikes", "1", str(bundles["bikes-1"]) if bad == str(socket) else "", socket=bad)
        await first.start("bikes", "1", "", socket=str(socket), image="sha256:1")
        await first.switch("bikes", RouteState(champion="1"))
        assert recorded(tmp_path)["bikes"]["versions"] == {"1": {"socket": str(socket), "image": "sha256:1"}}
        assert first.status()["bikes"]["versions"]["1"]["kind"] == "container"
        await first.shut_down()

        second = Supervisor(tmp_path)
        second.resume()
        assert await second.ready_again([("bikes", "1")]) == ""
        await second.start("bikes", "1", str(bundles["bikes-1"]))
        assert second.status()["bikes"]["versions"]["1"]["kind"] == "process"
        assert second.products["bikes"].route.champion is second.products["bikes"].versions["1"]
        await second.shut_down()

    with subprocess.Popen([*command, "--socket", str(socket)], env=environment()) as process:
        asyncio.run(scenario())
        assert process.poll() is None
        process.kill()
