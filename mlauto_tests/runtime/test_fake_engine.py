"""The engine in memory behaves as the real one does where it matters."""

from pathlib import Path

import pytest

from mlauto.runtime.engine import OWNER, OWNER_LABEL, Build, ContainerSpec, EngineError
from mlauto.runtime.fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    """With one image of ours."""
    found = FakeEngine(output=b"one\ntwo\n")
    found.put("ours:1", {OWNER_LABEL: OWNER})
    return found


def spec(engine: FakeEngine, name: str = "a") -> ContainerSpec:
    image = engine.image("ours:1")
    assert image is not None
    return ContainerSpec(name=name, image=image.id, command=("true",), user="1", labels={"x": "y"})


def test_a_build_has_the_labels_asked_for(engine: FakeEngine) -> None:
    """And the owner's; the same once more is the same image."""
    build = Build(context=Path("/"), dockerfile="Dockerfile", target="t", tag="b:1", labels={"x": "y"})
    lines: list[str] = []
    made = engine.build(build, lines.append)

    assert made.labels.items() >= {OWNER_LABEL: OWNER, "x": "y"}.items()
    assert engine.build(build).id == made.id
    assert engine.images({"x": ""}) == [made]
    assert lines == ["built t"]


def test_a_container_runs_once(engine: FakeEngine) -> None:
    """It writes what all write, has ended, is gone after its removal; its name is taken meanwhile."""
    container = engine.create(spec(engine))
    written: list[bytes] = []
    with pytest.raises(EngineError, match="the name is in use"):
        engine.create(spec(engine))
    engine.run(container, written.append)

    assert (written, engine.tail("a", 1), engine.wait("a", 1)) == ([b"one\ntwo\n"], "two", True)
    engine.remove("a")
    engine.remove("a")
    assert engine.container("a") is None
    with pytest.raises(EngineError, match="is not there"):
        engine.start("a")


def test_programs_have_their_own_words(engine: FakeEngine) -> None:
    """By the entry point, or else the command."""
    engine.said = {"true": b"yes"}
    written: list[bytes] = []
    engine.run(engine.create(spec(engine)), written.append)

    assert written == [b"yes"]


def test_killed_and_stopped(engine: FakeEngine) -> None:
    """With the codes that the real engine gives; what has ended stays as it is."""
    for name, end in (("k", engine.kill), ("s", lambda name: engine.stop(name, 1))):
        engine.start(engine.create(spec(engine, name)))
        end(name)
        end(name)
    engine.ended("k", 1, oom_killed=True)

    states = {state.name: (state.exit_code, state.oom_killed) for state in engine.containers({"x": "y"})}
    assert states == {"k": (1, True), "s": (0, False)}


def test_images_in_use_or_of_others_stay(engine: FakeEngine) -> None:
    """As on the real engine; one of several tags goes alone."""
    engine.put("theirs:1")
    with pytest.raises(EngineError, match="was not made by mlauto"):
        engine.remove_image("theirs:1")
    engine.create(spec(engine))
    with pytest.raises(EngineError, match="a container uses it"):
        engine.remove_image("ours:1")
    engine.remove("a")
    image = engine.image("ours:1")
    assert image is not None
    engine.tag(image.id, "second:1")
    engine.remove_image("ours:1")

    assert [found.tags for found in engine.images({OWNER_LABEL: OWNER})] == [("second:1",)]
    engine.remove_image("second:1")
    engine.remove_image("second:1")
    assert engine.images({OWNER_LABEL: OWNER}) == []


def test_pushed_and_pulled(engine: FakeEngine) -> None:
    """By the digest that was told."""
    digest = engine.push("ours:1")

    assert engine.pull("ours", digest).tags == ("ours:1",)
    for call in (lambda: engine.push("no:1"), lambda: engine.pull("no", "sha256:0"), lambda: engine.tag("no", "a:1")):
        with pytest.raises(EngineError, match="it is not there"):
            call()


def test_an_engine_that_is_down_or_refuses(engine: FakeEngine) -> None:
    """Every call fails with the sentence; a load is refused."""
    engine.refuses_load = True
    with pytest.raises(EngineError, match="this engine refuses"):
        engine.load([b""])
    engine.down = "no Docker engine answers"
    with pytest.raises(EngineError, match="no Docker engine answers"):
        engine.version()
    assert engine.calls[-1] == ("version", "")
