"""A bundle: a directory with a model and its signature, whose manifest names every file's digest.

`manifest.json` is `{"format": 1, "name", "version", "commit", "key", "flavour", "files": {relative path: SHA-256},
"trusted": [type, ...], "facts": {name: text}}`; facts say where the model comes from. The flavour `compiled` holds a
plan, `sklearn` a skops file and the team's code. A symbolic link counts by what it points at, which must be within the
bundle.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mlauto.serving.errors import BundleError
from mlauto.serving.wire.signature import KINDS, Signature

__all__ = ["Bundle", "Manifest", "read", "write_manifest"]

MANIFEST = "manifest.json"
FLAVOURS = {"compiled": ("plan.json", "plan.npz", "signature.json"), "sklearn": ("model.skops", "signature.json")}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says of itself."""

    format: int = 1
    name: str
    version: str
    commit: str
    key: str
    flavour: str = "sklearn"
    files: dict[str, str]
    trusted: tuple[str, ...] = ()
    facts: dict[str, str] = {}


class Bundle(msgspec.Struct, frozen=True):
    """A verified bundle."""

    root: Path
    manifest: Manifest
    signature: Signature

    @property
    def model(self) -> Path:
        """The model file."""
        return self.root / "model.skops"

    @property
    def import_root(self) -> Path | None:
        """Where the team's packages are: `code/src` if there is one, else `code`; None without code."""
        code = self.root / "code"
        if not code.is_dir():
            return None
        return code / "src" if (code / "src").is_dir() else code

    def golden_rows(self) -> list[dict[str, Any]]:
        """The rows of `golden.json`, or none where the bundle has no such file."""
        path = self.root / "golden.json"
        if not path.is_file():
            return []
        rows: list[dict[str, Any]] = _parsed(path, _Golden).rows
        return rows


class _Golden(msgspec.Struct):
    rows: list[dict[str, Any]]


def write_manifest(
    root: Path,
    *,
    name: str,
    version: str,
    commit: str,
    key: str,
    trusted: Sequence[str] = (),
    flavour: str = "sklearn",
    facts: Mapping[str, str] | None = None,
) -> Manifest:
    """Write the manifest of the files that lie below `root` now. Raises `BundleError` naming a file that may not."""
    manifest = Manifest(
        name=name,
        version=version,
        commit=commit,
        key=key,
        flavour=flavour,
        files=dict(_digests(root)),
        trusted=tuple(trusted),
        facts=dict(facts or {}),
    )
    (root / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def read(root: Path) -> Bundle:
    """The bundle at `root`, after comparing every file with the manifest and before parsing any other.

    Raises `BundleError` naming the file that is missing, changed, or not listed.
    """
    manifest = _parsed(root / MANIFEST, Manifest)
    if manifest.format != 1 or manifest.flavour not in FLAVOURS:
        raise BundleError(
            f"{root / MANIFEST}: format {manifest.format}, flavour {manifest.flavour!r} is not known here"
        )
    found = dict(_digests(root))
    for name in sorted(found.keys() | manifest.files.keys()):
        if name not in found:
            raise BundleError(f"{name} is missing from the bundle {root}: build it again")
        if name not in manifest.files:
            raise BundleError(f"{name} is not listed in the manifest of {root}: build the bundle again")
        if found[name] != manifest.files[name]:
            raise BundleError(f"{name} in the bundle {root} was changed after it was built: build it again")
    for name in FLAVOURS[manifest.flavour]:
        if name not in found:
            raise BundleError(f"the bundle {root} has no {name}: build it again")
    signature = _parsed(root / "signature.json", Signature)
    for column, kind in signature.columns.items():
        if kind not in KINDS:
            raise BundleError(f"signature.json of {root}: column {column!r} has the unknown kind {kind!r}")
    return Bundle(root, manifest, signature)


def _parsed(path: Path, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): build the bundle again") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not what a bundle holds: {error}") from error


def _digests(root: Path) -> Iterator[tuple[str, str]]:
    """Relative path and digest of every file and link below `root` but the manifest itself."""
    home = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*files, *(f for f in folders if Path(folder, f).is_symlink())):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if relative == MANIFEST:
                continue
            if path.is_symlink():
                if not path.resolve().is_relative_to(home):
                    raise BundleError(f"{relative} points out of the bundle {root}: remove that link")
                yield relative, hashlib.sha256(b"link:" + os.fsencode(path.readlink())).hexdigest()
            elif path.is_file():
                with path.open("rb") as stream:
                    yield relative, hashlib.file_digest(stream, "sha256").hexdigest()
            else:
                raise BundleError(f"{relative} in the bundle {root} is neither a file nor a link: remove it")
