"""The engine in memory."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from mlauto.runtime.engine import OWNER, OWNER_LABEL, Build, ContainerSpec, EngineError
from mlauto.runtime.fake_engine import FakeEngine

OURS = {OWNER_LABEL: OWNER, "mlauto.home": "here"}


def spec(image: str, name: str = "one") -> ContainerSpec:
    return ContainerSpec(name=name, image=image, command=("true",), user="1:1", labels={"mlauto.home": "here"})


def test_images_are_known_by_id_and_tag_and_found_by_label() -> None:
    """An empty value fits any; a tag names one image at a time."""
    engine = FakeEngine()
    first = engine.put("a:1", OURS)
    second = engine.put("b:1")

    assert engine.image("a:1") == engine.image(first.id) == first
    assert engine.images({"mlauto.home": ""}) == [first]
    assert engine.images({"mlauto.home": "there"}) == []
    engine.tag(second.id, "a:1")
    assert [engine.image("a:1"), engine.image(first.id)] == [engine.image(second.id), engine.images(OURS)[0]]
    assert engine.images(OURS)[0].tags == ()


def test_a_build_carries_the_owner_and_says_its_line(tmp_path: Path) -> None:
    """As the real one does."""
    engine, lines = FakeEngine(), list[str]()
    build = Build(context=tmp_path, dockerfile="Dockerfile", target="serving", tag="x:1", arguments={"A": "1"})

    image = engine.build(build, lines.append)

    assert lines == ["built serving"]
    assert image.labels == {OWNER_LABEL: OWNER, "arguments": '{"A": "1"}'}
    assert engine.build(build).id == image.id


def test_a_loaded_archive_is_the_image_it_describes() -> None:
    """Its id is the digest of its configuration."""
    config = {
        "created": "2026-01-01T00:00:00Z",
        "config": {"Labels": OURS},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:a", "sha256:b"]},
    }
    content = json.dumps(config).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["m:1"], "Layers": ["0/layer.tar"]}]).encode()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, data in {"c.json": content, "manifest.json": manifest}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    engine = FakeEngine()

    engine.load([whole.getvalue()])

    image = engine.image("m:1")
    assert image is not None
    assert image.id == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (image.layers, image.labels) == (("sha256:a", "sha256:b"), OURS)
    with pytest.raises(EngineError, match="refuses"):
        FakeEngine(refuses_load=True).load([whole.getvalue()])


def test_a_container_from_its_making_to_its_removal() -> None:
    """Names are taken once; what ended has an exit code; what was removed is gone."""
    engine = FakeEngine(output=b"one\ntwo\n")
    image = engine.put("a:1", OURS)
    said: list[bytes] = []

    container = engine.create(spec(image.id))
    with pytest.raises(EngineError, match="the name is in use"):
        engine.create(spec(image.id))
    assert engine.wait(container, 1)
    engine.start(container)
    assert not engine.wait(container, 1)
    engine.stop(container, 1)
    assert engine.wait("one", 1)
    engine.run(container, said.append)
    state = engine.container("one")
    assert state is not None
    assert (state.status, state.exit_code, said) == ("exited", 0, [b"one\ntwo\n"])
    engine.start(container)
    engine.kill(container)
    assert engine.containers({"mlauto.home": "here"})[0].exit_code == 137
    assert engine.tail(container, 1) == "two"
    with pytest.raises(EngineError, match="a container uses it"):
        engine.remove_image("a:1")
    engine.remove("one")
    engine.remove("one")
    assert engine.container("one") is None
    with pytest.raises(EngineError, match="is not there"):
        engine.start("one")


def test_removal_takes_a_tag_or_the_image_and_spares_strangers() -> None:
    """The last tag takes the image with it."""
    engine = FakeEngine()
    image = engine.put("a:1", OURS)
    engine.put("other:1")
    engine.tag(image.id, "a:2")

    engine.remove_image("a:1")
    assert engine.image("a:2") is not None
    engine.remove_image("a:2")
    engine.remove_image("a:2")
    assert engine.image(image.id) is None
    with pytest.raises(EngineError, match="was not made by mlauto"):
        engine.remove_image("other:1")


def test_pushing_and_pulling_by_digest() -> None:
    """What was pushed can be pulled."""
    engine = FakeEngine()
    image = engine.put("registry/a:1", OURS)

    assert engine.pull("registry/a", engine.push("registry/a:1")) == image
    for wrong in (lambda: engine.push("b:1"), lambda: engine.pull("b", "sha256:0"), lambda: engine.tag("b:1", "c:1")):
        with pytest.raises(EngineError, match="it is not there"):
            wrong()


def test_an_engine_that_is_down_refuses_everything() -> None:
    """And what was asked is on record."""
    engine = FakeEngine(down="no engine answers")
    for call in (engine.version, lambda: engine.images({}), lambda: engine.create(spec("x"))):
        with pytest.raises(EngineError, match="no engine answers"):
            call()
    assert [name for name, _ in engine.calls] == ["version", "images", "create"]


def test_missing_images_and_memory() -> None:
    """A container needs its image; the memory's end is told."""
    engine = FakeEngine()
    with pytest.raises(EngineError, match="no image sha256:0"):
        engine.create(spec("sha256:0"))
    container = engine.create(spec(engine.put("a:1").id))
    engine.ended(container, 137, oom_killed=True)
    assert engine.containers({})[0].oom_killed
    assert engine.specs["one"].memory_mb == 512


def test_programs_have_their_own_words() -> None:
    """By the entry point, or else the command; times are those of the engine's clock."""
    engine = FakeEngine(said={"true": b"yes"}, output=b"no", moment="2026-01-01T00:00:00Z")
    image = engine.put("a:1")
    told = ContainerSpec(name="told", image=image.id, command=("true",), user="1")
    other = ContainerSpec(name="other", image=image.id, command=("true",), entrypoint=("false",), user="1")
    written: list[bytes] = []
    for one in (told, other):
        engine.run(engine.create(one), written.append)

    assert written == [b"yes", b"no"]
    assert {image.tagged, *(state.created for state in engine.made.values())} == {"2026-01-01T00:00:00Z"}
