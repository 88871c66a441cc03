"""The images below a model or a commit: dependencies and our own code, made from the Dockerfile once for each content.

| flavour     | what it holds                                                        | on top of             |
|-------------|----------------------------------------------------------------------|-----------------------|
| `compiled`  | the model server and what a compiled plan needs                      | the base              |
| `sklearn`   | the same, and scikit-learn with pandas                               | the base              |
| `workshop`  | mlauto's training and the team's tools: tests and trainings run here | what `sklearn` serves |

What determines an image is its label `mlauto.key`; one that carries it is taken, whichever home made it, and nothing is
built.
"""

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, Build, Engine, EngineImage
from mlauto.runtime.leftovers import is_old
from mlauto.runtime.recipe import Checkout, Locked, locked, needed
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import PACKAGE, Settings
from mlauto.store import Store, digest_of

__all__ = ["DEPENDENCIES_LABEL", "INHERITED", "KEY_LABEL", "KIND_LABEL", "Flavours"]

KIND_LABEL = "mlauto.kind"  # dependencies, flavour, code or model; of the builder's own leavings: stage
KEY_LABEL = "mlauto.key"
BASE_LABEL = "org.opencontainers.image.base.digest"
BASE_NAME_LABEL = "org.opencontainers.image.base.name"
LOCK_LABEL = "mlauto.lock"
DEPENDENCIES_LABEL = "mlauto.dependencies"  # key of the image that holds them
INHERITED = (BASE_LABEL, BASE_NAME_LABEL, LOCK_LABEL, DEPENDENCIES_LABEL)  # by whatever stands on it
INSTALLER = "ops/image/install.py"


@dataclass(frozen=True)
class _Flavour:
    stage: str
    lock: str
    argument: str
    code: tuple[str, ...]
    beside: str = ""


SERVER = ("mlauto/__init__.py", "mlauto/serving")
FLAVOURS = {
    "compiled": _Flavour("serving", "serving", "SERVING", SERVER),
    "sklearn": _Flavour("serving-sklearn", "sklearn", "SKLEARN", SERVER),
    "workshop": _Flavour("workshop", "workshop", "WORKSHOP", ("mlauto",), beside="sklearn"),
}


def _is_ours(image: EngineImage, key: str) -> bool:
    return image.labels.get(OWNER_LABEL) == OWNER and image.labels.get(KEY_LABEL) == key


class Flavours:
    """Get or create. Making one connects to nothing; `root` holds the Dockerfile, the locks and the package."""

    def __init__(self, settings: Settings, engine: Engine, root: Path = PACKAGE.parent) -> None:
        self._settings = settings
        self._engine = engine
        self._checkout = Checkout(root)
        self._wheels = Wheels(settings.cache / "wheels")

    def get(self, name: str) -> EngineImage:
        """The image of a flavour, whose code is what lies below `root` now. Raises `DeliveryError`."""
        flavour = FLAVOURS[name]
        dependencies = self.dependencies(name)
        arguments = {"BASE": self._settings.base_image, flavour.argument: dependencies.id}
        text, key = self._key(name, dependencies.labels[KEY_LABEL])
        labels = {**{name: dependencies.labels[name] for name in INHERITED}, KEY_LABEL: key, KIND_LABEL: "flavour"}
        return self._made(
            flavour.stage, text, arguments, labels, lambda context: self._checkout.copy(flavour.code, context)
        )

    def dependencies(self, name: str) -> EngineImage:
        """What the flavour's lock names, installed on top of the base (or of what it stands beside)."""
        flavour = FLAVOURS[name]
        base = self._base()
        arguments = {"BASE": self._settings.base_image, "OWNER": str(self._settings.home)}
        if flavour.beside:
            arguments[FLAVOURS[flavour.beside].argument] = self.dependencies(flavour.beside).id
        lock = f"requirements-{flavour.lock}.lock"
        text, key = self._dependencies_key(name, base.id)
        labels = {
            KEY_LABEL: key,
            KIND_LABEL: "dependencies",
            BASE_LABEL: base.id,
            BASE_NAME_LABEL: self._settings.base_image,
            LOCK_LABEL: self._checkout.digest(lock),
            DEPENDENCIES_LABEL: key,
        }

        def fill(context: Path) -> None:
            self._checkout.copy((lock, INSTALLER), context)
            (context / "wheels").mkdir()
            self._wheels.take(self._added(flavour), self._python(base), context / "wheels")

        return self._made(f"dependencies-{flavour.lock}", text, arguments, labels, fill)

    def keys(self) -> frozenset[str]:
        """What `get` takes now, of all flavours; it need not be there."""
        base = self._base().id
        below = {name: self._dependencies_key(name, base)[1] for name in FLAVOURS}
        return frozenset([*below.values(), *(self._key(name, key)[1] for name, key in below.items())])

    def dependencies_key(self, name: str) -> str:
        """Digest of what decides the flavour's dependencies: the base, the recipe, the locks. Builds nothing."""
        return self._dependencies_key(name, self._base().id)[1]

    def _key(self, name: str, dependencies: str) -> tuple[str, str]:
        """The stages of a flavour, and the key that they and the code give it."""
        flavour = FLAVOURS[name]
        text = self._stages(flavour.stage, {flavour.argument: "-"})
        return text, digest_of(dependencies, text, *(self._checkout.digest(path) for path in flavour.code))

    def _dependencies_key(self, name: str, base: str) -> tuple[str, str]:
        flavour = FLAVOURS[name]
        other = flavour.beside
        below = self._dependencies_key(other, base)[1] if other else base
        text = self._stages(f"dependencies-{flavour.lock}", {FLAVOURS[other].argument: "-"} if other else {})
        return text, digest_of(
            below, text, self._checkout.digest(f"requirements-{flavour.lock}.lock"), self._checkout.digest(INSTALLER)
        )

    def _added(self, flavour: _Flavour) -> list[Locked]:
        entries = locked(self._checkout.read(f"requirements-{flavour.lock}.lock"))
        if not flavour.beside:
            return entries
        there = {
            entry.name for entry in locked(self._checkout.read(f"requirements-{FLAVOURS[flavour.beside].lock}.lock"))
        }
        return [entry for entry in entries if entry.name not in there]

    def _made(
        self,
        stage: str,
        text: str,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        fill: Callable[[Path], None],
    ) -> EngineImage:
        """The image with the key in `labels`; built, from a context that `fill` fills, where there is none."""
        tag = f"mlauto/{stage}:{labels[KEY_LABEL][:16]}"
        found = self._found(tag, labels[KEY_LABEL])
        if found is not None:
            return found
        with self._alone(labels[KEY_LABEL]):
            found = self._found(tag, labels[KEY_LABEL])
            if found is not None:  # another process built it meanwhile
                return found
            context = Store(self._settings.home).scratch("context")
            try:
                fill(context)
                (context / "Dockerfile").write_text(text)
                ours = {HOME_LABEL: str(self._settings.home), **labels}
                return self._engine.build(
                    Build(
                        context=context,
                        dockerfile="Dockerfile",
                        target=stage,
                        tag=tag,
                        arguments=arguments,
                        labels=ours,
                    )
                )
            finally:
                shutil.rmtree(context, ignore_errors=True)

    def _found(self, tag: str, key: str) -> EngineImage | None:
        """By its tag, which anybody may have moved, or else by its label."""
        tagged = self._engine.image(tag)
        if tagged is not None and _is_ours(tagged, key):
            found: EngineImage | None = tagged
        else:
            found = next(iter(self._engine.images({OWNER_LABEL: OWNER, KEY_LABEL: key})), None)
        if found is not None and (found is not tagged or is_old(found, time.time())):
            self._engine.tag(found.id, tag)  # in use again: not among what may be removed
        return found

    def _base(self) -> EngineImage:
        name = self._settings.base_image
        found = self._engine.image(name)
        if found is None:
            raise DeliveryError(
                f"the engine has no base image {name}: docker pull {name}, or have ops/base_image.sh make one without "
                "a registry, and set MLAUTO_BASE_IMAGE to its name"
            )
        return found

    def _python(self, base: EngineImage) -> Python:
        """What the base's own Python says of itself."""
        return Python.said(answer(self._engine, self._settings, base, "python3", "-c", Python.QUESTION))

    def _stages(self, target: str, arguments: Mapping[str, str]) -> str:
        return needed(self._checkout.read("Dockerfile"), target, arguments)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One process builds; others that want the same wait for it."""
        path = self._settings.cache / "building" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
