"""Parts of layers, made by an image's own Python: a wheel as it lies installed, or a folder of code.

A layer made of parts costs no installation: one changed wheel is installed and compiled, all others are copied. Those
of wheels lie in the cache, for all state directories, in a folder for each base and recipe; a damaged one is made anew.
"""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlauto.runtime.asking import told
from mlauto.runtime.boxes import container_user
from mlauto.runtime.engine import HOME_LABEL, ContainerSpec, Engine, EngineError, EngineImage, Mount
from mlauto.runtime.keeping import forget_unused, use
from mlauto.runtime.layers import Part
from mlauto.runtime.recipe import Checkout, Locked
from mlauto.runtime.wheels import Python, Wheels
from mlauto.settings import Settings
from mlauto.store import Store, digest_of, file_digest

__all__ = ["PROGRAMS", "Parts", "bill"]

PROGRAMS = ("ops/image/install.py", "ops/image/parts.py")  # what makes them
NOTHING = "a container's files did not arrive: does the engine share this machine's folders?"
PIP = "/opt/pip/bin/python"  # in the Dockerfile's stage `pip`


class Parts:
    """Get or create, with programs of the checkout that run in the image `pip` on top of `base`."""

    def __init__(self, settings: Settings, engine: Engine, checkout: Checkout, wheels: Wheels) -> None:
        self._settings = settings
        self._engine = engine
        self._checkout = checkout
        self._wheels = wheels

    def installed(
        self, entries: Sequence[Locked], environment: str, python: Python, base: EngineImage, pip: EngineImage
    ) -> list[Part]:
        """The empty environment at that place, and each locked wheel that `python` wants, installed into it.

        Raises `DeliveryError` with pip's last lines when one cannot be had or does not install.
        """
        recipe = digest_of(base.id, environment, *(self._checkout.digest(name) for name in PROGRAMS))
        folder = self._settings.cache / "parts" / recipe[:32]
        wanted = [entry for entry in entries if python.wants(entry)]
        missing = [entry for entry in wanted if self._kept(folder, entry.hashes) is None]
        if missing or self._kept(folder, ["environment"]) is None:
            with _scratch(self._settings) as scratch:
                self._wheels.take(missing, python, scratch.given)
                self._run(pip, scratch, "wheels", environment)
                scratch.keep(folder)
            forget_unused(folder.parent)
        return [self._there(folder, names) for names in (["environment"], *(entry.hashes for entry in wanted))]

    @contextmanager
    def code(self, names: Sequence[str], place: str, pip: EngineImage) -> Iterator[Part]:
        """Files and folders of the checkout with their bytecode, at that place. It is gone afterwards."""
        with _scratch(self._settings) as scratch:
            self._checkout.copy(names, scratch.given)
            self._run(pip, scratch, "code", place)
            yield self._there(scratch.out, ["code"])

    def _there(self, folder: Path, names: Iterable[str]) -> Part:
        found = self._kept(folder, names)
        if found is None:
            raise EngineError(NOTHING)
        use(found.archive, found.archive.with_suffix(".json"))
        return found

    def _kept(self, folder: Path, names: Iterable[str]) -> Part | None:
        """The first that is there and whole."""
        for name in names:
            described = folder / f"{name}.json"
            if not described.is_file():
                continue
            said = json.loads(described.read_bytes())
            archive = folder / f"{name}.tar"
            if archive.is_file() and file_digest(archive) == said["digest"]:
                return Part(archive, tuple(said["folders"]), tuple(said["components"]))
            described.unlink(missing_ok=True)
        return None

    def _run(self, pip: EngineImage, scratch: "_Scratch", what: str, place: str) -> None:
        self._checkout.copy(PROGRAMS, scratch.programs)
        user = container_user()
        spec = ContainerSpec(
            name=f"mlauto-parts-{os.getpid()}-{scratch.folder.name}",
            image=pip.id,
            entrypoint=(PIP,),
            command=("/programs/ops/image/parts.py", what, place, "/given", "/out"),
            user=f"{user}:{user}",
            labels={HOME_LABEL: str(self._settings.home)},
            environment={"HOME": "/out", "TMPDIR": "/out"},
            mounts=(
                Mount(source=scratch.programs, target="/programs"),
                Mount(source=scratch.given, target="/given"),
                Mount(source=scratch.out, target="/out", writable=True),
            ),
            memory_mb=2048,
            cpus=float(os.cpu_count() or 1),
            pids=256,
        )
        told(self._engine, spec)


class _Scratch:
    """Folders that a container sees: our programs, what they are given, and where they write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs, self.given, self.out = (folder / name for name in ("programs", "given", "out"))
        for path in (self.programs, self.given, self.out):
            path.mkdir(mode=0o755)
        os.chown(self.out, container_user(), -1)

    def __enter__(self) -> "_Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def keep(self, folder: Path) -> None:
        """Move what was made there, each archive before the file that describes it."""
        folder.mkdir(parents=True, exist_ok=True)
        for kind in ("*.tar", "*.json"):
            for path in self.out.glob(kind):
                _moved(path, folder / path.name)


def _scratch(settings: Settings) -> _Scratch:
    return _Scratch(Store(settings.home).scratch("parts"))


def _moved(source: Path, target: Path) -> None:
    """Atomically, from another file system, too."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        shutil.copyfile(source, temporary)
        Path(temporary).chmod(0o644)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def bill(components: Iterable[Mapping[str, Any]]) -> bytes:
    """The list (CycloneDX 1.6) that install.py would write; equal components, equal bytes."""
    ordered = sorted(components, key=lambda component: str(component["purl"]))
    identity = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(ordered, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{identity}", "version": 1}
    return json.dumps({**head, "components": ordered}, indent=1).encode()
