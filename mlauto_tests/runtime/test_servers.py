"""Containers of model servers, on an engine in memory: what is made, found again, replaced and removed."""

import dataclasses
import http.server
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, ContainerSpec, EngineError, EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.images import PRODUCT_LABEL, VERSION_LABEL
from mlauto.runtime.servers import SERVER_LABEL, Server, Servers
from mlauto.settings import Settings


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def servers(settings: Settings, engine: FakeEngine) -> Servers:
    return Servers(settings, engine)


def image(engine: FakeEngine, tag: str = "one:1", flavour: str = "compiled") -> EngineImage:
    return engine.put(tag, {OWNER_LABEL: OWNER, "mlauto.flavour": flavour})


@contextmanager
def answering(server: Server, name: str, version: str) -> Iterator[None]:
    """Something at the server's socket that names a model."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("x-mlauto-name", name)
            self.send_header("x-mlauto-version", version)
            self.end_headers()

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            return

    here = Path.cwd()
    os.chdir(server.folder)  # a socket's name is short
    try:
        with socketserver.UnixStreamServer(server.socket.name, Handler) as listening:
            os.chdir(here)
            thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield
            listening.shutdown()
            thread.join()
    finally:
        os.chdir(here)


def test_a_container_is_made_once_and_found_again(servers: Servers, engine: FakeEngine, settings: Settings) -> None:
    """Name and folder follow from product, version and image; a second run finds what the first made."""
    made = image(engine)
    server = servers.run("lines", "1", made)

    assert servers.run("lines", "1", made) == server == servers.place("lines", "1", made.id)
    assert [call for call in engine.calls if call[0] in ("create", "start")] == [
        ("create", server.name),
        ("start", server.name),
    ]
    assert server.socket.parent.stat().st_mode & 0o777 == 0o700
    spec = engine.specs[server.name]
    assert (spec.image, spec.network, spec.restart, spec.memory_mb) == (made.id, "none", True, 512)
    assert [(mount.source, mount.writable) for mount in spec.mounts] == [(server.folder, True)]
    assert dict(spec.labels) == {
        SERVER_LABEL: server.name,
        HOME_LABEL: str(settings.home),
        PRODUCT_LABEL: "lines",
        VERSION_LABEL: "1",
    }
    assert servers.products() == {"lines"}
    assert servers.place("lines", "1", image(engine, "two:1").id).name != server.name


def test_the_fallback_flavour_has_more_memory(servers: Servers, engine: FakeEngine) -> None:
    """So has what does not say which it is."""
    for number, flavour in enumerate(("sklearn", "")):
        server = servers.run("lines", str(number), image(engine, f"{number}:1", flavour))
        assert engine.specs[server.name].memory_mb == 1024


@pytest.mark.parametrize("wrong", ["exited", "restarting", "paused", "unhealthy", "image"])
def test_what_is_not_sound_is_replaced(servers: Servers, engine: FakeEngine, wrong: str) -> None:
    """Stopped, ending again and again, hung, or made from something else."""
    made = image(engine)
    server = servers.run("lines", "1", made)
    (state,) = engine.made.values()
    change = {"unhealthy": {"health": wrong}, "image": {"image": "sha256:other"}}.get(wrong, {"status": wrong})
    engine.made[state.id] = dataclasses.replace(state, **change)  # type: ignore[arg-type]
    assert servers.run("lines", "1", made) == server

    (fresh,) = engine.made.values()
    assert (fresh.id != state.id, fresh.status, fresh.image) == (True, "running", made.id)


def test_one_that_was_only_made_is_started(servers: Servers, engine: FakeEngine) -> None:
    """Whoever made it was killed."""
    made = image(engine)
    server = servers.run("lines", "1", made)
    (state,) = engine.made.values()
    engine.made[state.id] = dataclasses.replace(state, status="created")
    servers.run("lines", "1", made)

    assert servers.state(server) == "running"
    assert engine.container(state.id) is not None


def test_it_is_waited_for_until_it_names_its_version(servers: Servers, engine: FakeEngine) -> None:
    """Another version at the socket is an error with the log's last lines."""
    server = servers.run("lines", "1", image(engine))
    with answering(server, "lines", "1"):
        servers.wait(server)
    server.socket.unlink()
    engine.output = b"my last words"
    with (
        answering(server, "lines", "2"),
        pytest.raises(DeliveryError, match=r"version 1 of lines: .* serves version 2 of lines\nmy last words"),
    ):
        servers.wait(server)


def test_one_that_ends_or_takes_too_long_is_an_error(
    servers: Servers, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How it ended is said; one that somebody removed, too."""
    server = servers.run("lines", "1", image(engine))
    monkeypatch.setattr("mlauto.runtime.servers.READY_SECONDS", 0.05)
    with pytest.raises(DeliveryError, match=r"was not ready within 0\.05 s\nit wrote nothing"):
        servers.wait(server)
    engine.ended(server.name, 137, oom_killed=True)
    with pytest.raises(DeliveryError, match="ended before it was ready: exit code 137, out of memory"):
        servers.wait(server)
    engine.remove(server.name)
    with pytest.raises(DeliveryError, match="was removed: start it again"):
        servers.wait(server)
    assert servers.state(server) == ""


def test_one_that_is_restarted_meanwhile_ended(
    servers: Servers, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine starts it again and again: each time it was seen running, and it never became ready."""
    server = servers.run("lines", "1", image(engine))
    monkeypatch.setattr("mlauto.runtime.servers.LOOK_SECONDS", 0.01)
    look = engine.container

    def restarting(name: str) -> object:
        state = look(name)
        assert state is not None
        engine.made[state.id] = dataclasses.replace(state, restarts=state.restarts + 1, exit_code=3)
        return state

    monkeypatch.setattr(engine, "container", restarting)
    with pytest.raises(DeliveryError, match="ended before it was ready: exit code 3"):
        servers.wait(server)


def test_only_servers_of_the_product_and_the_home_are_cleared(
    servers: Servers, engine: FakeEngine, settings: Settings
) -> None:
    """Others' containers stay, also those that have an image's labels but are no servers."""
    made = image(engine)
    kept, gone = servers.run("lines", "1", made), servers.run("lines", "2", made)
    other = servers.run("circles", "1", made)
    elsewhere = Servers(dataclasses.replace(settings, home=settings.home / "other"), engine)
    foreign = elsewhere.run("lines", "2", made)
    job = ContainerSpec(
        name="job",
        image=made.id,
        command=(),
        user="1:1",
        labels={HOME_LABEL: str(settings.home), PRODUCT_LABEL: "lines", VERSION_LABEL: "2"},
    )
    engine.create(job)
    servers.clear("lines", {kept.name})

    assert {state.name for state in engine.made.values()} == {kept.name, other.name, foreign.name, "job"}
    assert not gone.folder.exists()
    assert foreign.folder.is_dir()
    assert ("stop", gone.name) in engine.calls


def test_an_engine_that_is_down_is_said(servers: Servers, engine: FakeEngine) -> None:
    """Nothing is made of nothing."""
    made = image(engine)
    engine.down = "no engine"

    with pytest.raises(EngineError, match="no engine"):
        servers.run("lines", "1", made)


def test_one_process_at_a_time(servers: Servers) -> None:
    """The lock is the product's own."""
    order = []

    def second() -> None:
        with servers.alone("lines"):
            order.append("second")

    with servers.alone("lines"):
        thread = threading.Thread(target=second)
        thread.start()
        with servers.alone("circles"):
            thread.join(0.1)
            order.append("first")
    thread.join()

    assert order == ["first", "second"]
