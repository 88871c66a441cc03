"""A local runtime of one's own, with real bundles; wheels, checkouts and engines for images."""

import dataclasses
import hashlib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, Engine
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.layers import Part
from mlauto.runtime.local import LocalRuntime
from mlauto.runtime.parts import PROGRAMS
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


@dataclasses.dataclass
class PartsEngine(FakeEngine):
    """In memory, too, but its containers leave what ops/image/parts.py would: each part is an archive with one file."""

    def run(self, container: str, on_chunk: Callable[[bytes], None]) -> None:
        """What is said, and the parts that were asked for."""
        super().run(container, on_chunk)
        spec = self.specs[self._found(container).name]
        mounts = {mount.target: mount.source for mount in spec.mounts}
        if "/out" not in mounts:
            return
        wheels = [(hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in mounts["/given"].glob("*.whl")]
        made = [("code", "code")] if "code" in spec.command else [("environment", "environment"), *wheels]
        for name, title in made:
            part(mounts["/out"], name, title)


def part(folder: Path, name: str, title: str) -> Part:
    """A part with one file and one component, described beside it."""
    entry = tarfile.TarInfo(f"opt/{title}")
    entry.size = len(title)
    content = entry.tobuf() + title.encode().ljust(tarfile.BLOCKSIZE, b"\0")
    (folder / f"{name}.tar").write_bytes(content)
    digest, component = hashlib.sha256(content).hexdigest(), {"name": title, "purl": f"pkg:pypi/{title}"}
    (folder / f"{name}.json").write_text(json.dumps({"digest": digest, "folders": ["opt"], "components": [component]}))
    return Part(folder / f"{name}.tar", ("opt",), (component,))


@pytest.fixture
def parting() -> PartsEngine:
    """An engine in memory that has the base, and makes parts."""
    engine = PartsEngine(said=SAID)
    engine.put("base:1")
    return engine


@pytest.fixture
def docker(docker_base: str, settings: Settings) -> Iterator[DockerEngine]:
    """A real engine. What this test's state directory owns there is removed afterwards."""
    engine = DockerEngine()
    yield engine
    remove_all(engine, settings)
    engine.close()


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
    for name in ("Dockerfile", *PROGRAMS):
        shutil.copy2(PACKAGE.parent / name, root / name)
    one, two, three = (entry(wheel(index, name)).text for name in ("one", "two", "three"))
    for name, lines in {"serving": [one], "sklearn": [one, two], "workshop": [one, two, three]}.items():
        (root / f"requirements-{name}.lock").write_text("\n".join(lines) + "\n")
    return root
