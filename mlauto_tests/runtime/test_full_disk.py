"""An engine whose disk is full: a second one, on a small file system of its own."""

import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import OWNER_LABEL, Build, EngineError, EngineImage
from mlauto.runtime.flavours import INHERITED, Flavours
from mlauto.runtime.images import Images
from mlauto.serving.bundle import write_manifest
from mlauto.settings import Settings

pytestmark = [pytest.mark.needs("own_engine"), pytest.mark.slow]
MB = 1 << 20


class OneFlavour(Flavours):
    """The same image for every flavour."""

    image: EngineImage

    def get(self, name: str) -> EngineImage:
        """Whatever the name."""
        return self.image


@pytest.fixture
def small_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    """An engine with 64 MB of disk, ended after the test."""
    disk, root = tmp_path / "disk.img", tmp_path / "root"
    run = Path(tempfile.mkdtemp(prefix="e-"))  # its sockets' paths may have 104 bytes
    socket = run / "engine.sock"
    root.mkdir()
    with disk.open("wb") as file:
        file.truncate(64 * MB)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, root], check=True)
    options = ["--data-root", root, "--exec-root", run, "--pidfile", tmp_path / "pid"]
    options += ["--host", f"unix://{socket}", "--bridge", "none", "--iptables=false", "--ip6tables=false"]
    log = (tmp_path / "log").open("wb")
    # in a network of its own: an engine without a bridge removes docker0, which the machine's engine needs
    process = subprocess.Popen(["unshare", "--net", "dockerd", *options], stdout=log, stderr=log)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    engine = DockerEngine()
    try:
        _wait(engine, tmp_path / "log")
        yield engine
    finally:
        engine.close()
        process.terminate()
        process.wait(30)
        log.close()
        subprocess.run(["umount", root], check=True)
        shutil.rmtree(run, ignore_errors=True)


def _wait(engine: DockerEngine, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.version()
        except EngineError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return


def bundle(folder: Path, version: str, size: int) -> Path:
    """A directory that passes for a bundle, of that many bytes."""
    folder.mkdir()
    for name in ("plan.json", "plan.npz"):
        (folder / name).write_text("{}")
    (folder / "signature.json").write_text(
        json.dumps({"columns": {"a": "number"}, "task": "regression", "classes": []})
    )
    (folder / "weights.bin").write_bytes(os.urandom(size))
    write_manifest(folder, name="bikes", version=version, commit="c" * 40, key="k", flavour="compiled")
    return folder


def test_a_full_disk_is_named_and_what_was_there_stays(
    small_engine: DockerEngine, settings: Settings, tmp_path: Path
) -> None:
    """Neither loaded nor built; once there is room again, it goes on."""
    own = dataclasses.replace(settings, cache=tmp_path / "cache")
    (tmp_path / "cache" / "sbom").mkdir(parents=True)
    (tmp_path / "cache" / "sbom" / "d.json").write_text(json.dumps({"serialNumber": "", "components": []}))
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch AS only\nCOPY Dockerfile /\n")
    flavours = OneFlavour(own, small_engine)
    labels = dict.fromkeys(INHERITED, "d")
    flavours.image = small_engine.build(
        Build(context=tmp_path / "context", dockerfile="Dockerfile", target="only", tag="base:1", labels=labels)
    )
    images = Images(own, small_engine, flavours)
    first = images.model("bikes", "1", "k", bundle(tmp_path / "one", "1", 20 * MB))

    with pytest.raises(EngineError, match=r"no space left on device(.|\n)*the engine's disk is full: free some space"):
        images.model("bikes", "2", "k", bundle(tmp_path / "two", "2", 60 * MB))
    assert images.found("bikes", first).id == first.digest
    assert [image.tags for image in small_engine.images({OWNER_LABEL: "", "mlauto.version": "2"})] == []
    assert list((own.home / "tmp").iterdir()) == []
    third = images.model("bikes", "3", "k", bundle(tmp_path / "three", "3", 5 * MB))
    assert images.found("bikes", third).id == third.digest
