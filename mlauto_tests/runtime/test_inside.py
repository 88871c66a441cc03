"""The first process of a job's container; what it does there is seen in the tests of the workshop."""

import subprocess
import sys

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import ContainerSpec
from mlauto.runtime.flavours import Flavours


def test_it_refuses_to_run_on_a_machine() -> None:
    """It ends what it finds: on a machine that would be everything."""
    ended = subprocess.run(
        [sys.executable, "-m", "mlauto.runtime.inside"], capture_output=True, text=True, check=False, timeout=30
    )

    assert ended.returncode == 2
    assert "the first process of a job's container" in ended.stderr


@pytest.mark.needs("docker")
def test_it_refuses_a_container_that_nobody_speaks_to(flavours: Flavours) -> None:
    """Below an init, but without the box; it needs nothing but Python and our own code to say so."""
    engine = DockerEngine()
    spec = ContainerSpec(
        name=f"mlauto-test-inside-{id(engine)}",
        image=flavours.get("workshop").id,
        command=["python", "-m", "mlauto.runtime.inside", "/tmp"],
        user="10001:10001",
    )
    container = engine.create(spec)
    said: list[bytes] = []
    try:
        engine.run(container, said.append)
        state = engine.container(container)
    finally:
        engine.remove(container)
        engine.close()

    assert state is not None
    assert (state.exit_code, b"not here" in b"".join(said)) == (2, True)
