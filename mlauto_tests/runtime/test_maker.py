"""Get or create: found, loaded or built."""

import dataclasses
import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, EngineError
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.layers import Layer
from mlauto.runtime.maker import KEY_LABEL, Maker, Recipe
from mlauto.settings import Settings

KEY = "k" * 64
TEXT = "FROM base AS wanted\nENV A=1\nUSER 7:7\n"


@contextmanager
def layers() -> Iterator[list[Layer]]:
    yield [Layer({}, {"opt/lower": b"content"}), Layer({}, {"opt/upper": b"content"})]


@pytest.fixture
def recipe(fake: FakeEngine) -> Recipe:
    """A layer on top of the base, or a stage of two lines."""
    parent = fake.image("base:1")
    return Recipe(
        stage="wanted", text=TEXT, labels={KEY_LABEL: KEY, "more": "said"}, arguments={}, parent=parent, layers=layers
    )


def asked(engine: FakeEngine) -> list[str]:
    return [name for name, _ in engine.calls if name in ("load", "build")]


def test_layers_are_loaded(fake: FakeEngine, contained: Settings, recipe: Recipe) -> None:
    """On top of its parent, with what the stage says and the labels; the second time it is found."""
    found = Maker(contained, fake).get(recipe)
    base = fake.image("base:1")
    assert base is not None

    assert (found.layers[:-2], len(found.layers)) == (base.layers, 3)
    assert (found.config["Env"], found.config["User"]) == (["A=1"], "7:7")
    ours = {OWNER_LABEL: OWNER, HOME_LABEL: str(contained.home), KEY_LABEL: KEY, "more": "said"}
    assert (found.labels, found.tags) == (ours, (recipe.tag,))
    assert Maker(contained, fake).get(recipe) == found
    assert asked(fake) == ["load"]


def test_layers_that_are_there_are_not_sent(fake: FakeEngine, contained: Settings, recipe: Recipe) -> None:
    """Of two, the engine has the lower one in another image of ours: the upper one alone is in the archive."""

    class Measuring(FakeEngine):
        sent: ClassVar[list[set[str]]] = []

        def load(self, archive: Iterable[bytes]) -> None:
            content = b"".join(archive)
            with tarfile.open(fileobj=io.BytesIO(content)) as whole:
                self.sent.append({name for name in whole.getnames() if name.endswith("layer.tar")})
            super().load([content])

    engine = Measuring(held=fake.held)

    @contextmanager
    def others() -> Iterator[list[Layer]]:
        yield [Layer({}, {"opt/lower": b"content"}), Layer({}, {"opt/upper": b"changed"})]

    first = Maker(contained, engine).get(recipe)
    second = Maker(contained, engine).get(dataclasses.replace(recipe, labels={KEY_LABEL: "o" * 64}, layers=others))
    assert engine.sent == [{"1/layer.tar", "2/layer.tar"}, {"2/layer.tar"}]
    assert (first.layers[:2], len(second.layers)) == (second.layers[:2], 3)
    assert first.layers[2] != second.layers[2]


def test_an_engine_that_refuses_builds(fake: FakeEngine, contained: Settings, recipe: Recipe) -> None:
    """From the same recipe; and so does one whose parts do not arrive."""
    fake.refuses_load = True
    assert Maker(contained, fake).get(recipe).labels[KEY_LABEL] == KEY
    assert asked(fake) == ["load", "build"]

    @contextmanager
    def nothing() -> Iterator[list[Layer]]:
        raise EngineError("nothing arrived")
        yield []

    other = dataclasses.replace(recipe, labels={KEY_LABEL: "o" * 64}, layers=nothing)
    assert Maker(contained, fake).get(other).labels[KEY_LABEL] == "o" * 64
    assert asked(fake) == ["load", "build", "build"]


def test_what_cannot_be_installed_is_not_tried_twice(fake: FakeEngine, contained: Settings, recipe: Recipe) -> None:
    """The builder would only take longer to say the same."""

    @contextmanager
    def broken() -> Iterator[list[Layer]]:
        raise DeliveryError("pip says no")
        yield []

    with pytest.raises(DeliveryError, match="pip says no"):
        Maker(contained, fake).get(dataclasses.replace(recipe, layers=broken))
    assert asked(fake) == []


def test_a_tag_that_was_moved_meanwhile(fake: FakeEngine, contained: Settings, recipe: Recipe) -> None:
    """An image without the label is never taken; the builder's has it."""

    class Moving(FakeEngine):
        def tag(self, image: str, tag: str) -> None:
            super().tag("evil:1", tag)

    engine = Moving(held=fake.held)
    engine.put("evil:1")
    assert Maker(contained, engine).get(recipe).labels[KEY_LABEL] == KEY
    assert asked(engine) == ["load", "build"]
