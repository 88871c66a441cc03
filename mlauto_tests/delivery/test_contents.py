"""What goes into an image and what must not, on real files."""

import os
import pickle
from pathlib import Path

import pytest

from mlauto.delivery.contents import assemble, inspect
from mlauto.errors import StoreError
from mlauto.records import TrainedModel
from mlauto.serving import bundle
from mlauto.store import Store
from mlauto_tests.delivery.conftest import make_model


@pytest.fixture
def model(store: Store) -> TrainedModel:
    return make_model(store, "3")


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    folder.mkdir(mode=0o700)
    return folder


def assembled(content: Path, model: TrainedModel, store: Store, tree: Path) -> list[str]:
    return assemble(content, "bikes", model, store.tree_path(model.artifact), tree)


def test_a_bundle_as_the_server_wants_it(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """The model's files, the code and a manifest that the serving side accepts; nothing to complain of."""
    assert assembled(content, model, store, tree) == []
    assert inspect(content) == []

    found = bundle.read(content)
    assert (found.manifest.name, found.manifest.version, found.manifest.commit) == ("bikes", "3", "c" * 40)
    assert (found.manifest.key, found.manifest.trusted) == ("key-3", ("bikes.model.Lags",))
    assert set(found.manifest.files) == {
        "model.skops",
        "signature.json",
        "golden.json",
        "code/README.md",
        "code/src/bikes/model.py",
    }
    assert found.import_root == content / "code" / "src"


def test_rights_are_taken_away(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """Scripts of the repository lose their executable bits, and nobody may write."""
    script = tree / "run.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o4777)
    assembled(content, model, store, tree)

    assert inspect(content) == []
    assert {path.stat().st_mode & 0o7777 for path in content.rglob("*") if path.is_file()} == {0o644}


def test_caches_and_git_stay_behind(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """Equal commits make equal images, whatever was run in the export."""
    (tree / "src" / "bikes" / "__pycache__").mkdir()
    (tree / "src" / "bikes" / "__pycache__" / "model.cpython-311.pyc").touch()
    (tree / ".git").mkdir()
    (tree / ".git" / "config").touch()
    (tree / "src" / "old.pyc").touch()
    assembled(content, model, store, tree)

    names = {path.name for path in content.rglob("*")}
    assert names.isdisjoint({"__pycache__", ".git", "old.pyc"})


def test_links_within_the_repository_become_files(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """A link to a file of the tree is that file."""
    (tree / "LICENSE").symlink_to("README.md")

    assert assembled(content, model, store, tree) == []
    assert (content / "code" / "LICENSE").read_text() == "# bikes\n"
    assert not (content / "code" / "LICENSE").is_symlink()


def test_links_that_lead_elsewhere_are_refused(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """Out of the repository, to nothing, to a folder: each is named, and nothing of it is in the image."""
    (tree / "passwords").symlink_to("/etc/passwd")
    (tree / "gone").symlink_to("nowhere")
    (tree / "loop").symlink_to(".")
    (tree / "code").symlink_to("src")

    refused = assembled(content, model, store, tree)

    assert len(refused) == 4
    assert any(text.startswith("code/passwords is a link out of the repository") for text in refused)
    assert any(text.startswith("code/gone is a link to a folder or to nothing") for text in refused)
    assert {path.name for path in (content / "code").iterdir()} == {"src", "README.md"}


@pytest.mark.parametrize("name", ["model.skops", "signature.json", "golden.json"])
def test_an_incomplete_artifact(content: Path, model: TrainedModel, store: Store, tree: Path, name: str) -> None:
    """An error that names what is missing."""
    (store.tree_path(model.artifact) / name).unlink()

    with pytest.raises(StoreError, match=f"version 3 lacks {name}"):
        assembled(content, model, store, tree)


def test_a_list_of_types_that_is_none(content: Path, store: Store, tree: Path) -> None:
    """What the server would trust must be a list of names."""
    with pytest.raises(StoreError, match=r"trusted\.json is no list"):
        assembled(content, make_model(store, "4", trusted={"a": 1}), store, tree)


def test_without_a_list_nothing_more_is_trusted(content: Path, model: TrainedModel, store: Store, tree: Path) -> None:
    """An artifact without the file means: the base list alone."""
    (store.tree_path(model.artifact) / "trusted.json").unlink()
    assembled(content, model, store, tree)

    assert bundle.read(content).manifest.trusted == ()


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("model.pkl", b"x", "pickle"),
        ("sub/Model.JOBLIB", b"x", "pickle"),
        ("hidden.bin", pickle.dumps({"a": 1}), "pickle"),
        (".env", b"A=1", "secret"),
        (".env.production", b"A=1", "secret"),
        ("server.pem", b"x", "secret"),
        ("id_rsa", b"x", "secret"),
        ("notes.txt", b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "secret"),
        (".netrc", b"machine x", "secret"),
        (".env.example", b"A=", None),
        ("environment.yml", b"name: x", None),
        ("monkey.py", b"x = 1", None),
        ("picture.bin", b"\x80\x04 no pickle", None),
        ("short", b"\x80", None),
        ("empty", b"", None),
        ("public.txt", b"-----BEGIN CERTIFICATE-----\n", None),
    ],
)
def test_files_without_a_place_in_an_image(content: Path, name: str, data: bytes, word: str | None) -> None:
    """Pickles and secrets are known by name and by content; what only resembles them passes."""
    path = content / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)

    findings = inspect(content)

    assert len(findings) == (word is not None)
    if word is not None:
        assert findings[0].startswith(name)
        assert word in findings[0]


def test_rights_and_links_are_found(content: Path) -> None:
    """Executable, setuid, writable by anybody, links, sockets and pipes, open folders."""
    for name, mode in (("script", 0o755), ("root", 0o4644), ("shared", 0o666)):
        (content / name).touch()
        (content / name).chmod(mode)
    (content / "link").symlink_to("script")
    os.mkfifo(content / "pipe", 0o600)
    (content / "open").mkdir()
    (content / "open").chmod(0o777)

    findings = inspect(content)

    assert [finding.split()[0] for finding in findings] == ["link", "open", "pipe", "root", "script", "shared"]
