"""A local runtime of one's own, with real bundles; wheels, checkouts and engines for images."""

import dataclasses
import hashlib
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, Engine
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.leftovers import clear
from mlauto.runtime.local import LocalRuntime
from mlauto.runtime.recipe import Locked, locked
from mlauto.settings import PACKAGE, Settings
from mlauto_tests.serving.conftest import bundles, copied, free_port

__all__ = ["bundles", "copied", "runtime"]

SAID = {"python3": b"3.11.2 x86_64 glibc 2.36\n", "cat": b'{"components": [], "serialNumber": "urn:uuid:0"}'}


@pytest.fixture
def runtime(settings: Settings) -> Iterator[LocalRuntime]:
    """A runtime with a free port; its gateway is ended after the test."""
    found = LocalRuntime(dataclasses.replace(settings, gateway_port=free_port()))
    yield found
    found.shut_down()


@pytest.fixture
def contained(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a cache of this test's own, and a base image that the engine in memory has."""
    return dataclasses.replace(settings, base_image="base:1", cache=tmp_path / "cache")


@pytest.fixture
def fake() -> FakeEngine:
    """An engine in memory that has the base."""
    engine = FakeEngine(said=SAID)
    engine.put("base:1")
    return engine


@pytest.fixture
def docker(docker_base: str, settings: Settings) -> Iterator[DockerEngine]:
    """A real engine. What this test's state directory owns there is removed afterwards."""
    engine = DockerEngine()
    yield engine
    remove_all(engine, settings)
    engine.close()


@pytest.fixture
def flavours(docker: DockerEngine, docker_base: str, settings: Settings) -> Iterator[Flavours]:
    """The real flavours, built once for all tests: they belong to none, and stay until they age."""
    cache = Settings.from_environment().cache
    shared = dataclasses.replace(settings, base_image=docker_base, cache=cache, home=cache / "flavours")
    found = Flavours(shared, docker)
    yield found
    clear(docker, str(shared.home), "", kept=(), current=found.keys(), now=time.time())


def remove_all(engine: Engine, settings: Settings) -> None:
    """Containers and images of a state directory; uppermost first."""
    ours = {HOME_LABEL: str(settings.home)}
    for container in engine.containers(ours):
        engine.remove(container.id)
    for image in sorted(engine.images(ours), key=lambda one: len(one.layers), reverse=True):
        for tag in image.tags:
            engine.remove_image(tag)
        engine.remove_image(image.id)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks, by this machine's own configuration of it."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, name: str, version: str = "1.0", tags: str = "py3-none-any") -> Path:
    """A wheel with one module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tags}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def entry(path: Path, marker: str = "") -> Locked:
    """The lock's entry for a wheel."""
    name, version = path.name.split("-")[:2]
    condition = f" ; {marker}" if marker else ""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (found,) = locked(f"{name}=={version}{condition} \\\n    --hash=sha256:{digest}")
    return found


@pytest.fixture
def checkout(index: Path, tmp_path: Path) -> Path:
    """Our own Dockerfile and installer, with locks of one small wheel each and hardly any code."""
    root = tmp_path / "checkout"
    (root / "mlauto" / "serving").mkdir(parents=True)
    (root / "mlauto" / "__init__.py").write_text("")
    (root / "mlauto" / "serving" / "__init__.py").write_text("")
    (root / "mlauto" / "serving" / "server.py").write_text("print('serving')\n")
    (root / "ops" / "image").mkdir(parents=True)
    for name in ("Dockerfile", "ops/image/install.py"):
        shutil.copy2(PACKAGE.parent / name, root / name)
    one, two, three = (entry(wheel(index, name)).text for name in ("one", "two", "three"))
    for name, lines in {"serving": [one], "sklearn": [one, two], "workshop": [one, two, three]}.items():
        (root / f"requirements-{name}.lock").write_text("\n".join(lines) + "\n")
    return root
