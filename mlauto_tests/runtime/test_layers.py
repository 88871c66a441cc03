"""Layers: equal files, equal bytes; what an engine would read otherwise is refused."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.engine import EngineImage
from mlauto.runtime.layers import Layer, archive, configuration
from mlauto_tests.runtime.conftest import part

PARENT = EngineImage(
    id="sha256:" + "1" * 64,
    tags=(),
    labels={"old": "label"},
    layers=("sha256:" + "2" * 64, "sha256:" + "3" * 64),
    size=1,
    created="2026-01-01T00:00:00Z",
    config={"Env": ["PATH=/bin"], "User": "10001:10001", "Hostname": "x", "Cmd": ["a"], "Labels": {"old": "label"}},
    architecture="arm64",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files, a program, a link and an empty folder."""
    made = tmp_path / "made"
    (made / "code" / "empty").mkdir(parents=True)
    (made / "plan.json").write_text("{}")
    (made / "code" / "run.sh").write_text("#!/bin/sh\n")
    (made / "code" / "run.sh").chmod(0o700)
    (made / "code" / "link").symlink_to("run.sh")
    (made / "code" / "folder").symlink_to("empty")
    return made


def read(layer: Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer.blocks()))) as whole:
        return {entry.name: entry for entry in whole.getmembers()}


def test_names_rights_and_owners(folder: Path) -> None:
    """Everything belongs to root and can be read by all; programs stay programs; nobody may write."""
    entries = read(Layer({"opt/model": folder}, {"opt/note": b"text"}))

    assert {name: oct(entry.mode) for name, entry in entries.items() if not entry.issym()} == {
        "opt": "0o755",
        "opt/model": "0o755",
        "opt/model/code": "0o755",
        "opt/model/code/empty": "0o755",
        "opt/model/code/run.sh": "0o755",
        "opt/model/plan.json": "0o644",
        "opt/note": "0o644",
    }
    assert {name: entry.linkname for name, entry in entries.items() if entry.issym()} == {
        "opt/model/code/folder": "empty",
        "opt/model/code/link": "run.sh",
    }
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "", 315_532_800)}


def test_equal_files_are_an_equal_layer(folder: Path, tmp_path: Path) -> None:
    """Whenever, by whomever and in whatever order they were written."""
    layer = Layer({"model": folder}, {})
    before = layer.digest()
    os.utime(folder / "plan.json", (1, 1))
    (folder / "plan.json").chmod(0o600)
    moved = folder.rename(tmp_path / "moved")

    assert Layer({"model": moved}, {}).digest() == before
    assert before[0] == f"sha256:{hashlib.sha256(b''.join(Layer({'model': moved}, {}).blocks())).hexdigest()}"
    assert before[1] == len(b"".join(Layer({"model": moved}, {}).blocks()))
    (moved / "plan.json").write_text("[]")
    assert Layer({"model": moved}, {}).digest() != before


def test_what_is_left_out_is_left_out_at_the_top_only(folder: Path) -> None:
    """A folder of that name further down stays."""
    (folder / "sub" / "code").mkdir(parents=True)
    (folder / "sub" / "code" / "x").write_text("x")
    names = read(Layer({"model": folder}, {}, frozenset({"code"})))

    assert set(names) == {"model", "model/plan.json", "model/sub", "model/sub/code", "model/sub/code/x"}


def test_long_and_foreign_names_and_large_files(folder: Path) -> None:
    """Beyond what the oldest archives could say."""
    name = "ä" * 80 + "/" + "b" * 120
    (folder / name).parent.mkdir()
    (folder / name).write_bytes(b"1" * (3 << 20))

    assert read(Layer({"model": folder}, {}))[f"model/{name}"].size == 3 << 20


def test_parts_are_put_one_behind_another(folder: Path, tmp_path: Path) -> None:
    """Each folder is named once, because engines refuse a name that comes twice."""
    parts = tuple(part(tmp_path, name, name) for name in ("one", "two"))
    layer = Layer({"opt/model": folder}, {"opt/note": b"text"}, parts=parts)
    with tarfile.open(fileobj=io.BytesIO(b"".join(layer.blocks()))) as whole:
        names = whole.getnames()
        assert (whole.extractfile("opt/two") or io.BytesIO()).read() == b"two"

    assert {"opt/model/plan.json", "opt/note", "opt/one", "opt/two"} <= set(names)
    assert len(names) == len(set(names))


def test_names_that_remove_files_are_refused(folder: Path) -> None:
    """An engine takes `.wh.x` for the removal of x, so that the image would not be the tree."""
    (folder / ".wh.plan.json").write_text("")
    with pytest.raises(DeliveryError, match=r"model/\.wh\.plan\.json: a file name that begins with \.wh\."):
        Layer({"model": folder}, {}).digest()


def test_neither_a_file_nor_a_link(folder: Path) -> None:
    """A named pipe would be waited for."""
    os.mkfifo(folder / "pipe")
    with pytest.raises(DeliveryError, match="model/pipe is neither a file nor a link"):
        Layer({"model": folder}, {}).digest()


def test_the_configuration_is_the_parents_and_more() -> None:
    """Labels and command are the image's own, the machine's names are nobody's, and the bytes are always the same."""
    arguments = {"command": ["b"], "created": "2026-02-02T00:00:00Z", "said": "a model"}
    made = configuration(PARENT, ["sha256:4"], {"new": "label"}, **arguments)  # type: ignore[arg-type]
    found = json.loads(made)

    assert made == configuration(PARENT, ["sha256:4"], {"new": "label"}, **arguments)  # type: ignore[arg-type]
    assert found["config"] == {
        "Env": ["PATH=/bin"],
        "User": "10001:10001",
        "Cmd": ["b"],
        "Labels": {"new": "label"},
    }
    assert found["architecture"] == "arm64"
    assert found["rootfs"]["diff_ids"] == [*PARENT.layers, "sha256:4"]
    assert len(found["history"]) == 3


def test_without_a_command_the_parents_stays() -> None:
    """A commit's image runs what the workshop runs."""
    made = configuration(PARENT, ["sha256:4"], {}, command=None, created="2026-02-02T00:00:00Z", said="code")

    assert json.loads(made)["config"]["Cmd"] == ["a"]


def test_the_archive_holds_the_configuration_and_the_last_layer(folder: Path) -> None:
    """The manifest names all layers; the engine has the others."""
    layer = Layer({"model": folder}, {})
    size = layer.digest()[1]
    with tarfile.open(fileobj=io.BytesIO(b"".join(archive(b"{}", 2, [(layer, size)], "a:b")))) as whole:
        names = whole.getnames()
        manifest = json.load(whole.extractfile("manifest.json") or io.BytesIO())
        content = (whole.extractfile("2/layer.tar") or io.BytesIO()).read()

    assert names == ["config.json", "manifest.json", "2/layer.tar"]
    assert manifest == [
        {"Config": "config.json", "RepoTags": ["a:b"], "Layers": ["0/layer.tar", "1/layer.tar", "2/layer.tar"]}
    ]
    assert content == b"".join(layer.blocks())
