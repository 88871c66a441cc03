"""Dependencies and flavours: built once for each content, from wheels alone, with nothing of this machine in them."""

import dataclasses
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, EngineError, EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.flavours import DEPENDENCIES_LABEL, KIND_LABEL, Flavours
from mlauto.runtime.maker import KEY_LABEL
from mlauto.settings import Settings
from mlauto_tests.runtime.conftest import PartsEngine, entry, remove_all, wheel

MB = 1_000_000


@pytest.fixture
def small(fake: FakeEngine, contained: Settings, checkout: Path) -> Flavours:
    """Flavours of the small checkout on the engine in memory."""
    return Flavours(contained, fake, checkout)


def builds(engine: FakeEngine) -> list[str]:
    """What the builder made, but for what parts are made in."""
    names = [what.partition(":")[0].removeprefix("mlauto/") for name, what in engine.calls if name == "build"]
    return [name for name in names if name != "pip"]


def test_layers_are_loaded(parting: PartsEngine, contained: Settings, checkout: Path) -> None:
    """Nothing is built but what parts are made in; a new lock loads, and its new wheel alone is installed."""
    flavours = Flavours(contained, parting, checkout)
    first = flavours.get("compiled")
    assert [name for name, _ in parting.calls if name in ("build", "load")] == ["build", "load", "load"]
    assert len(first.layers) == 3
    assert first.config["User"] == "10001:10001"
    assert first.config["Entrypoint"] == ["python", "-P", "-m", "mlauto.serving.server"]
    runs = sum(name == "run" for name, _ in parting.calls)

    (checkout / "requirements-serving.lock").write_text((checkout / "requirements-sklearn.lock").read_text())
    flavours.get("compiled")
    assert builds(parting) == []
    assert sum(name == "run" for name, _ in parting.calls) == runs + 2
    flavours.get("workshop")
    assert builds(parting) == []


def test_a_flavour_is_built_once(fake: FakeEngine, small: Flavours) -> None:
    """Where nothing can be loaded: dependencies, then the flavour; the second time three look-ups are all."""
    first = small.get("compiled")
    assert builds(fake) == ["dependencies-serving", "serving"]
    calls = len(fake.calls)

    assert small.get("compiled") == first
    assert [name for name, _ in fake.calls[calls:]] == ["image"] * 3
    assert (first.labels[KIND_LABEL], first.labels[OWNER_LABEL]) == ("flavour", OWNER)
    assert first.labels["org.opencontainers.image.base.name"] == "base:1"


def test_code_changes_more_often_than_dependencies(fake: FakeEngine, small: Flavours, checkout: Path) -> None:
    """New code builds the flavour only; a new lock both; what belongs to another flavour none."""
    small.get("compiled")
    (checkout / "mlauto" / "serving" / "server.py").write_text("print('new')\n")
    (checkout / "requirements-workshop.lock").write_text((checkout / "requirements-serving.lock").read_text())
    small.get("compiled")
    assert builds(fake) == ["dependencies-serving", "serving", "serving"]

    (checkout / "requirements-serving.lock").write_text((checkout / "requirements-sklearn.lock").read_text())
    small.get("compiled")
    assert builds(fake)[3:] == ["dependencies-serving", "serving"]


def test_another_base_is_another_image(fake: FakeEngine, small: Flavours) -> None:
    """Though its name is the same."""
    small.get("compiled")
    fake.put("base:1", {"patched": "yes"})
    small.get("compiled")

    assert builds(fake) == ["dependencies-serving", "serving"] * 2


def test_the_workshop_stands_on_what_serves(fake: FakeEngine, small: Flavours, contained: Settings) -> None:
    """Its stages start from the very image."""
    sklearn = small.dependencies("sklearn")
    small.get("workshop")
    assert builds(fake) == ["dependencies-sklearn", "dependencies-workshop", "workshop"]
    asked = {
        image.tags[0].partition(":")[0]: json.loads(image.labels["arguments"])
        for image in fake.held.values()
        if "arguments" in image.labels
    }

    assert asked["mlauto/dependencies-workshop"] == {
        "BASE": "base:1",
        "OWNER": str(contained.home),
        "SKLEARN": sklearn.id,
    }
    assert small.get("workshop").labels[DEPENDENCIES_LABEL] == small.dependencies("workshop").labels[KEY_LABEL]


def test_a_moved_tag_does_not_matter(fake: FakeEngine, small: Flavours) -> None:
    """The label decides; the tag goes back to where it belongs."""
    image = small.get("compiled")
    tag = next(tag for tag in image.tags if "/serving:" in tag)
    evil = fake.put("evil:1", {KEY_LABEL: image.labels[KEY_LABEL]})
    fake.tag(evil.id, tag)

    found = small.get("compiled")
    assert found.id == image.id
    named = fake.image(tag)
    assert named is not None
    assert named.id == image.id


def test_a_missing_base_says_how_to_make_one(fake: FakeEngine, contained: Settings, checkout: Path) -> None:
    """Pull it, or make it."""
    small = Flavours(dataclasses.replace(contained, base_image="no:base"), fake, checkout)
    with pytest.raises(DeliveryError, match=r"no base image no:base: docker pull no:base, or have ops/base_image.sh"):
        small.get("compiled")


def test_a_dependency_that_cannot_be_had(small: Flavours, contained: Settings, checkout: Path, index: Path) -> None:
    """The last lines that pip wrote are in the error, and nothing half-made is left."""
    for path in index.glob("one-*"):
        path.unlink()
    with pytest.raises(DeliveryError, match=r"cannot be fetched for Python 3.11:(.|\n)*No matching distribution"):
        small.get("compiled")
    assert list((contained.home / "tmp").iterdir()) == []


def test_the_current_keys_are_those_of_what_is_taken(fake: FakeEngine, small: Flavours) -> None:
    """Without building anything; all six, and what parts are made in."""
    keys = small.keys()
    assert small.get("compiled")
    pip = next(image for image in fake.held.values() if image.tags[0].startswith("mlauto/pip:"))
    made = {pip.labels[KEY_LABEL]} | {
        image.labels[KEY_LABEL]
        for name in ("compiled", "sklearn", "workshop")
        for image in (small.get(name), small.dependencies(name))
    }

    assert made == keys
    assert len(keys) == 7


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_what_a_real_build_leaves(
    docker: DockerEngine, docker_base: str, settings: Settings, checkout: Path, tmp_path: Path
) -> None:
    """Packages and our code are there with their bytecode, and a bill of materials; pip, wheels and paths are not."""
    own = dataclasses.replace(settings, base_image=docker_base, cache=tmp_path / "cache-of-this-machine")
    image = Flavours(own, docker, checkout).get("workshop")
    base = docker.image(docker_base)
    assert base is not None

    said = answer(
        docker, own, image, "python", "-c", "import one, two, three, mlauto; print(three.__file__, one.__file__)"
    )
    assert said.split() == [
        "/opt/workshop/lib/python3.11/site-packages/three.py",
        "/opt/venv/lib/python3.11/site-packages/one.py",
    ]
    assert "1" in answer(
        docker, own, image, "sh", "-c", "ls /opt/venv/lib/python3.*/site-packages/__pycache__ | grep -c one"
    )
    bill = json.loads(answer(docker, own, image, "cat", "/usr/share/mlauto/sbom.json"))
    names = {component["name"] for component in bill["components"]}
    assert {"one", "two", "three"} <= names
    assert "pip" not in names
    with pytest.raises(DeliveryError):
        answer(docker, own, image, "python", "-m", "pip")
    for word in ("cache-of-this-machine", str(tmp_path / "index"), ".whl"):
        assert word.encode() not in saved(image, base)


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_what_is_loaded_is_what_would_be_built(
    docker: DockerEngine, docker_base: str, settings: Settings, checkout: Path
) -> None:
    """Name for name and byte for byte, bytecode and bill of materials included; and the images say the same."""

    class Refusing(DockerEngine):
        def load(self, archive: Iterable[bytes]) -> None:
            raise EngineError("refused")

    own = dataclasses.replace(settings, base_image=docker_base, cache=settings.root / "cache")
    flavours = Flavours(own, docker, checkout)
    loaded, below = flavours.get("workshop"), flavours.dependencies("workshop")
    assert (history(loaded)[0], history(below)[0]) == ("mlauto: workshop", "mlauto: dependencies-workshop")
    before = contents(loaded)
    remove_all(docker, own)
    engine = Refusing()
    try:
        built = Flavours(own, engine, checkout).get("workshop")
        assert not any(line.startswith("mlauto: ") for line in history(built))
        assert contents(built) == before
    finally:
        engine.close()
    for name in ("Env", "User", "Entrypoint", "Cmd", "WorkingDir"):
        assert (built.config.get(name) or None) == (loaded.config.get(name) or None), name


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_a_dependency_that_does_not_install(
    docker: DockerEngine, docker_base: str, settings: Settings, checkout: Path, index: Path
) -> None:
    """The log's last lines are in the error, and the builder leaves no container."""
    broken = index / "four-1.0-py3-none-any.whl"
    wheel(index, "four").rename(broken)
    with tarfile.open(broken, "w"):
        pass
    (checkout / "requirements-serving.lock").write_text(entry(broken).text + "\n")
    own = dataclasses.replace(settings, base_image=docker_base, cache=settings.root / "cache")
    with pytest.raises(DeliveryError, match=r"(?s)four"):
        Flavours(own, docker, checkout).get("compiled")
    assert docker.containers({HOME_LABEL: str(settings.home)}) == []


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_a_build_that_was_killed_is_done_again(
    docker: DockerEngine, docker_base: str, settings: Settings, checkout: Path, tmp_path: Path
) -> None:
    """Whoever builds may be gone at any moment: the next one neither waits for it nor takes half an image."""
    own = dataclasses.replace(settings, base_image=docker_base, cache=tmp_path / "cache")
    script = (
        "from pathlib import Path\n"
        "from mlauto.runtime.docker_engine import DockerEngine\n"
        "from mlauto.runtime.flavours import Flavours\n"
        "from mlauto.settings import Settings\n"
        f"Flavours(Settings.from_environment(), DockerEngine(), Path({str(checkout)!r})).get('compiled')\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **own.environment()}) as killed:
        deadline = time.monotonic() + 60
        while not list((own.home / "tmp").glob("parts-*/given/*.whl")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        killed.kill()

    found = Flavours(own, docker, checkout).get("compiled")
    assert answer(docker, own, found, "python", "-c", "import one; print('whole')") == "whole\n"


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most", "absent"), [("compiled", 80, "scipy"), ("sklearn", 450, "pyarrow"), ("workshop", 900, "mlflow")]
)
def test_sizes_and_contents_of_the_real_flavours(
    flavours: Flavours, docker: DockerEngine, docker_base: str, name: str, most: int, absent: str
) -> None:
    """Small enough, unprivileged, and without what only the orchestrator needs."""
    image, base = flavours.get(name), docker.image(docker_base)
    assert base is not None
    own = flavours._settings
    bill = json.loads(answer(docker, own, image, "cat", "/usr/share/mlauto/sbom.json"))
    names = {component["name"] for component in bill["components"]}

    assert image.size - base.size <= most * MB
    assert image.config["User"] == "10001:10001"
    assert names & {"dagster", "mlflow", "great-expectations", "pip", absent} == set()
    assert {"numpy", "msgspec", "uvicorn", "libc6"} <= names
    started = "mlauto.training.fit" if name == "workshop" else "mlauto.serving.server"
    assert answer(docker, own, image, "python", "-c", f"import {started}; print('sound')") == "sound\n"


def history(image: EngineImage) -> list[str]:
    """What its layers say that made them, the uppermost first."""
    import docker

    client = docker.from_env()
    try:
        return [str(one["CreatedBy"]) for one in client.api.history(image.id)]
    finally:
        client.close()


def contents(image: EngineImage) -> dict[str, tuple[object, ...]]:
    """Files and links below /opt and our list: rights, owner, and what is in them. Empty folders are nobody's."""
    import docker

    client = docker.from_env()
    made = client.api.create_container(image.id, entrypoint="true")
    try:
        whole = io.BytesIO(b"".join(client.api.export(made["Id"])))
    finally:
        client.api.remove_container(made["Id"])
        client.close()
    with tarfile.open(fileobj=whole) as archive:
        found = [one for one in archive if one.name.startswith(("opt/", "usr/share/mlauto/"))]
        return {
            one.name: (one.mode, one.uid, one.gid, one.linkname or (archive.extractfile(one) or io.BytesIO()).read())
            for one in found
            if one.isfile() or one.issym()
        }


def saved(image: EngineImage, base: EngineImage) -> bytes:
    """History and all layers above the base, as `docker save` gives them."""
    import docker

    client = docker.from_env()
    try:
        whole = b"".join(client.api.get_image(image.id))
        history = json.dumps(client.api.history(image.id)).encode()
    finally:
        client.close()
    found = history
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        manifest = json.load(archive.extractfile("manifest.json") or io.BytesIO())
        for name in manifest[0]["Layers"][len(base.layers) :]:
            found += (archive.extractfile(name) or io.BytesIO()).read()
        found += (archive.extractfile(manifest[0]["Config"]) or io.BytesIO()).read()
    return found
