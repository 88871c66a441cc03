"""The seam: closed containers by default, and engines that fit it."""

from dataclasses import fields

from mlauto.errors import DeliveryError
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import ContainerSpec, Engine, EngineError
from mlauto.runtime.fake_engine import FakeEngine


def test_a_spec_is_closed_unless_it_says_otherwise() -> None:
    """What nobody thought of is bounded."""
    spec = ContainerSpec(name="one", image="sha256:0", command=("true",), user="1:1")

    assert (spec.network, spec.restart, spec.mounts, spec.environment) == ("none", False, (), {})
    assert (spec.memory_mb, spec.cpus, spec.pids, dict(spec.tmpfs)) == (512, 1.0, 64, {"/tmp": 64})
    assert not {"privileged", "capabilities", "devices"} & {field.name for field in fields(ContainerSpec)}


def test_both_engines_offer_the_whole_seam() -> None:
    """The type checker compares the signatures where one is assigned to the other."""
    engines: list[Engine] = [DockerEngine(), FakeEngine()]
    wanted = {name for name in vars(Engine) if not name.startswith("_")}

    assert all(wanted <= set(dir(engine)) for engine in engines)
    assert len(wanted) == 19


def test_its_errors_are_delivery_errors() -> None:
    """Whoever delivers catches them as such; production keeps what it had."""
    assert issubclass(EngineError, DeliveryError)
