"""Layers on top of an image, handed to the engine as it is: no builder runs, and equal files give an equal image.

A layer is a tar archive in which nothing depends on when or by whom it was made: sorted names, one time, user 0, rights
by what the files are. It is made twice, first for its digest and then for the engine, so that no copy of it is needed.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import EngineImage

__all__ = ["NO_TIME", "Layer", "Part", "archive", "configuration"]

MOMENT = 315_532_800  # 1980-01-01: zip files know no earlier time
NO_TIME = "1980-01-01T00:00:00Z"
CHUNK = 1 << 20
KEPT = ("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "ExposedPorts", "StopSignal")


@dataclass(frozen=True)
class Part:
    """A tar archive of files alone, without its end; the folders it needs; what a bill of materials says of it."""

    archive: Path
    folders: tuple[str, ...]
    components: tuple[Mapping[str, Any], ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.archive.stat().st_size


@dataclass(frozen=True)
class Layer:
    """Folders of this machine (`places`: where in the image -> folder), and whole files (`files`: where -> bytes).

    Names below a folder that are in `without` are left out, at its top.
    """

    places: Mapping[str, Path]
    files: Mapping[str, bytes]
    without: frozenset[str] = frozenset()
    parts: tuple[Part, ...] = ()

    def blocks(self) -> Iterator[bytes]:
        """The archive, piece by piece. Raises `DeliveryError` for a name that means something else to an engine."""
        made: set[str] = set()
        for place, folder in sorted(self.places.items()):
            yield from _parents(f"{place}/x", made)
            yield from self._folder(folder, place)
        for place, content in sorted(self.files.items()):
            yield from _parents(place, made)
            yield from _entry(place, stat.S_IFREG | 0o644, size=len(content))
            yield content
            yield _padding(len(content))
        for part in self.parts:
            for inner in part.folders:
                yield from _parents(f"{inner}/x", made)
            with part.archive.open("rb") as stream:
                yield from iter(partial(stream.read, CHUNK), b"")
        yield bytes(2 * tarfile.BLOCKSIZE)

    def digest(self) -> tuple[str, int]:
        """`sha256:...` of the archive, and its size in bytes."""
        whole, size = hashlib.sha256(), 0
        for block in self.blocks():
            whole.update(block)
            size += len(block)
        return f"sha256:{whole.hexdigest()}", size

    def _folder(self, folder: Path, place: str) -> Iterator[bytes]:
        for here, folders, names in os.walk(folder):
            top = Path(here) == folder
            folders[:] = sorted(name for name in folders if not (top and name in self.without))
            inside = Path(place, Path(here).relative_to(folder))
            if not top:
                yield from _entry(inside.as_posix(), stat.S_IFDIR | 0o755)
            links = [name for name in folders if Path(here, name).is_symlink()]
            for name in sorted([*names, *links]):
                if not (top and name in self.without):
                    yield from _file(Path(here, name), (inside / name).as_posix())
            folders[:] = [name for name in folders if name not in links]


def _parents(place: str, made: set[str]) -> Iterator[bytes]:
    for parent in [p.as_posix() for p in reversed(Path(place).parents)][1:]:
        if parent not in made:
            made.add(parent)
            yield from _entry(parent, stat.S_IFDIR | 0o755)


def _file(path: Path, place: str) -> Iterator[bytes]:
    found = path.lstat()
    if path.name.startswith(".wh."):
        raise DeliveryError(f"{place}: a file name that begins with .wh. removes files of an image: rename it")
    if stat.S_ISLNK(found.st_mode):
        yield from _entry(place, stat.S_IFLNK | 0o777, link=str(path.readlink()))
    elif stat.S_ISREG(found.st_mode):
        executable = 0o111 if found.st_mode & 0o111 else 0
        yield from _entry(place, stat.S_IFREG | 0o644 | executable, size=found.st_size)
        left = found.st_size
        with path.open("rb") as stream:
            while left and (piece := stream.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece
        if left:
            raise DeliveryError(f"{path} became shorter while it was read: build again")
        yield _padding(found.st_size)
    else:
        raise DeliveryError(f"{place} is neither a file nor a link: remove it")


def _entry(place: str, mode: int, *, size: int = 0, link: str = "") -> Iterator[bytes]:
    kinds = {stat.S_IFDIR: tarfile.DIRTYPE, stat.S_IFLNK: tarfile.SYMTYPE, stat.S_IFREG: tarfile.REGTYPE}
    entry = tarfile.TarInfo(place)
    entry.type = kinds[stat.S_IFMT(mode)]
    entry.mode, entry.size, entry.linkname, entry.mtime = stat.S_IMODE(mode), size, link, MOMENT
    yield entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def configuration(
    parent: EngineImage,
    layers: Sequence[str],
    labels: Mapping[str, str],
    *,
    command: Iterable[str] | None,
    created: str,
    said: str,
) -> bytes:
    """The new image's configuration, whose SHA-256 is its id: the parent's with more layers and other labels."""
    config: dict[str, Any] = {name: parent.config[name] for name in KEPT if parent.config.get(name)}
    config["Labels"] = dict(labels)
    if command is not None:
        config["Cmd"] = list(command)
    past = [{"created": created, "created_by": f"layers of {parent.id}"} for _ in parent.layers]
    ours = [{"created": created, "created_by": said} for _ in layers]
    whole = {
        "architecture": parent.architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [*parent.layers, *layers]},
        "history": [*past, *ours],
    }
    return json.dumps(whole, sort_keys=True).encode()


def archive(config: bytes, below: int, layers: Sequence[tuple[Layer, int]], tag: str) -> Iterator[bytes]:
    """What `load` takes: the configuration, and the layers (each with its size) on top of so many that are there."""
    names = [f"{number}/layer.tar" for number in range(below + len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
    for name, content in (("config.json", config), ("manifest.json", manifest)):
        yield from _entry(name, stat.S_IFREG | 0o644, size=len(content))
        yield content + _padding(len(content))
    for name, (layer, size) in zip(names[below:], layers, strict=True):
        yield from _entry(name, stat.S_IFREG | 0o644, size=size)
        yield from layer.blocks()
        yield _padding(size)
    yield bytes(2 * tarfile.BLOCKSIZE)
