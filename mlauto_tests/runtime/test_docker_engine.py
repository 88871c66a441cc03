"""The SDK-backed engine, on a real one."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import OWNER, OWNER_LABEL, Build, ContainerSpec, EngineError, EngineImage, Mount

pytestmark = pytest.mark.needs("docker")
LABEL = "mlauto.test"


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    """A real engine; what the test left behind under its label is removed."""
    found = DockerEngine()
    yield found
    for container in found.containers({LABEL: str(os.getpid())}):
        found.remove(container.id)
    for image in found.images({LABEL: str(os.getpid())}):
        for tag in image.tags or (image.id,):
            found.remove_image(tag)
    found.close()


@pytest.fixture
def image(engine: DockerEngine, docker_base: str, tmp_path: Path) -> EngineImage:
    """An image of ours with one more layer than the base."""
    return built(engine, docker_base, tmp_path)


def built(engine: DockerEngine, base: str, folder: Path, script: str = "COPY hello /hello") -> EngineImage:
    context = folder / "context"
    context.mkdir(exist_ok=True)
    (context / "Dockerfile").write_text(f"ARG BASE\nFROM ${{BASE}} AS only\n{script}\n")
    (context / "hello").write_text("hello")
    build = Build(
        context=context,
        dockerfile="Dockerfile",
        target="only",
        tag=f"mlauto-test-{os.getpid()}:built",
        arguments={"BASE": base},
        labels={LABEL: str(os.getpid())},
    )
    return engine.build(build)


def spec(image: EngineImage, *command: str, name: str = "one", **more: object) -> ContainerSpec:
    labels = {LABEL: str(os.getpid())}
    whole = {"name": f"mlauto-test-{os.getpid()}-{name}", "image": image.id, "command": command, "user": "10001:10001"}
    return ContainerSpec(**{**whole, "labels": labels, **more})  # type: ignore[arg-type]


def ran(engine: DockerEngine, wanted: ContainerSpec) -> tuple[int, str]:
    container = engine.create(wanted)
    chunks: list[bytes] = []
    engine.run(container, chunks.append)
    assert engine.wait(container, 20)
    state = engine.container(container)
    assert state is not None
    engine.remove(container)
    assert engine.container(container) is None
    return state.exit_code, b"".join(chunks).decode()


def test_an_image_is_built_once_and_carries_our_label(
    engine: DockerEngine, image: EngineImage, docker_base: str, tmp_path: Path
) -> None:
    """The same context gives the same id, on top of the base's layers."""
    base = engine.image(docker_base)

    assert base is not None
    assert image.layers[: len(base.layers)] == base.layers
    assert image.labels[OWNER_LABEL] == OWNER
    assert built(engine, docker_base, tmp_path).id == image.id
    assert [found.id for found in engine.images({LABEL: str(os.getpid())})] == [image.id]


def test_a_failed_build_ends_with_the_logs_last_lines(engine: DockerEngine, docker_base: str, tmp_path: Path) -> None:
    """Whoever reads the error sees what the failing command wrote."""
    with pytest.raises(EngineError, match=r"cannot be built(.|\n)*no such thing(.|\n)*returned a non-zero code: 3"):
        built(engine, docker_base, tmp_path, "RUN echo no such thing; exit 3")


def test_containers_are_closed(engine: DockerEngine, image: EngineImage) -> None:
    """No network, no root to write on, no capability, no privilege, an unprivileged user, bounded space and memory."""
    script = (
        "import os, socket\n"
        "print(os.getuid(), sorted(os.listdir('/sys/class/net')))\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(status['CapEff'].strip(), status['NoNewPrivs'].strip())\n"
        "try: open('/etc/x', 'w')\n"
        "except OSError as error: print(error.strerror)\n"
        "print(os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize >> 20)\n"
    )
    code, said = ran(engine, spec(image, "python3", "-c", script))

    assert code == 0
    assert said.splitlines() == [
        "10001 ['lo']",
        "0000000000000000 1",
        "Read-only file system",
        "64",
    ]


def test_memory_beyond_the_limit_is_told(engine: DockerEngine, image: EngineImage) -> None:
    """The state says that it was the memory."""
    container = engine.create(spec(image, "python3", "-c", "x = b'1' * (300 << 20)", memory_mb=64))
    engine.start(container)

    assert engine.wait(container, 20)
    state = engine.container(container)
    assert state is not None
    assert (state.exit_code, state.oom_killed) == (137, True)


def test_mounts_are_read_only_unless_said(engine: DockerEngine, image: EngineImage, tmp_path: Path) -> None:
    """A writable one takes files, the other refuses."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir(mode=0o777)
        (tmp_path / name).chmod(0o777)
    script = "open('/out/x', 'w').write('x')\ntry: open('/in/x', 'w')\nexcept OSError as e: print(e.strerror)"
    mounts = (Mount(source=tmp_path / "in", target="/in"), Mount(source=tmp_path / "out", target="/out", writable=True))

    assert ran(engine, spec(image, "python3", "-c", script, mounts=mounts)) == (0, "Read-only file system\n")
    assert (tmp_path / "out" / "x").read_text() == "x"


def test_stopping_waiting_and_killing(engine: DockerEngine, image: EngineImage) -> None:
    """A wait that is too short says so; what ended is left alone; the name is taken until it is removed."""
    first = spec(image, "sleep", "60")
    container = engine.create(first)
    engine.start(container)
    engine.start(container)

    assert not engine.wait(container, 0.2)
    with pytest.raises(EngineError, match="is already in use"):
        engine.create(first)
    engine.kill(container)
    engine.kill(container)
    assert engine.wait(container, 10)
    engine.stop(container, 1)
    engine.remove(first.name)
    engine.remove(first.name)
    engine.kill(first.name)
    engine.stop(first.name, 1)


def test_the_tail_and_the_restart(engine: DockerEngine, image: EngineImage) -> None:
    """A container that shall run is started again by the engine itself, until it is stopped."""
    container = engine.create(spec(image, "sh", "-c", "echo up; sleep 0.3; exit 1", restart=True))
    engine.start(container)
    restarts = 0
    while restarts < 2:
        state = engine.container(container)
        assert state is not None
        restarts = state.restarts

    assert engine.tail(container, 2).endswith("up")
    engine.stop(container, 1)
    state = engine.container(container)
    assert state is not None
    assert state.status == "exited"


def test_a_layer_can_be_loaded_on_top_of_an_image(engine: DockerEngine, image: EngineImage) -> None:
    """The engine takes an archive with a configuration and the one layer that it lacks."""
    layer = tarred({"model/plan.json": b"{}"})
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": image.created,
        "config": {"Labels": {LABEL: str(os.getpid()), OWNER_LABEL: OWNER}},
        "rootfs": {"type": "layers", "diff_ids": [*image.layers, digest]},
    }
    names = [f"{number}/layer.tar" for number in range(len(image.layers) + 1)]
    tag = f"mlauto-test-{os.getpid()}:loaded"
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": names}]
    archive = tarred(
        {"config.json": json.dumps(config).encode(), "manifest.json": json.dumps(manifest).encode(), names[-1]: layer}
    )

    engine.load([archive])

    loaded = engine.image(tag)
    assert loaded is not None
    assert loaded.layers == (*image.layers, digest)
    assert ran(engine, spec(loaded, "cat", "/model/plan.json")) == (0, "{}")


def tarred(files: dict[str, bytes]) -> bytes:
    """An archive of files."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def test_what_is_not_ours_stays(engine: DockerEngine, docker_base: str) -> None:
    """The base was not made by us."""
    with pytest.raises(EngineError, match="was not made by mlauto"):
        engine.remove_image(docker_base)
    assert engine.image(docker_base) is not None
    assert engine.image("mlauto-no-such-image:1") is None
    engine.remove_image("mlauto-no-such-image:1")


def test_an_engine_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to start one, or where to look."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'no.sock'}")
    with pytest.raises(EngineError, match=r"no Docker engine answers at .*no.sock .*: start dockerd"):
        DockerEngine().version()
