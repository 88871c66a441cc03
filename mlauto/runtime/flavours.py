"""The images below a model or a commit: dependencies and our own code, made from the Dockerfile once for each content.

| flavour     | what it holds                                                        | on top of             |
|-------------|----------------------------------------------------------------------|-----------------------|
| `compiled`  | the model server and what a compiled plan needs                      | the base              |
| `sklearn`   | the same, and scikit-learn with pandas                               | the base              |
| `workshop`  | mlauto's training and the team's tools: tests and trainings run here | what `sklearn` serves |

What determines an image is its label `mlauto.key`; one that carries it is taken, whichever home made it. Else it is
loaded as layers made of parts (see `parts`); an engine that refuses that, or shares no folders with this machine,
builds it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.engine import Engine, EngineImage
from mlauto.runtime.layers import Layer
from mlauto.runtime.maker import KEY_LABEL, Maker, Recipe
from mlauto.runtime.parts import PROGRAMS, Parts, bill
from mlauto.runtime.recipe import Checkout, Locked, locked, needed
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import PACKAGE, Settings
from mlauto.store import atomic_write, digest_of

__all__ = ["DEPENDENCIES_LABEL", "INHERITED", "KIND_LABEL", "Flavours"]

KIND_LABEL = "mlauto.kind"  # dependencies, flavour, code or model; of the builder's own leavings: stage
BASE_LABEL = "org.opencontainers.image.base.digest"
BASE_NAME_LABEL = "org.opencontainers.image.base.name"
LOCK_LABEL = "mlauto.lock"
DEPENDENCIES_LABEL = "mlauto.dependencies"  # key of the image that holds them
INHERITED = (BASE_LABEL, BASE_NAME_LABEL, LOCK_LABEL, DEPENDENCIES_LABEL)  # by whatever stands on it
SBOM = "usr/share/mlauto/sbom.json"
CODE = "/opt/mlauto"
LARGE = 16 << 20  # bytes


@dataclass(frozen=True)
class _Flavour:
    stage: str
    lock: str
    argument: str
    code: tuple[str, ...]
    environment: str = "/opt/venv"
    beside: str = ""


SERVER = ("mlauto/__init__.py", "mlauto/serving")
FLAVOURS = {
    "compiled": _Flavour("serving", "serving", "SERVING", SERVER),
    "sklearn": _Flavour("serving-sklearn", "sklearn", "SKLEARN", SERVER),
    "workshop": _Flavour("workshop", "workshop", "WORKSHOP", ("mlauto",), "/opt/workshop", beside="sklearn"),
}


class Flavours:
    """Get or create. Making one connects to nothing; `root` holds the Dockerfile, the locks and the package."""

    def __init__(self, settings: Settings, engine: Engine, root: Path = PACKAGE.parent) -> None:
        self._settings = settings
        self._engine = engine
        self._checkout = Checkout(root)
        self._maker = Maker(settings, engine)
        self._wheels = Wheels(settings.cache / "wheels")
        self._parts = Parts(settings, engine, self._checkout, self._wheels)

    def get(self, name: str) -> EngineImage:
        """The image of a flavour, whose code is what lies below `root` now. Raises `DeliveryError`."""
        flavour = FLAVOURS[name]
        dependencies = self.dependencies(name)
        arguments = {"BASE": self._settings.base_image, flavour.argument: dependencies.id}
        text, key = self._key(name, dependencies.labels[KEY_LABEL])
        labels = {**{name: dependencies.labels[name] for name in INHERITED}, KEY_LABEL: key, KIND_LABEL: "flavour"}

        @contextmanager
        def layers() -> Iterator[list[Layer]]:
            with self._parts.code(flavour.code, CODE, self._pip(self._base())) as code:
                yield [Layer({}, {}, parts=(code,))]

        return self._maker.get(
            Recipe(
                stage=flavour.stage,
                text=text,
                labels=labels,
                arguments=arguments,
                fill=lambda context: self._checkout.copy(flavour.code, context),
                parent=dependencies,
                layers=layers,
            )
        )

    def dependencies(self, name: str) -> EngineImage:
        """What the flavour's lock names, installed on top of the base (or of what it stands beside)."""
        flavour = FLAVOURS[name]
        base = below = self._base()
        arguments = {"BASE": self._settings.base_image, "OWNER": str(self._settings.home)}
        if flavour.beside:
            below = self.dependencies(flavour.beside)
            arguments[FLAVOURS[flavour.beside].argument] = below.id
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
            self._checkout.copy((lock, PROGRAMS[0]), context)
            (context / "wheels").mkdir()
            self._wheels.take(self._added(flavour), self._python(base), context / "wheels")

        return self._maker.get(
            Recipe(
                stage=f"dependencies-{flavour.lock}",
                text=text,
                labels=labels,
                arguments=arguments,
                fill=fill,
                parent=below,
                layers=lambda: nullcontext(self._installed(flavour, base, below)),
            )
        )

    def keys(self) -> frozenset[str]:
        """What `get` takes now, of all flavours; it need not be there."""
        base = self._base().id
        below = {name: self._dependencies_key(name, base)[1] for name in FLAVOURS}
        pip = digest_of(base, self._stages("pip", {}))
        return frozenset([pip, *below.values(), *(self._key(name, key)[1] for name, key in below.items())])

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
            below, text, *map(self._checkout.digest, (f"requirements-{flavour.lock}.lock", *PROGRAMS))
        )

    def _added(self, flavour: _Flavour) -> list[Locked]:
        entries = locked(self._checkout.read(f"requirements-{flavour.lock}.lock"))
        if not flavour.beside:
            return entries
        there = {
            entry.name for entry in locked(self._checkout.read(f"requirements-{FLAVOURS[flavour.beside].lock}.lock"))
        }
        return [entry for entry in entries if entry.name not in there]

    def _installed(self, flavour: _Flavour, base: EngineImage, below: EngineImage) -> list[Layer]:
        """The environment with all that is locked for it, and the list of what the image then holds.

        Large wheels are layers of their own, the largest on top, because it takes longest to compile: whatever changes,
        compiling it and loading it with what lies on it takes about as long.
        """
        python = self._python(base)
        environment, *wheels = self._parts.installed(
            self._added(flavour), flavour.environment, python, base, self._pip(base)
        )
        site = f"lib/python{python.minor}/site-packages"
        found = [CODE]
        components = [*environment.components]
        if flavour.beside:
            found.append(f"{FLAVOURS[flavour.beside].environment}/{site}")
            components = json.loads(answer(self._engine, self._settings, below, "cat", f"/{SBOM}"))["components"]
        files = {
            f"{flavour.environment[1:]}/{site}/mlauto.pth": "".join(f"{path}\n" for path in found).encode(),
            SBOM: bill([*components, *(one for part in wheels for one in part.components)]),
        }
        large = sorted((part for part in wheels if part.size >= LARGE), key=lambda part: (part.size, part.archive.name))
        rest = [part for part in wheels if part not in large]
        return [*(Layer({}, {}, parts=(part,)) for part in large), Layer({}, files, parts=(environment, *rest))]

    def _pip(self, base: EngineImage) -> EngineImage:
        """The base with pip, and the empty environments: what parts are made in."""
        text = self._stages("pip", {})
        labels = {KEY_LABEL: digest_of(base.id, text), KIND_LABEL: "dependencies", BASE_LABEL: base.id}
        return self._maker.get(
            Recipe(stage="pip", text=text, labels=labels, arguments={"BASE": self._settings.base_image})
        )

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
        """What the base's own Python says of itself; each base is asked once."""
        path = self._settings.cache / "python" / base.id.partition(":")[2]
        if not path.is_file():
            said = answer(self._engine, self._settings, base, "python3", "-c", Python.QUESTION)
            Python.said(said)
            atomic_write(path, said.encode())
        return Python.said(path.read_text())

    def _stages(self, target: str, arguments: Mapping[str, str]) -> str:
        return needed(self._checkout.read("Dockerfile"), target, arguments)
