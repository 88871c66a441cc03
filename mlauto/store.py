"""Content-addressed artifacts and small JSON records, all written atomically.

Artifacts are files (`objects/`) or directories (`trees/`) named by the SHA-256 of their content; a record is a frozen
dataclass of `mlauto.records` as JSON, replaced as a whole. A write is a temporary file, fsync, rename: a process killed
at any point leaves the old state or the new one, never something between.

An artifact is put first and named by a record later. Until then its age protects it from `mlauto.sweep`, and whoever
takes one into use that was there already renews its age.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from mlauto.errors import StoreError

__all__ = ["Store", "atomic_write", "digest_of", "file_digest", "tree_digest"]

Record = TypeVar("Record")


def digest_of(*parts: object) -> str:
    """SHA-256 (64 hex digits) of `parts` as canonical JSON (keys sorted): equal values, equal digest."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_digest(root: Path) -> str:
    """SHA-256 over the relative names and contents of all regular files below `root`; bytecode caches do not count."""
    names = sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    )
    return digest_of([(name, file_digest(root / name)) for name in names])


def atomic_write(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that a reader, or a crash, sees the old bytes or the new ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)  # there only if something above failed


class Store:
    """Artifacts and records below one directory. Cheap to make; creates folders only when it writes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.objects = home / "store" / "objects"
        self.trees = home / "store" / "trees"

    def put_file(self, source: Path) -> str:
        """Copy a file in and return its digest; a file that is there already is not copied again."""
        digest = file_digest(source)
        target = self.object_path(digest)
        if not self._renewed(target):
            atomic_write(target, source.read_bytes())
        return digest

    def put_bytes(self, content: bytes) -> str:
        """Keep `content` as a file and return its digest."""
        digest = hashlib.sha256(content).hexdigest()
        target = self.object_path(digest)
        if not self._renewed(target):
            atomic_write(target, content)
        return digest

    def put_tree(self, source: Path) -> str:
        """Move the directory `source` in and return its digest; `source` is gone afterwards."""
        digest = tree_digest(source)
        target = self.tree_path(digest)
        os.utime(source)  # a directory's age is that of its newest entry, and moves along with it
        target.parent.mkdir(parents=True, exist_ok=True)
        with self.locked():
            known = target.exists()
            if known:
                os.utime(target)
            else:
                os.rename(source, target)
        if known:
            shutil.rmtree(source)
        return digest

    def holds_tree(self, digest: str) -> bool:
        """Whether the directory of that digest is there; it then is as safe as if it had been put just now."""
        return self._renewed(self.tree_path(digest))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """To oneself among all processes: whether an artifact is there, and its age. For moments only."""
        path = self.home / "store" / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _renewed(self, path: Path) -> bool:
        """Whether the artifact is there; then it is as if it had been put just now."""
        if not path.exists():
            return False
        with self.locked():
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def object_path(self, digest: str) -> Path:
        """Where the file of that digest is, or would be."""
        return self.objects / digest[:2] / digest

    def tree_path(self, digest: str) -> Path:
        """Where the directory of that digest is, or would be."""
        return self.trees / digest

    def scratch(self, prefix: str) -> Path:
        """A new empty directory on the store's own file system, so that `put_tree` can rename it in."""
        base = self.home / "tmp"
        base.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=base, prefix=f"{prefix}-"))

    def verified_file(self, digest: str) -> Path:
        """Path of an artifact whose bytes were compared with its digest just now. Raises `StoreError` otherwise."""
        path = self.object_path(digest)
        if not path.exists():
            raise StoreError(f"artifact {digest[:12]} is missing from {self.objects}: materialize its asset again")
        if file_digest(path) != digest:
            raise StoreError(
                f"artifact {digest[:12]} was changed on disk: delete {path} and materialize its asset again"
            )
        return path

    def record_path(self, product: str, name: str) -> Path:
        """The file of one record; `name` may contain `/`."""
        return self.home / "products" / product / "records" / f"{name}.json"

    def write_record(self, product: str, name: str, record: object) -> None:
        """Replace the record `name` of a product."""
        atomic_write(self.record_path(product, name), msgspec.json.format(msgspec.json.encode(record)))

    def read_record(self, product: str, name: str, kind: type[Record]) -> Record | None:
        """The record, or None where none was written. Raises `StoreError` naming the file if it does not parse."""
        path = self.record_path(product, name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path} is not a valid {kind.__name__}: {error}") from error

    def record_names(self, product: str, folder: str) -> Iterator[str]:
        """Names (without `.json`) of the records in a folder, in no order."""
        base = self.record_path(product, folder).with_suffix("")
        if base.is_dir():
            with os.scandir(base) as entries:
                yield from (
                    e.name.removesuffix(".json") for e in entries if e.name.endswith(".json") and e.name[0] != "."
                )
