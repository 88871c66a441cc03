"""Bundles are what their manifest says, or are not read."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlauto.serving.bundle import read, write_manifest
from mlauto.serving.errors import BundleError
from mlauto_tests.serving.conftest import COLUMNS, ROW

Copied = Callable[[str], Path]


def rewritten(root: Path) -> None:
    write_manifest(root, name="bikes", version="1", commit="c", key="k")


def test_a_bundle_is_read_with_its_signature(bundles: dict[str, Path]) -> None:
    """Manifest, signature, golden rows, model file and the root of the team's packages."""
    found = read(bundles["skies-1"])

    assert (found.manifest.name, found.manifest.version, found.manifest.flavour) == ("skies", "1", "sklearn")
    assert found.signature.columns == COLUMNS
    assert found.signature.classes == ("no", "yes")
    assert found.golden_rows() == [ROW, dict.fromkeys(COLUMNS)]
    assert found.model.is_file()
    assert found.import_root == bundles["skies-1"] / "code" / "src"
    assert "code/src/team/__init__.py" in found.manifest.files


def test_code_without_src_is_its_own_root(copied: Copied) -> None:
    """`code` where there is no `code/src`; nothing where there is no code; no golden rows where there is no file."""
    root = copied("bikes-1")
    (root / "code" / "src").rename(root / "code" / "lib")
    (root / "golden.json").unlink()
    rewritten(root)
    found = read(root)

    assert found.import_root == root / "code"
    assert found.golden_rows() == []
    for path in sorted((root / "code").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "code").rmdir()
    rewritten(root)
    assert read(root).import_root is None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "golden.json").write_text("{}"), r"golden\.json .* was changed"),
        (lambda root: (root / "golden.json").unlink(), r"golden\.json is missing"),
        (lambda root: (root / "extra.py").write_text(""), r"extra\.py is not listed"),
        (lambda root: (root / "manifest.json").unlink(), r"manifest\.json cannot be read"),
        (lambda root: (root / "manifest.json").write_text("{"), "is not what a bundle holds"),
        (lambda root: (root / "manifest.json").write_text('{"name": 1}'), "is not what a bundle holds"),
        (lambda root: (root / "link").symlink_to("/etc/passwd"), "link points out of the bundle"),
        (lambda root: (root / "code" / "etc").symlink_to("/etc"), "code/etc points out of the bundle"),
        (lambda root: os.mkfifo(root / "pipe"), "neither a file nor a link"),
    ],
    ids=["changed", "missing", "extra", "no-manifest", "no-json", "wrong-manifest", "link", "folder-link", "pipe"],
)
def test_damage_is_named(copied: Copied, damage: Callable[[Path], object], words: str) -> None:
    """The error names the file, and what to do."""
    root = copied("bikes-1")
    damage(root)

    with pytest.raises(BundleError, match=words):
        read(root)


def test_links_within_the_bundle_are_followed_by_their_target(copied: Copied) -> None:
    """A link of the team's tree is listed; pointing it elsewhere is a change."""
    root = copied("bikes-1")
    (root / "code" / "again").symlink_to("src")
    rewritten(root)
    assert "code/again" in read(root).manifest.files

    (root / "code" / "again").unlink()
    (root / "code" / "again").symlink_to("src/team")
    with pytest.raises(BundleError, match=r"code/again in the bundle .* was changed"):
        read(root)


def test_unknown_formats_and_kinds_are_refused(copied: Copied) -> None:
    """A later format, another flavour, a column of an unknown kind, a bundle without model."""
    root = copied("bikes-1")
    manifest = json.loads((root / "manifest.json").read_text())
    for change in ({"format": 2}, {"flavour": "onnx"}):
        (root / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(BundleError, match="is not known here"):
            read(root)
    (root / "signature.json").write_text(json.dumps({"columns": {"x": "blob"}, "task": "regression"}))
    rewritten(root)
    with pytest.raises(BundleError, match="column 'x' has the unknown kind 'blob'"):
        read(root)
    (root / "model.skops").unlink()
    rewritten(root)
    with pytest.raises(BundleError, match=r"has no model\.skops"):
        read(root)
