"""What is removed from an engine, and above all what is not."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, Build, ContainerSpec, EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.leftovers import GRACE, clear, is_old
from mlauto.settings import Settings

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
OLD = (NOW - timedelta(seconds=GRACE + 60)).isoformat()
YOUNG = (NOW - timedelta(seconds=GRACE - 60)).isoformat().replace("+00:00", ".123456789Z")
HOME = "/home/mlauto"


def labels(kind: str, **more: str) -> dict[str, str]:
    ours = {OWNER_LABEL: OWNER, HOME_LABEL: HOME, "mlauto.kind": kind, "mlauto.product": "bikes"}
    return {**ours, **{f"mlauto.{name}": text for name, text in more.items()}}


@pytest.fixture
def engine() -> FakeEngine:
    """Everything in it is old."""
    return FakeEngine(moment=OLD)


def cleared(engine: FakeEngine, kept: set[str] | None = None, current: set[str] | None = None) -> tuple[str, ...]:
    return clear(engine, HOME, "bikes", kept=kept or set(), current=current or set(), now=NOW.timestamp())


def names(engine: FakeEngine) -> set[str]:
    return {tag.partition(":")[0] for image in engine.held.values() for tag in image.tags}


def test_models_that_are_not_kept_go(engine: FakeEngine) -> None:
    """And it is said which."""
    kept = engine.put("kept:1", labels("model"))
    engine.put("gone:1", labels("model"))

    assert cleared(engine, {kept.id}) == ("image gone:1",)
    assert names(engine) == {"kept"}


def test_what_is_not_ours_stays(engine: FakeEngine) -> None:
    """No owner, another state directory, another product, no kind that we know."""
    engine.put("stranger:1", {HOME_LABEL: HOME, "mlauto.kind": "model", "mlauto.product": "bikes"})
    engine.put("neighbour:1", labels("model", home="/home/neighbour"))
    engine.put("other:1", labels("model", product="cars"))
    engine.put("unknown:1", labels("something"))

    assert cleared(engine) == ()
    assert names(engine) == {"stranger", "neighbour", "other", "unknown"}


def test_the_young_stay(engine: FakeEngine) -> None:
    """Its record may be about to be written; a tag given again makes it young."""
    engine.moment = YOUNG
    engine.put("young:1", labels("model"))
    engine.moment = OLD
    renewed = engine.put("old:1", labels("code"))
    engine.moment = YOUNG
    engine.tag(renewed.id, "old:1")

    assert cleared(engine) == ()


def test_a_base_stays_while_something_stands_on_it(engine: FakeEngine) -> None:
    """Also something of another state directory; the chain goes from the top."""
    engine.put("dependencies:1", labels("dependencies", key="d"), ("a",))
    engine.put("flavour:1", labels("flavour", key="f"), ("a", "b"))
    engine.put("code:1", labels("code"), ("a", "b", "c"))
    top = engine.put("model:1", labels("model"), ("a", "b", "c", "d"))
    neighbour = engine.put("neighbour:1", labels("model", home="/home/neighbour"), ("a", "b", "e"))

    assert cleared(engine, {top.id}) == ()
    assert cleared(engine) == ("image model:1", "image code:1")
    engine.remove_image(neighbour.id)
    assert cleared(engine) == ("image flavour:1", "image dependencies:1")


def test_what_the_next_images_build_on_stays(engine: FakeEngine) -> None:
    """Though nothing stands on it now."""
    engine.put("dependencies:1", labels("dependencies", key="d"), ("a",))
    engine.put("flavour:1", labels("flavour", key="f"), ("a", "b"))

    assert cleared(engine, current={"f", "d"}) == ()
    assert cleared(engine, current={"f"}) == ()
    assert len(cleared(engine)) == 2


def test_what_a_container_uses_stays(engine: FakeEngine) -> None:
    """Whoever started it."""
    image = engine.put("model:1", labels("model"))
    engine.start(engine.create(ContainerSpec(name="theirs", image=image.id, command=(), user="1")))

    assert cleared(engine) == ()


def test_ended_containers_go(engine: FakeEngine) -> None:
    """Ours, when they are old and do not run; then their image may go, too."""
    image = engine.put("model:1", labels("model"))
    for name, home in (("ended", HOME), ("neighbour", "/home/neighbour"), ("runs", HOME)):
        spec = ContainerSpec(name=name, image=image.id, command=(), user="1", labels={HOME_LABEL: home})
        engine.start(engine.create(spec))
    engine.moment = YOUNG
    young = ContainerSpec(name="young", image=image.id, command=(), user="1", labels={HOME_LABEL: HOME})
    engine.create(young)
    for name in ("ended", "neighbour"):
        engine.ended(name, 0)

    assert cleared(engine) == ("container ended",)
    assert {state.name for state in engine.made.values()} == {"neighbour", "runs", "young"}


def test_what_somebody_ran_by_hand_stays(engine: FakeEngine) -> None:
    """Such a container has the labels of its image, and still is not ours."""
    image = engine.put("model:1", labels("model"))
    identity = engine.create(ContainerSpec(name="theirs", image=image.id, command=(), user="1"))
    engine.made[identity] = replace(engine.made[identity], labels=image.labels)

    assert cleared(engine) == ()
    assert engine.container("theirs") is not None


def test_the_builders_leavings_go(engine: FakeEngine) -> None:
    """Stages without a name; a named one is somebody's, and those of another state directory are its own."""
    stage = {OWNER_LABEL: OWNER, HOME_LABEL: HOME, "mlauto.kind": "stage"}
    theirs = EngineImage(
        id="sha256:6", tags=(), labels={**stage, HOME_LABEL: "/else"}, layers=("y",), size=1, created=OLD, config={}
    )
    engine._hold(theirs)
    engine.put("named:1", stage)
    engine._hold(EngineImage(id="sha256:5", tags=(), labels=stage, layers=("x",), size=1, created=OLD, config={}))

    assert cleared(engine) == ("image 5",)
    assert set(engine.held) == {theirs.id, *(image.id for image in engine.held.values() if image.tags)}
    assert names(engine) == {"named"}


def test_a_tag_that_has_moved_is_left_alone(engine: FakeEngine) -> None:
    """The image goes by its id."""
    image = engine.put("model:1", labels("model"))
    engine.tag(engine.put("other:1", labels("model", product="cars")).id, "model:1")

    assert cleared(engine) == (f"image {image.id[7:19]}",)
    assert names(engine) == {"model", "other"}


def test_an_age_is_that_of_the_newest_name() -> None:
    """Never named counts as never."""
    image = EngineImage(
        id="i", tags=(), labels={}, layers=(), size=1, created=OLD, config={}, tagged="0001-01-01T00:00:00Z"
    )

    assert is_old(image, NOW.timestamp())
    assert not is_old(image, NOW.timestamp() - 61)


class NarrowEngine(DockerEngine):
    """A real engine that shows the images of this test only: its clock is ahead, and others use the engine."""

    def images(self, labels: Mapping[str, str]) -> list[EngineImage]:
        return [image for image in super().images(labels) if "mlauto-test.narrow" in image.labels]


@pytest.mark.needs("docker")
def test_on_a_real_engine(docker: DockerEngine, docker_base: str, settings: Settings) -> None:
    """What is ours and old goes, with its tags; the base, the young and what others made stay."""
    home = str(settings.home)
    context = settings.root / "context"
    context.mkdir()
    made = {}
    for name, owner in (("mine", home), ("theirs", f"{home}/other")):
        (context / "Dockerfile").write_text(f"FROM {docker_base} AS only\nLABEL n={name}\n")
        ours = {HOME_LABEL: owner, "mlauto.kind": "model", "mlauto.product": "bikes", "mlauto-test.narrow": ""}
        tag = f"mlauto-test/{settings.root.name.replace('_', '').lower()}:{name}"
        made[name] = docker.build(
            Build(context=context, dockerfile="Dockerfile", target="only", tag=tag, labels=ours, arguments={})
        )
    spec = ContainerSpec(
        name=f"mlauto-test-{settings.root.name}",
        image=made["mine"].id,
        command=("true",),
        user="1",
        labels={HOME_LABEL: home},
    )
    docker.create(spec)
    soon, later = (datetime.now(UTC).timestamp() + seconds for seconds in (60, GRACE + 60))

    narrow = NarrowEngine()
    assert clear(narrow, home, "bikes", kept=(), current=(), now=soon) == ()
    removed = clear(narrow, home, "bikes", kept=(), current=(), now=later)
    assert removed == (f"container {spec.name}", f"image {made['mine'].tags[0]}")
    assert docker.image(made["mine"].id) is None
    assert docker.image(made["theirs"].id) is not None
    assert docker.image(docker_base) is not None
    docker.remove_image(made["theirs"].tags[0])
    narrow.close()
