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
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import HOME_LABEL, OWNER, OWNER_LABEL, Build, ContainerSpec, Engine, EngineError, EngineImage
from mlauto.runtime.recipe import Locked, locked, needed
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import PACKAGE, Settings
from mlauto.store import Store, digest_of, file_digest, tree_digest

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
        self._root = root
        self._wheels = Wheels(settings.cache / "wheels")

    def get(self, name: str) -> EngineImage:
        """The image of a flavour, whose code is what lies below `root` now. Raises `DeliveryError`."""
        flavour = FLAVOURS[name]
        dependencies = self.dependencies(name)
        arguments = {"BASE": self._settings.base_image, flavour.argument: dependencies.id}
        text = self._stages(flavour.stage, {flavour.argument: "-"})
        key = digest_of(dependencies.labels[KEY_LABEL], text, *(self._digest(path) for path in flavour.code))
        labels = {**{name: dependencies.labels[name] for name in INHERITED}, KEY_LABEL: key, KIND_LABEL: "flavour"}
        return self._made(flavour.stage, text, arguments, labels, lambda context: self._copy(flavour.code, context))

    def dependencies(self, name: str) -> EngineImage:
        """What the flavour's lock names, installed on top of the base (or of what it stands beside)."""
        flavour = FLAVOURS[name]
        base = self._base()
        arguments = {"BASE": self._settings.base_image}
        below = base.id
        if flavour.beside:
            other = self.dependencies(flavour.beside)
            arguments[FLAVOURS[flavour.beside].argument] = other.id
            below = other.labels[KEY_LABEL]
        stage = f"dependencies-{flavour.lock}"
        text = self._stages(stage, {name: "-" for name in arguments if name != "BASE"})
        lock = f"requirements-{flavour.lock}.lock"
        files = (lock, INSTALLER)
        key = digest_of(below, text, *(self._digest(path) for path in files))
        labels = {
            KEY_LABEL: key,
            KIND_LABEL: "dependencies",
            BASE_LABEL: base.id,
            BASE_NAME_LABEL: self._settings.base_image,
            LOCK_LABEL: self._digest(lock),
            DEPENDENCIES_LABEL: key,
        }

        def fill(context: Path) -> None:
            self._copy(files, context)
            (context / "wheels").mkdir()
            self._wheels.take(self._added(flavour), self._python(base), context / "wheels")

        return self._made(stage, text, arguments, labels, fill)

    def _added(self, flavour: _Flavour) -> list[Locked]:
        entries = locked(self._read(f"requirements-{flavour.lock}.lock"))
        if not flavour.beside:
            return entries
        there = {entry.name for entry in locked(self._read(f"requirements-{FLAVOURS[flavour.beside].lock}.lock"))}
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
            return tagged
        return next(iter(self._engine.images({OWNER_LABEL: OWNER, KEY_LABEL: key})), None)

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
        name = f"mlauto-ask-{os.getpid()}-{base.id[7:19]}"
        self._engine.remove(name)
        container = self._engine.create(
            ContainerSpec(
                name=name,
                image=base.id,
                command=("python3", "-c", Python.QUESTION),
                user="10001:10001",
                labels={HOME_LABEL: str(self._settings.home)},
            )
        )
        said: list[bytes] = []
        try:
            self._engine.run(container, said.append)
        except EngineError as error:
            raise DeliveryError(f"the base image {self._settings.base_image} has no python3: {error}") from error
        finally:
            self._engine.remove(container)
        return Python.said(b"".join(said).decode(errors="replace"))

    def _stages(self, target: str, arguments: Mapping[str, str]) -> str:
        return needed(self._read("Dockerfile"), target, arguments)

    def _read(self, name: str) -> str:
        try:
            return (self._root / name).read_text()
        except OSError as error:
            raise DeliveryError(
                f"{self._root / name} cannot be read ({error.strerror}): images are built from a checkout of mlauto"
            ) from error

    def _digest(self, name: str) -> str:
        path = self._root / name
        if not path.exists():
            raise DeliveryError(f"{path} is missing: images are built from a checkout of mlauto")
        return tree_digest(path) if path.is_dir() else file_digest(path)

    def _copy(self, names: Sequence[str], context: Path) -> None:
        for name in names:
            target = context / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (self._root / name).is_dir():
                shutil.copytree(self._root / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(self._root / name, target)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One process builds; others that want the same wait for it."""
        path = self._settings.cache / "building" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
