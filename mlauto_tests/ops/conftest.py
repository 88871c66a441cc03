"""The image of mlauto's own services, built from this checkout; vendors' files, broken on purpose."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import Build, ContainerSpec
from mlauto.runtime.recipe import locked, needed
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import Settings
from mlauto_tests.conftest import CHECKOUT
from mlauto_tests.ops.vendors import written

COPIED = ("pyproject.toml", "workspace.yaml", "dagster.yaml", "Dockerfile", "ops/image", "mlauto")
KEPT = "mlauto-test/orchestrator:newest"  # the builder's cache for the next time, replaced by it


def interpreter(engine: DockerEngine, base: str) -> Python:
    """The base image's Python."""
    name = f"mlauto-test-{os.getpid()}-python"
    image = engine.image(base)
    assert image is not None
    said: list[bytes] = []
    command = ("python3", "-c", Python.QUESTION)
    container = engine.create(ContainerSpec(name=name, image=image.id, command=command, user="10001:10001"))
    try:
        engine.run(container, said.append)
    finally:
        engine.remove(container)
    return Python.said(b"".join(said).decode())


def build_context(folder: Path) -> None:
    """What the Dockerfile's target `orchestrator` copies; wheels excepted."""
    for path in (*(CHECKOUT / name for name in COPIED), *CHECKOUT.glob("requirements*.lock")):
        target = folder / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, target)


@pytest.fixture(scope="session")
def orchestrator(docker_base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tag of the image; only what changed since the last time is built, from wheels kept on this machine."""
    context = tmp_path_factory.mktemp("orchestrator")
    build_context(context)
    (context / "wheels").mkdir()
    arguments = {"BASE": docker_base}
    (context / "Stages").write_text(needed((CHECKOUT / "Dockerfile").read_text(), "orchestrator", arguments))
    tag = f"mlauto-test-{os.getpid()}:orchestrator"
    with closing(DockerEngine()) as engine:
        wheels = Wheels(Settings.from_environment().cache / "wheels")
        lock = locked((CHECKOUT / "requirements.lock").read_text())
        wheels.take(lock, interpreter(engine, docker_base), context / "wheels")
        build = Build(
            context=context,
            dockerfile="Stages",
            target="orchestrator",
            tag=tag,
            arguments=arguments,
            labels={"mlauto.test": str(os.getpid())},
            network="host",  # git comes from the distribution
        )
        built, before = engine.build(build), engine.image(KEPT)
        engine.tag(built.id, KEPT)
        yield tag
        engine.remove_image(tag)
        left = engine.image(before.id) if before is not None else None
        if left is not None and not left.tags:
            engine.remove_image(left.id)


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A copy of a vendor's file in which one text is replaced, under the same name."""

    def make(name: str, old: str, new: str) -> Path:
        text = written(name)
        assert old in text
        path = tmp_path / name
        path.write_text(text.replace(old, new, 1))
        return path

    return make
