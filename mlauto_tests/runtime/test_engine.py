"""What the seam itself promises of a container and of an error."""

from mlauto.errors import DeliveryError
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import ContainerSpec, Engine, EngineError
from mlauto.runtime.fake_engine import FakeEngine


def test_a_container_is_closed_unless_it_is_opened() -> None:
    """No network, bounded memory, processors and processes, no restart, one small folder to write to."""
    spec = ContainerSpec(name="a", image="sha256:1", command=("true",), user="10001:10001")

    assert (spec.network, spec.restart, spec.mounts, spec.environment) == ("none", False, (), {})
    assert (spec.memory_mb, spec.cpus, spec.pids, spec.tmpfs) == (512, 1.0, 64, {"/tmp": 64})


def test_an_engines_failure_is_a_deliverys() -> None:
    """Nothing above the seam has to know that there is an engine."""
    assert issubclass(EngineError, DeliveryError)


def test_both_engines_are_engines() -> None:
    """Every method of the seam is there, with the same arguments."""
    real: Engine = DockerEngine()
    fake: Engine = FakeEngine()
    methods = [name for name in vars(Engine) if not name.startswith("_")]

    assert len(methods) >= 18
    for name in methods:
        ours, theirs = (getattr(type(engine), name).__code__ for engine in (fake, real))
        assert ours.co_varnames[: ours.co_argcount] == theirs.co_varnames[: theirs.co_argcount], name
