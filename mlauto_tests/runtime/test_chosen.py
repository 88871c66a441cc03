"""One variable decides where models are served and where other people's code runs."""

from dataclasses import replace

import pytest

from mlauto.runtime.chosen import runtime_of, workshop_of
from mlauto.runtime.docker import DockerRuntime
from mlauto.runtime.docker_workshop import DockerWorkshop
from mlauto.runtime.local import LocalRuntime
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import LocalWorkshop
from mlauto.settings import Settings


@pytest.mark.parametrize(
    ("name", "runtime", "workshop"), [("local", LocalRuntime, LocalWorkshop), ("docker", DockerRuntime, DockerWorkshop)]
)
def test_the_settings_choose(settings: Settings, name: str, runtime: type, workshop: type) -> None:
    """Both are on the same side, and neither connects to anything or makes a file."""
    ours = replace(settings, runtime=name)

    assert type(runtime_of(ours)) is runtime
    assert type(workshop_of(ours, WarmProcess(settings.home / "warm.sock"))) is workshop
    assert not settings.home.exists()
