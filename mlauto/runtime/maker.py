"""Get or create an image by its key: found by a label, loaded as layers, or else built from a Dockerfile."""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, Build, Engine, EngineError, EngineImage
from mlauto.runtime.layers import NO_TIME, Layer, archive, configuration
from mlauto.runtime.leftovers import is_old
from mlauto.runtime.recipe import configured
from mlauto.settings import Settings
from mlauto.store import Store

__all__ = ["KEY_LABEL", "Maker", "Recipe"]

KEY_LABEL = "mlauto.key"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image comes about, whose key is in its `labels`.

    The stage `stage` of the Dockerfile `text`, built with `arguments` from a context that `fill` fills. The `layers` on
    top of `parent`, lowest first, are the same.
    """

    stage: str
    text: str
    labels: Mapping[str, str]
    arguments: Mapping[str, str]
    fill: Callable[[Path], None] = lambda _context: None
    parent: EngineImage | None = None
    layers: Callable[[], AbstractContextManager[Sequence[Layer]]] | None = None

    @property
    def key(self) -> str:
        """What the image is found by."""
        return self.labels[KEY_LABEL]

    @property
    def tag(self) -> str:
        """For people, and to look there first."""
        return f"mlauto/{self.stage}:{self.key[:16]}"


@dataclass(frozen=True)
class Maker:
    """Makes what is not there, once among all processes that share a cache. Making one connects to nothing."""

    settings: Settings
    engine: Engine

    def get(self, recipe: Recipe) -> EngineImage:
        """The image with the recipe's key. Raises `DeliveryError`."""
        found = self._found(recipe)
        if found is not None:
            return found
        with self._alone(recipe.key):
            found = self._found(recipe)
            if found is not None:  # another process made it meanwhile
                return found
            if recipe.layers is not None and recipe.parent is not None:
                with suppress(EngineError), recipe.layers() as layers:  # if the builder fails, too, its error counts
                    return self._loaded(recipe, recipe.parent, layers)
            return self._built(recipe)

    def _loaded(self, recipe: Recipe, parent: EngineImage, layers: Sequence[Layer]) -> EngineImage:
        """Layers on top, handed over as they are; those that the engine has in another image stay here."""
        digests, sizes = zip(*(layer.digest() for layer in layers), strict=True)
        says = replace(parent, config=configured(recipe.text, recipe.stage, parent.config))
        labels = {OWNER_LABEL: OWNER, HOME_LABEL: str(self.settings.home), **recipe.labels}
        config = configuration(says, digests, labels, command=None, created=NO_TIME, said=f"mlauto: {recipe.stage}")
        there = max(len(parent.layers), self._there((*parent.layers, *digests)))
        new = list(zip(layers, sizes, strict=True))[there - len(parent.layers) :]
        self.engine.load(archive(config, there, new, recipe.tag))
        self.engine.tag(recipe.tag, recipe.tag)  # made now, so not to be removed; loading alone notes no time
        found = self.engine.image(recipe.tag)
        if found is None or not _is_ours(found, recipe.key):
            raise EngineError(f"the engine did not take {recipe.tag}")
        return found

    def _there(self, layers: Sequence[str]) -> int:
        """How many of them, from the lowest, an image of ours has as its lowest."""
        known = (image.layers for image in self.engine.images({OWNER_LABEL: OWNER}))
        return max([_same(layers, other) for other in known], default=0)

    def _built(self, recipe: Recipe) -> EngineImage:
        context = Store(self.settings.home).scratch("context")
        try:
            recipe.fill(context)
            (context / "Dockerfile").write_text(recipe.text)
            return self.engine.build(
                Build(
                    context=context,
                    dockerfile="Dockerfile",
                    target=recipe.stage,
                    tag=recipe.tag,
                    arguments=recipe.arguments,
                    labels={HOME_LABEL: str(self.settings.home), **recipe.labels},
                )
            )
        finally:
            shutil.rmtree(context, ignore_errors=True)

    def _found(self, recipe: Recipe) -> EngineImage | None:
        """By its tag, which anybody may have moved, or else by its label."""
        tagged = self.engine.image(recipe.tag)
        if tagged is not None and _is_ours(tagged, recipe.key):
            found: EngineImage | None = tagged
        else:
            found = next(iter(self.engine.images({OWNER_LABEL: OWNER, KEY_LABEL: recipe.key})), None)
        if found is not None and (found is not tagged or is_old(found, time.time())):
            self.engine.tag(found.id, recipe.tag)  # in use again: not among what may be removed
        return found

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One process makes it; others that want the same wait for it."""
        path = self.settings.cache / "building" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _is_ours(image: EngineImage, key: str) -> bool:
    return image.labels.get(OWNER_LABEL) == OWNER and image.labels.get(KEY_LABEL) == key


def _same(one: Sequence[str], other: Sequence[str]) -> int:
    """How many they have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
