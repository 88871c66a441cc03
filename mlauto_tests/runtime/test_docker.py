"""Versions of a product in containers of a real engine, behind a real gateway."""

import dataclasses
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlauto.delivery.image import build_image
from mlauto.errors import DeliveryError
from mlauto.records import Image, Signature
from mlauto.runtime.base import Route, Runtime
from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, EngineError
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.images import Images
from mlauto.runtime.servers import HEALTH, SERVER_LABEL
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.delivery.conftest import make_model
from mlauto_tests.runtime.containers import KEY, ROW, answer, bundle, container, misbehaving, remove_images, users
from mlauto_tests.serving.conftest import eventually, free_port

pytestmark = pytest.mark.needs("docker")
ImagesOf = dict[str, Image]


@pytest.fixture(scope="module")
def engine(docker_base: str) -> Iterator[DockerEngine]:
    """A real engine."""
    with closing(DockerEngine()) as found:
        yield found


@pytest.fixture(scope="module")
def model_images(
    engine: DockerEngine, docker_base: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Image]]:
    """Versions 1 and 2 of the product `lines`, compiled; what is built for the tests is removed afterwards."""
    home = tmp_path_factory.mktemp("images")
    settings = Settings.from_environment({"MLAUTO_HOME": str(home), "MLAUTO_BASE_IMAGE": docker_base})
    images = Images(settings, engine)
    yield {v: images.model("lines", v, KEY, bundle(home / f"bundle-{v}", v)) for v in ("1", "2")}
    remove_images(engine, str(home))


@pytest.fixture
def runtime(settings: Settings, engine: DockerEngine, docker_base: str) -> Iterator[DockerRuntime]:
    """A runtime on a real engine; its gateway and its containers are ended after the test."""
    ours = dataclasses.replace(settings, gateway_port=free_port(), base_image=docker_base, runtime="docker")
    found = DockerRuntime(ours, engine)
    yield found
    found.shut_down()
    remove_images(engine, str(ours.home))


def servers(runtime: DockerRuntime) -> dict[str, str]:
    """Name and status of the containers of this state directory."""
    found = runtime._engine.containers({SERVER_LABEL: "", HOME_LABEL: str(runtime._settings.home)})
    return {state.name: state.status for state in found}


def process(engine: DockerEngine, name: str) -> int:
    """The pid on this machine of the model server in a container."""
    listed = subprocess.run(["docker", "top", name, "-eo", "pid,args"], capture_output=True, text=True, check=True)
    (pid,) = [line.split()[0] for line in listed.stdout.splitlines() if "/model.sock" in line and "init" not in line]
    return int(pid)


def in_production(runtime: DockerRuntime, images: ImagesOf, *versions: str) -> None:
    """Those versions run, the first as champion and the second behind it."""
    for version in versions:
        runtime.start("lines", images[version])
    runtime.switch("lines", Route(versions[0], versions[1] if len(versions) > 1 else None))


def test_a_version_is_started_asked_switched_to_and_stopped(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """The same steps as on the local runtime; a container for each version, and none when it is stopped."""
    seam: Runtime = runtime
    assert (seam.live("lines"), seam.running("lines"), seam.route("lines")) == (None, {}, None)

    seam.start("lines", model_images["1"])
    said = seam.predict("lines", "1", [ROW, ROW])
    assert (said.version, said.predictions) == ("1", (answer("1"), answer("1")))
    assert seam.running("lines") == {"1": "ready"}

    seam.switch("lines", Route("1"))
    seam.start("lines", model_images["2"])
    seam.switch("lines", Route("2", "1"))
    assert (seam.live("lines"), seam.route("lines")) == ("2", Route("2", "1"))
    assert len(servers(runtime)) == 2

    with pytest.raises(DeliveryError, match="answers users"):
        seam.stop("lines", "2")
    gone = container(runtime, "1")
    seam.stop("lines", "1")
    seam.stop("lines", "1")
    assert seam.running("lines") == {"2": "ready"}
    assert gone not in servers(runtime)
    folders = [path for path in (runtime._settings.gateway_home / "containers").iterdir() if path.is_dir()]
    assert len(folders) == 1


def test_an_image_is_built_held_and_refused_when_it_is_another(
    runtime: DockerRuntime, model_images: ImagesOf, tmp_path: Path
) -> None:
    """What starts is what the record says, by id: another key, an unknown id and another product are refused."""
    image = runtime.build("lines", "1", KEY, bundle(tmp_path / "bundle", "1"))

    assert not (tmp_path / "bundle").exists()
    assert image.digest.startswith("sha256:")
    assert runtime.holds("lines", image)
    for other in (
        dataclasses.replace(image, key="another"),
        dataclasses.replace(image, digest=f"sha256:{'0' * 64}"),
    ):
        assert not runtime.holds("lines", other)
        with pytest.raises(DeliveryError, match="materialize lines/image"):
            runtime.start("lines", other)
    assert not runtime.holds("circles", image)
    assert servers(runtime) == {}


def test_the_container_is_closed(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """No network, nothing to write on but its socket's folder, no capability, unprivileged, bounded, restarted."""
    runtime.start("lines", model_images["1"])
    name = container(runtime, "1")
    form = "{{.HostConfig.NetworkMode}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}"
    form += " {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.CpuShares}}"
    form += " {{len .Mounts}} {{.Image}}"
    said = subprocess.run(["docker", "inspect", "-f", form, name], capture_output=True, text=True, check=True).stdout
    user = f"{os.getuid() or 10001}:{os.getuid() or 10001}"

    assert said.split() == [
        *("none", "true", "[ALL]", user, str(512 << 20), "unless-stopped", str(8 * 1024), "1"),
        model_images["1"].digest,
    ]
    written = subprocess.run(["docker", "exec", name, "touch", "/model/x"], capture_output=True, text=True, check=False)
    assert "Read-only file system" in written.stderr


def test_starting_again_changes_nothing_and_asks_no_engine(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """One that is ready stays; so a rollback to a warm version works without an engine, too."""
    runtime.start("lines", model_images["1"])
    before = servers(runtime)
    runtime.start("lines", model_images["1"])
    assert servers(runtime) == before

    without = DockerRuntime(runtime._settings, FakeEngine(down="no engine"))
    without.start("lines", model_images["1"])
    assert without.running("lines") == {"1": "ready"}


def test_a_rollout_loses_no_request(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """Start, switch and stop of the old version while users ask hundreds of times a second."""
    in_production(runtime, model_images, "1")
    with users(runtime._settings.gateway_port) as seen:
        eventually(lambda: seen.answered["1"] > 200, "users")
        runtime.start("lines", model_images["2"])
        runtime.switch("lines", Route("2", "1"))
        runtime.stop("lines", "1")
        eventually(lambda: seen.answered["2"] > 200, "users of the new version")

    assert seen.problems == []
    assert list(servers(runtime).values()) == ["running"]


def test_a_version_from_another_image_replaces_it_without_a_gap(
    runtime: DockerRuntime, model_images: ImagesOf, engine: DockerEngine, tmp_path: Path
) -> None:
    """The same version, built again, while it answers users: another container, and the old one goes."""
    in_production(runtime, model_images, "1")
    old = container(runtime, "1")
    home = str(runtime._settings.home)
    words = ["python", "-P", "-m", "mlauto.serving.server"]
    other = misbehaving(engine, model_images["1"], tmp_path / "again", home, words)
    try:
        with users(runtime._settings.gateway_port) as seen:
            runtime.start("lines", other)
            eventually(lambda: seen.answered["1"] > 50, "users")
        assert seen.problems == []
        assert runtime._versions("lines")["1"]["image"] == other.digest != model_images["1"].digest
        assert list(servers(runtime)) == [container(runtime, "1")] != [old]
    finally:
        runtime.shut_down()
        engine.remove_image(other.digest)


@pytest.mark.parametrize(
    ("entrypoint", "words"),
    [
        (["sh", "-c", "echo these were my last words; exit 3"], r"(?s)before it was ready: exit code 3.*last words"),
        (["sh", "-c", "exec sleep 1000"], r"was not ready within 2 s\nit wrote nothing"),
        (
            ["python", "-P", "-c", "import mlauto.serving.server as s, sys; sys.exit(s.main(sys.argv[1:]))"],
            "serves version 1 of lines",
        ),
    ],
    ids=["exits", "sleeps", "another"],
)
def test_one_that_does_not_serve_its_version_is_an_error_and_gone(
    runtime: DockerRuntime,
    model_images: ImagesOf,
    engine: DockerEngine,
    tmp_path: Path,
    entrypoint: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It exits at once, never answers, or is another version; users notice nothing, and nothing is left."""
    monkeypatch.setattr("mlauto.runtime.servers.READY_SECONDS", 2.0 if "sleep" in entrypoint[-1] else 60.0)
    in_production(runtime, model_images, "1")
    wrong = dataclasses.replace(model_images["1"], version="3")
    bad = misbehaving(engine, wrong, tmp_path / "bad", str(runtime._settings.home), entrypoint)
    try:
        with users(runtime._settings.gateway_port) as seen, pytest.raises(DeliveryError, match=words):
            runtime.start("lines", bad)
        assert seen.problems == []
        assert list(servers(runtime)) == [container(runtime, "1")]
        assert runtime.running("lines") == {"1": "ready"}
    finally:
        engine.remove_image(bad.digest)


def test_one_that_answers_wrongly_is_stopped(runtime: DockerRuntime, tmp_path: Path) -> None:
    """Its golden rows are asked before anything else is; the image is recorded as failed."""
    store = Store(runtime._settings.home)
    artifact = store.scratch("artifact")
    made = bundle(tmp_path / "made", "1")
    (artifact / "plan").mkdir()
    for name in ("plan.json", "plan.npz"):
        (made / name).rename(artifact / "plan" / name)
    (made / "signature.json").rename(artifact / "signature.json")
    (artifact / "golden.json").write_text(json.dumps({"rows": [ROW], "predictions": [7.0], "probabilities": None}))
    signature = Signature(columns={"x": "number", "y": "number"}, task="regression")
    model = make_model(store, "1", key=KEY, artifact=store.put_tree(artifact), signature=signature)
    image = build_image("lines", model, tmp_path, runtime, store)

    assert {check.name: check.passed for check in image.checks} == {"golden_predictions": False, "unprivileged": True}
    assert "predicted 1002.5, when it was trained 7.0" in image.checks[0].summary
    assert servers(runtime) == {}
    assert runtime.running("lines") == {}


def test_kill_9_under_load_loses_nothing(runtime: DockerRuntime, model_images: ImagesOf, engine: DockerEngine) -> None:
    """The fallback answers; the engine starts the server again, which has users only when it is ready."""
    in_production(runtime, model_images, "2", "1")
    name = container(runtime, "2")
    with users(runtime._settings.gateway_port) as seen:
        eventually(lambda: seen.answered["2"] > 100, "users")
        first = process(engine, name)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: seen.answered["1"] > 10, "the fallback's answers")
        eventually(lambda: runtime.running("lines")["2"] == "ready", "the champion again")
        before = seen.answered["2"]
        eventually(lambda: seen.answered["2"] > before + 100, "the champion's answers")

    assert seen.problems == []
    assert process(engine, name) != first
    assert servers(runtime)[name] == "running"


def test_a_restart_of_the_container_loses_nothing(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """By hand, under load: what is in flight is answered first, and the fallback stands in."""
    in_production(runtime, model_images, "2", "1")
    with users(runtime._settings.gateway_port) as seen:
        eventually(lambda: seen.answered["2"] > 100, "users")
        subprocess.run(["docker", "restart", container(runtime, "2")], capture_output=True, check=True)
        eventually(lambda: runtime.running("lines")["2"] == "ready", "the champion again")
        before = seen.answered["2"]
        eventually(lambda: seen.answered["2"] > before + 100, "the champion's answers")

    assert seen.problems == []


@pytest.mark.slow
def test_a_hung_server_comes_back(
    runtime: DockerRuntime, model_images: ImagesOf, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside: its health check ends it, the engine restarts it, and nobody loses a request."""
    monkeypatch.setattr("mlauto.runtime.servers.HEALTH", dataclasses.replace(HEALTH, seconds=10))
    in_production(runtime, model_images, "2", "1")
    name = container(runtime, "2")
    with users(runtime._settings.gateway_port) as seen:
        eventually(lambda: seen.answered["2"] > 100, "users")
        first = process(engine, name)
        os.kill(first, signal.SIGSTOP)
        eventually(lambda: seen.answered["1"] > 10, "the fallback's answers")
        eventually(lambda: not Path(f"/proc/{first}").exists(), "the end of the hung server")
        eventually(lambda: runtime.running("lines")["2"] == "ready", "the champion again")
        before = seen.answered["2"]
        eventually(lambda: seen.answered["2"] > before + 100, "the champion's answers")

    assert seen.problems == []


def test_the_same_containers_serve_after_the_gateways_death(
    runtime: DockerRuntime, model_images: ImagesOf, engine: DockerEngine
) -> None:
    """Its process alone, then its guardian too: the servers are not restarted, and the route is what it was."""
    in_production(runtime, model_images, "2", "1")
    before = {name: process(engine, name) for name in servers(runtime)}
    os.kill(runtime._gateway.status()["pid"], signal.SIGKILL)
    eventually(lambda: runtime.live("lines") == "2", "the gateway's next process")
    guardian = runtime._gateway.pid()
    assert guardian is not None
    os.kill(guardian, signal.SIGKILL)
    eventually(lambda: runtime._gateway.pid() is None, "the guardian's end")
    runtime.ensure()
    eventually(lambda: runtime.running("lines") == {"1": "ready", "2": "ready"}, "both versions")

    assert runtime.route("lines") == Route("2", "1")
    assert {name: process(engine, name) for name in servers(runtime)} == before


def test_a_shut_down_leaves_no_container_and_the_next_start_makes_them_again(
    runtime: DockerRuntime, model_images: ImagesOf
) -> None:
    """As processes end with the gateway; what should run is in its state."""
    in_production(runtime, model_images, "1")
    runtime.shut_down()
    assert servers(runtime) == {}
    runtime.ensure()
    eventually(lambda: runtime.live("lines") == "1", "the champion again")
    assert runtime.predict("lines", "1", [ROW]).predictions == (answer("1"),)


def test_what_a_killed_start_left_is_used_or_removed(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """Between making a container, starting it and telling the gateway; other homes' containers are not looked at."""
    runtime.ensure()
    found = runtime._images.found("lines", model_images["2"])
    server = runtime._servers.place("lines", "2", found.id)
    runtime._engine.create(runtime._servers._spec(server, found))
    assert servers(runtime) == {server.name: "created"}
    runtime.start("lines", model_images["2"])
    assert servers(runtime) == {server.name: "running"}

    left = runtime._servers.run("lines", "1", runtime._images.found("lines", model_images["1"]))
    other = dataclasses.replace(runtime._settings, home=runtime._settings.home.parent / "other", gateway_port=1)
    assert len(servers(DockerRuntime(other, runtime._engine))) == 0
    DockerRuntime(other, runtime._engine)._servers.clear("lines", ())
    runtime.start("lines", dataclasses.replace(model_images["2"]))
    runtime.stop("lines", "7")
    assert left.name not in servers(runtime)
    assert servers(runtime) == {server.name: "running"}


def test_a_container_that_somebody_removed_is_said_and_made_again(
    runtime: DockerRuntime, model_images: ImagesOf
) -> None:
    """The state is `failed`, and starting it is all that is needed."""
    in_production(runtime, model_images, "2", "1")
    runtime._engine.remove(container(runtime, "2"))
    eventually(lambda: runtime.running("lines") == {"1": "ready", "2": "failed"}, "the loss")
    assert runtime.live("lines") == "1"
    runtime.start("lines", model_images["2"])
    assert runtime.live("lines") == "2"


def test_without_an_engine_production_goes_on(runtime: DockerRuntime, model_images: ImagesOf, tmp_path: Path) -> None:
    """What needs the engine names it; users are answered all the time."""
    in_production(runtime, model_images, "1")
    environment = dict(os.environ)
    with users(runtime._settings.gateway_port) as seen:
        os.environ["DOCKER_HOST"] = f"unix://{tmp_path / 'nobody.sock'}"
        try:
            away = DockerRuntime(runtime._settings, DockerEngine())
            for order in (
                lambda: away.start("lines", model_images["2"]),
                lambda: away.holds("lines", model_images["2"]),
            ):
                with pytest.raises(EngineError, match=r"no Docker engine answers at .*nobody\.sock"):
                    order()
            assert away.predict("lines", "1", [ROW]).predictions == (answer("1"),)
            assert away.running("lines") == {"1": "ready"}
        finally:
            os.environ.clear()
            os.environ.update(environment)
        eventually(lambda: seen.answered["1"] > 100, "users")

    assert seen.problems == []


def test_simultaneous_starts_make_one_container(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """Two processes want the same version: one makes it, the other finds it."""
    runtime.ensure()
    problems: list[DeliveryError] = []

    def start() -> None:
        try:
            DockerRuntime(runtime._settings, DockerEngine()).start("lines", model_images["1"])
        except DeliveryError as error:
            problems.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert problems == []
    assert len(servers(runtime)) == 1


def test_a_compiled_version_is_ready_soon(runtime: DockerRuntime, model_images: ImagesOf) -> None:
    """From no container to the first right answer; generous, as the machine may be busy."""
    runtime.ensure()
    began = time.monotonic()
    runtime.start("lines", model_images["1"])

    assert runtime.predict("lines", "1", [ROW]).predictions == (answer("1"),)
    assert time.monotonic() - began < 15
