"""A commit is trained in the image in which it was tested, or tested again in the one that trains it."""

from dataclasses import dataclass, replace

import pytest

from mlauto.errors import TrainingError
from mlauto.orchestration import steps
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.workshops import check_tested, checked, is_current
from mlauto.records import CiReport, Commit, VerifiedCommit
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop
from mlauto.runtime.engine import HOME_LABEL
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.workshop import LocalWorkshop
from mlauto_tests.orchestration.conftest import World, made_product


@dataclass(frozen=True)
class Named(LocalWorkshop):
    """The machine itself under an image's name."""

    name: str = ""

    def image(self) -> str:
        """That name."""
        return self.name


def moved(platform: Platform, name: str) -> Platform:
    """The same platform with another image."""
    return replace(platform, workshop=Named(platform.warm, name))


def verified(world: World) -> Commit:
    """The commit that is trained from."""
    found = world.store.read_record("tides", "verified_commit", VerifiedCommit)
    assert found is not None
    return found.commit


def report(world: World, commit: Commit) -> CiReport:
    """Its report."""
    found = world.store.read_record("tides", f"reports/{commit.sha}", CiReport)
    assert found is not None
    return found


def test_a_report_names_the_image(world: World) -> None:
    """The one in which every command ran."""
    sha = world.repository().git("rev-parse", "HEAD")
    world.platform.mirror(world.product).fetch()

    made = checked(
        moved(world.platform, "sha256:1"), world.product, world.platform.mirror(world.product).commit(sha), print
    )

    assert (made.passed, made.image) == (True, "sha256:1")
    assert is_current(moved(world.platform, "sha256:1"), made)
    assert not is_current(world.platform, made)
    assert is_current(world.platform, replace(made, source="Jenkins"))


def test_the_same_image_tests_once(released: World) -> None:
    """Nothing runs when the report is there already."""
    lines: list[str] = []
    commit = verified(released)

    check_tested(released.platform, released.product, commit, lines.append)
    again = steps.report_commit(released.platform, released.product, commit.sha, lines.append)

    assert lines == []
    assert again == report(released, commit)


def test_another_image_tests_again_before_it_trains(released: World) -> None:
    """And once only; the new report takes the place of the old one."""
    lines: list[str] = []
    commit, platform = verified(released), moved(released.platform, "sha256:2")

    check_tested(platform, released.product, commit, lines.append)
    check_tested(platform, released.product, commit, lines.append)

    assert (
        lines[0]
        == f"commit {commit.sha[:12]} was tested in another image: it is tested again in the one that trains it"
    )
    assert [line for line in lines if line.startswith("$")] == ["$ python -m compileall -q ."]
    assert report(released, commit).image == "sha256:2"


def test_a_commit_that_is_red_there_is_not_trained(released: World) -> None:
    """The error names what failed; the report says so from now on."""
    commit, platform = verified(released), moved(released.platform, "sha256:2")
    picky = made_product(code={"checks": ["python -c 'import no_such_library'"]})
    models = len(list(released.store.record_names("tides", "models")))

    with pytest.raises(
        TrainingError, match=r"was green in another image, but is not .*import no_such_library.* exit code 1"
    ):
        steps.train_model(platform, picky, "asked for", lambda line: None)

    assert not report(released, commit).passed
    assert len(list(released.store.record_names("tides", "models"))) == models


def test_a_model_names_the_image_that_it_was_trained_and_tested_in(released: World) -> None:
    """One id on both."""
    released.gather()
    platform = moved(released.platform, "sha256:3")

    model = steps.train_model(platform, released.product, "asked for", lambda line: None)

    assert (model.version, model.image) == ("2", "sha256:3")
    assert report(released, model.commit).image == "sha256:3"


def test_a_tree_that_cannot_be_exported_is_red(world: World) -> None:
    """Wherever it would be tested."""
    origin = world.repository()
    (origin.path / "out").symlink_to("/etc/passwd")
    sha = origin.commit("A link out")
    mirror = world.platform.mirror(world.product)
    mirror.fetch()

    made = checked(world.platform, world.product, mirror.commit(sha), print)

    assert not made.passed
    assert "out" in made.results[0].failures[0]


@pytest.mark.needs("docker")
def test_a_commit_goes_through_real_containers_of_one_image(world: World, flavours: Flavours) -> None:
    """From its checks to the model, with the very steps that the assets call; nothing is left of the containers."""
    engine = DockerEngine()
    workshop = DockerWorkshop(engine, flavours, world.settings.home)
    platform = replace(world.platform, workshop=workshop)
    product = made_product(code={"checks": ["python -m compileall -q .", "pytest -q"]})
    origin = world.repository()
    test = "from tide.model import build\n\n\ndef test_it():\n    assert build()\n"
    sha = origin.commit("A test", tests__test_tide_py=test)
    lines: list[str] = []
    world.gather()
    platform.mirror(product).fetch()

    report = steps.report_commit(platform, product, sha, lines.append)
    steps.verify_newest_commit(platform, product)
    model = steps.train_model(platform, product, "first model", lines.append)

    assert report.passed, report
    assert report.results[1].tests == 1
    assert report.image == model.image == flavours.get("workshop").id
    assert any(line.startswith("fitting Pipeline") for line in lines), lines
    assert engine.containers({HOME_LABEL: str(world.settings.home)}) == []
    engine.close()
