"""Questions to images."""

from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.settings import Settings


def test_an_answer_leaves_no_container(fake: FakeEngine, contained: Settings) -> None:
    """It is what the program wrote; the container belonged to this state directory, and is gone."""
    base = fake.image("base:1")
    assert base is not None

    assert answer(fake, contained, base, "python3", "-c", "...") == "3.11.2 x86_64 glibc 2.36\n"
    (spec,) = fake.specs.values()
    assert (spec.labels, spec.user, spec.network) == ({HOME_LABEL: str(contained.home)}, "10001:10001", "none")
    assert fake.made == {}


@pytest.mark.needs("docker")
def test_a_program_that_fails_or_is_not_there(docker: DockerEngine, docker_base: str, settings: Settings) -> None:
    """The error has its words, and nothing is left behind."""
    base = docker.image(docker_base)
    assert base is not None

    assert answer(docker, settings, base, "echo", "one", "two") == "one two\n"
    with pytest.raises(DeliveryError, match=r"cat fails in image .*no-such-file"):
        answer(docker, settings, base, "cat", "/no-such-file")
    with pytest.raises(DeliveryError, match=r"no-such-program fails in image .*No such file"):
        answer(docker, settings, base, "no-such-program")
    assert docker.containers({HOME_LABEL: str(settings.home)}) == []


def test_one_that_was_left_behind_is_in_nobodys_way(fake: FakeEngine, contained: Settings, tmp_path: Path) -> None:
    """A killed process may have had this very process id."""
    base = fake.image("base:1")
    assert base is not None
    answer(fake, contained, base, "cat", "/x")
    (spec,) = fake.specs.values()
    fake.create(spec)

    assert answer(fake, contained, base, "cat", "/x").startswith("{")
    assert fake.made == {}
