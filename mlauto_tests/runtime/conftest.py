"""Runtimes of one's own, with real bundles and, where there is an engine, real images."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mlauto.records import Image
from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.images import Images
from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto_tests.runtime.containers import KEY, bundle, remove_images
from mlauto_tests.serving.conftest import bundles, copied, free_port

__all__ = ["bundles", "copied", "runtime"]


@pytest.fixture
def runtime(settings: Settings) -> Iterator[LocalRuntime]:
    """A runtime with a free port; its gateway is ended after the test."""
    found = LocalRuntime(dataclasses.replace(settings, gateway_port=free_port()))
    yield found
    found.shut_down()


@pytest.fixture(scope="session")
def engine(docker_base: str) -> Iterator[DockerEngine]:
    """A real engine."""
    with closing(DockerEngine()) as found:
        yield found


@pytest.fixture(scope="session")
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
def docker(settings: Settings, engine: DockerEngine, docker_base: str, tmp_path: Path) -> Iterator[DockerRuntime]:
    """A runtime on a real engine; its gateway and its containers are ended after the test."""
    ours = dataclasses.replace(settings, gateway_port=free_port(), base_image=docker_base, runtime="docker")
    found = DockerRuntime(ours, engine)
    yield found
    found.shut_down()
    remove_images(engine, str(ours.home))
