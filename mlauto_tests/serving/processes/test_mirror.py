"""A follower's copy of the versions and routes."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlauto.serving.backend import Backend
from mlauto.serving.calls import Failure
from mlauto.serving.gatewaystate import RouteState, VersionState
from mlauto.serving.processes.mirror import Mirror, Mirrored, View
from mlauto.serving.route import Product, Route, Versions, route_of
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.protocol import Answer
from mlauto.serving.wire.signature import Signature
from mlauto_tests.serving.conftest import COLUMNS

SIGNATURE = Signature(columns=COLUMNS, task="regression", limits={"temp": (-50, None)}, categories={"sky": ("clear",)})


def leaders(folder: Path, *versions: str) -> Versions:
    """Versions of bikes as a leader has them, all ready; the first is the champion and the second its fallback."""
    found = Versions()
    backends = {version: backend(folder, version) for version in versions}
    route = RouteState(champion=versions[0], fallback=versions[1] if len(versions) > 1 else None)
    found.products["bikes"] = Product("bikes", backends, route_of(backends, route))
    return found


def backend(folder: Path, version: str, socket: str = "") -> Backend:
    made = Backend(
        "bikes",
        version,
        VersionState(bundle=f"/bundles/{version}"),
        socket=folder / (socket or f"{version}.sock"),
        log=folder / "log",
        changed=lambda: None,
    )
    made.state, made.signature, made.generation = "ready", SIGNATURE, 1
    return made


def told(versions: Versions) -> View:
    """What arrives of it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(View.of(versions, (7, 8))), type=View)


def within(scenario: Callable[[], None]) -> None:
    """In an event loop, where backends belong."""

    async def run() -> None:
        scenario()

    asyncio.run(run())


def test_it_is_as_the_leader_says(tmp_path: Path) -> None:
    """Versions, their states and signatures, the route, and who answers."""

    def scenario() -> None:
        versions = leaders(tmp_path, "1", "2", "3")
        product = versions.products["bikes"]
        product.route = Route(product.route.champion, None, product.versions["2"], 12.5, product.versions["3"])
        product.versions["3"].silent = 2
        mirror = Mirror()
        mirror.follow(told(versions))

        found = mirror.products["bikes"]
        assert mirror.pids == (7, 8)
        assert found.route == Route(found.versions["1"], None, found.versions["2"], 12.5, found.versions["3"])
        for version, ours in found.versions.items():
            theirs = product.versions[version]
            for name in ("product", "version", "entry", "socket", "state", "signature", "generation", "silent"):
                assert getattr(ours, name) == getattr(theirs, name)

    within(scenario)


def test_what_goes_on_stays_the_same_object(tmp_path: Path) -> None:
    """Connections and requests in flight go on over a change; only a version with another socket is another one."""

    def scenario() -> None:
        versions, mirror = leaders(tmp_path, "1", "2"), Mirror()
        mirror.follow(told(versions))
        product = mirror.products["bikes"]
        first, second = product.versions["1"], product.versions["2"]
        signature = first.signature
        versions.products["bikes"].versions["2"] = backend(tmp_path, "2", "other.sock")
        mirror.follow(told(versions))
        assert mirror.products["bikes"] is product
        assert product.versions["1"] is first
        assert first.signature is signature
        assert product.versions["2"] is not second

    within(scenario)


def test_whoever_waits_for_a_change_is_woken(tmp_path: Path) -> None:
    """As by the leader's own changes."""

    async def scenario() -> None:
        mirror = Mirror()
        waiting = asyncio.create_task(mirror.change(30))
        await asyncio.sleep(0)
        mirror.follow(told(leaders(tmp_path, "1")))
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scenario())


def posted(asked: Backend | Mirrored) -> "asyncio.Future[Answer | Failure]":
    """What a request for one row gets in the end."""
    found: asyncio.Future[Answer | Failure] = asyncio.get_running_loop().create_future()
    asked.post(b"[{}]", 1, found.set_result)
    return found


def test_what_waits_for_a_process_that_died_is_given_up(tmp_path: Path) -> None:
    """The certainly unseen request may then be asked of another."""

    async def scenario() -> None:
        versions, mirror = leaders(tmp_path, "1"), Mirror()
        mirror.follow(told(versions))
        ours = mirror.products["bikes"].versions["1"]
        asked = posted(ours)
        versions.products["bikes"].versions["1"].state = "failed"
        mirror.follow(told(versions))
        found = await asked
        assert isinstance(found, LinkError)
        assert "the process ended" in str(found)
        assert not found.asked
        assert ours.state == "failed"

    asyncio.run(scenario())


def test_a_version_leaves_after_its_requests(tmp_path: Path) -> None:
    """`finish` waits for those in flight and says which versions are gone for good; a replaced one is not."""

    async def scenario() -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            asking.set()
            await released.wait()
            writer.close()

        asking, released = asyncio.Event(), asyncio.Event()
        server = await asyncio.start_unix_server(silent, tmp_path / "2.sock")
        versions, mirror = leaders(tmp_path, "1", "2"), Mirror()
        mirror.follow(told(versions))
        asked = posted(mirror.products["bikes"].versions["2"])
        await asking.wait()
        assert mirror.in_flight() == {("bikes", "2"): 1}
        later = leaders(tmp_path, "1")
        later.products["bikes"].versions["1"] = backend(tmp_path, "1", "other.sock")
        mirror.follow(told(later))
        assert list(mirror.products["bikes"].versions) == ["1"]
        finishing = asyncio.create_task(mirror.finish())
        await asyncio.sleep(0.1)
        assert not finishing.done()
        released.set()
        assert isinstance(await asked, LinkError)
        assert await finishing == [("bikes", "2")]
        assert await mirror.finish() == []
        server.close()

    asyncio.run(scenario())


def test_a_product_that_is_gone_is_gone(tmp_path: Path) -> None:
    """With all its versions."""

    async def scenario() -> None:
        mirror = Mirror()
        mirror.follow(told(leaders(tmp_path, "1", "2")))
        assert all(isinstance(one, Mirrored) for one in mirror.products["bikes"].versions.values())
        mirror.follow(told(Versions()))
        assert mirror.products == {}
        assert sorted(await mirror.finish()) == [("bikes", "1"), ("bikes", "2")]

    asyncio.run(scenario())
