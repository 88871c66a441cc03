"""Images of commits and models: one layer, found again by content, started only when they are what they should be."""

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import httpx
import pytest

from mlauto.errors import DeliveryError
from mlauto.runtime.asking import answer
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.engine import OWNER, OWNER_LABEL, EngineError, EngineImage
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.flavours import KIND_LABEL, Flavours
from mlauto.runtime.images import COMMIT_LABEL, PARENT_LABEL, PRODUCT_LABEL, VERSION_LABEL, Images
from mlauto.runtime.maker import KEY_LABEL
from mlauto.serving.bundle import write_manifest
from mlauto.settings import Settings
from mlauto.store import Store
from mlauto_tests.conftest import python_with
from mlauto_tests.runtime.conftest import remove_all
from mlauto_tests.serving.conftest import free_port

Copied = Callable[[str], Path]
KEY = "k" * 64


class RefusingEngine(DockerEngine):
    """An engine that takes no archive which leaves layers out, as some stores of images do."""

    def load(self, archive: Iterable[bytes]) -> None:
        raise EngineError("an image cannot be loaded: layers are missing")


@pytest.fixture
def small(fake: FakeEngine, contained: Settings, checkout: Path) -> Images:
    """Images on the small checkout's flavours, on the engine in memory."""
    return Images(contained, fake, Flavours(contained, fake, checkout))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A commit's files."""
    folder = tmp_path / "tree"
    (folder / "team").mkdir(parents=True)
    (folder / "team" / "model.py").write_text("build = 1\n")
    return folder


def held(engine: FakeEngine, identity: str) -> EngineImage:
    found = engine.image(identity)
    assert found is not None
    return found


def count(engine: FakeEngine, name: str) -> int:
    return sum(call == name for call, _ in engine.calls)


def test_a_model_is_one_layer_on_its_flavour(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """The labels say what it is and where it comes from; the bundle stays where it is."""
    content = copied("bikes-1")
    image = small.model("bikes", "1", KEY, content)
    found = held(fake, image.digest)
    code = held(fake, found.labels[PARENT_LABEL])

    assert (image.kind, image.reference, image.version, image.key) == ("container", image.digest, "1", KEY)
    assert found.layers[:-1] == code.layers
    assert (code.labels[KIND_LABEL], found.labels[KIND_LABEL]) == ("code", "model")
    expected = {OWNER_LABEL: OWNER, PRODUCT_LABEL: "bikes", VERSION_LABEL: "1", KEY_LABEL: KEY, COMMIT_LABEL: "c" * 40}
    assert expected.items() <= found.labels.items()
    assert found.labels["org.opencontainers.image.revision"] == "c" * 40
    assert found.labels["org.opencontainers.image.base.digest"] == held(fake, "base:1").id
    assert content.is_dir()


def test_the_bill_of_materials_is_kept(small: Images, contained: Settings, copied: Copied) -> None:
    """Beside the record, for whoever looks at the asset."""
    image = small.model("bikes", "1", KEY, copied("bikes-1"))
    found = json.loads(Store(contained.home).verified_file(image.sbom).read_bytes())

    assert found["metadata"]["component"]["name"] == "bikes"


def test_facts_of_the_bundle_are_labels(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """Data set, MLflow run, time of training."""
    content = copied("bikes-1")
    facts = {"dataset": "d" * 64, "mlflow.run": "r" * 32, "trained": "2026-11-25T12:00:00Z"}
    write_manifest(content, name="bikes", version="1", commit="c" * 40, key=KEY, facts=facts)
    found = held(fake, small.model("bikes", "1", KEY, content).digest)

    assert found.labels["mlauto.dataset"] == "d" * 64
    assert found.labels["mlauto.mlflow.run"] == "r" * 32
    assert found.labels["org.opencontainers.image.created"] == found.created == "2026-11-25T12:00:00Z"


def test_equal_content_is_found_again(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """Nothing is loaded or built for it; other content is another image."""
    content = copied("bikes-1")
    first = small.model("bikes", "1", KEY, content)
    done = count(fake, "load"), count(fake, "build")
    assert small.model("bikes", "1", KEY, content) == first
    assert (count(fake, "load"), count(fake, "build")) == done

    (content / "card.md").write_text("a card")
    write_manifest(content, name="bikes", version="1", commit="c" * 40, key=KEY)
    assert small.model("bikes", "1", KEY, content).digest != first.digest
    assert (count(fake, "load"), count(fake, "build")) == (done[0] + 1, done[1])


def test_the_layer_is_built_where_it_cannot_be_loaded(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """And found again, though its id is not the one that was reckoned."""
    fake.refuses_load = True
    content = copied("bikes-1")
    first = small.model("bikes", "1", KEY, content)
    builds = count(fake, "build")

    assert small.model("bikes", "1", KEY, content) == first
    assert count(fake, "build") == builds
    assert held(fake, first.digest).labels[VERSION_LABEL] == "1"


def test_a_bundle_of_something_else_is_refused(small: Images, copied: Copied) -> None:
    """Another version, another product, or a file that was changed."""
    content = copied("bikes-1")
    with pytest.raises(DeliveryError, match="is version 1 of bikes, not 2 of bikes"):
        small.model("bikes", "2", KEY, content)
    (content / "golden.json").write_text("{}")
    with pytest.raises(DeliveryError, match=r"golden\.json in the bundle .* was changed"):
        small.model("bikes", "1", KEY, content)


def test_only_what_it_should_be_is_started(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """An id whose labels say another key, version or product, or that is not there, is an error with the next step."""
    image = small.model("bikes", "1", KEY, copied("bikes-1"))
    assert small.found("bikes", image).id == image.digest

    for product, changed, word in (
        ("cars", {}, "mlauto.product='bikes', not 'cars'"),
        ("bikes", {"version": "2"}, "mlauto.version='1', not '2'"),
        ("bikes", {"key": "other"}, "mlauto.key="),
        ("bikes", {"digest": held(fake, "base:1").id}, "mlauto.owner=None"),
        ("bikes", {"digest": "sha256:0"}, "has no image sha256:0: materialize bikes/image"),
    ):
        with pytest.raises(DeliveryError, match=word):
            small.found(product, dataclasses.replace(image, **changed))


def test_a_moved_tag_changes_nothing(small: Images, fake: FakeEngine, copied: Copied) -> None:
    """What is started is what the id says."""
    image = small.model("bikes", "1", KEY, copied("bikes-1"))
    (tag,) = held(fake, image.digest).tags
    fake.tag(fake.put("evil:1").id, tag)

    assert held(fake, tag).id != image.digest
    assert small.found("bikes", image).id == image.digest


def test_a_commit_is_one_layer_on_the_workshop(small: Images, fake: FakeEngine, tree: Path) -> None:
    """The same tree is the same image, whatever the commit says besides; the history of git is not in it."""
    first = small.workshop("bikes", "a" * 40, tree)
    (tree / ".git").mkdir()
    (tree / ".git" / "config").write_text("secret")

    assert small.workshop("bikes", "a" * 40, tree).id == first.id
    assert first.labels[COMMIT_LABEL] == "a" * 40
    assert held(fake, first.labels[PARENT_LABEL]).labels[KIND_LABEL] == "flavour"
    (tree / "team" / "model.py").write_text("build = 2\n")
    assert small.workshop("bikes", "b" * 40, tree).id != first.id


def test_tidying_keeps_what_the_kept_stand_on(small: Images, fake: FakeEngine, copied: Copied, tree: Path) -> None:
    """The newest version, its code and flavour stay; older versions and finished commits go."""
    fake.moment = "2026-01-01T00:00:00Z"
    content = copied("bikes-1")
    old = small.model("bikes", "1", KEY, content)
    write_manifest(content, name="bikes", version="2", commit="c" * 40, key=KEY)
    new = small.model("bikes", "2", KEY, content)
    small.workshop("bikes", "a" * 40, tree)
    removed = small.tidy("bikes", [new], time.time())

    assert fake.image(old.digest) is None
    assert small.found("bikes", new).id == new.digest
    assert len(removed) == 2
    assert small.tidy("bikes", [new], time.time()) == ()


@pytest.mark.needs("docker")
@pytest.mark.slow
@pytest.mark.parametrize("kind", [DockerEngine, RefusingEngine])
def test_a_model_answers_from_its_container(
    kind: type[DockerEngine], flavours: Flavours, docker: DockerEngine, settings: Settings, copied: Copied
) -> None:
    """Loaded as a layer or built: it runs unprivileged on a read-only root, and says the version that it is."""
    engine = kind()
    images = Images(_with_cache(settings, flavours), engine, flavours)
    content = copied("bikes-1")
    image = images.model("bikes", "1", KEY, content)
    assert images.model("bikes", "1", KEY, content) == image
    found = images.found("bikes", image)

    listing = answer(docker, settings, found, "sh", "-c", "cd /model; find . -type f | sort; cat manifest.json; id -u")
    for path in (path for path in content.rglob("*") if path.is_file()):
        assert f"./{path.relative_to(content).as_posix()}\n" in listing
    assert (content / "manifest.json").read_text() in listing
    assert listing.endswith("10001\n")
    bill = json.loads(answer(docker, settings, found, "cat", "/usr/share/mlauto/sbom.json"))
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    assert "scikit-learn" in {component["name"] for component in bill["components"]}
    assert _version_of_container(found.id) == "1"
    engine.close()


def _version_of_container(identity: str) -> str:
    """The version that a container of that image names on a port of this machine, started as anybody would."""
    port = free_port()
    command = [
        "docker",
        "run",
        "--rm",
        "-d",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "-p",
        f"127.0.0.1:{port}:8080",
        identity,
    ]
    container = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                reply = httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", trust_env=False)
            except httpx.TransportError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
                continue
            return str(reply.headers["x-mlauto-version"])
    finally:
        subprocess.run(["docker", "kill", container], capture_output=True, check=True)


VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))
"""


def validated(bill: str) -> str:
    """What the library says, in the environment that has it: "None" for a bill that is valid."""
    python = python_with("cyclonedx")
    assert python is not None
    done = subprocess.run([python, "-c", VALIDATE], input=bill, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.strip()


@pytest.mark.needs("docker", "cyclonedx")
@pytest.mark.slow
def test_a_bill_of_materials_is_a_valid_one(
    flavours: Flavours, docker: DockerEngine, settings: Settings, copied: Copied
) -> None:
    """To the strict schema of CycloneDX 1.6, as its own library checks it; which finds a fault where there is one."""
    own = _with_cache(settings, flavours)
    image = Images(own, docker, flavours).model("bikes", "1", KEY, copied("bikes-1"))
    bill = Store(own.home).verified_file(image.sbom).read_text()

    assert validated(bill) == "None"
    assert "'liberry' is not one of" in validated(bill.replace('"library"', '"liberry"', 1))


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_the_same_content_has_the_same_id_again(
    flavours: Flavours, docker: DockerEngine, settings: Settings, copied: Copied, tree: Path
) -> None:
    """Also after it was removed."""
    images = Images(_with_cache(settings, flavours), docker, flavours)
    content = copied("bikes-1")
    first = images.model("bikes", "1", KEY, content), images.workshop("bikes", "a" * 40, tree).id
    remove_all(docker, settings)
    assert docker.image(first[0].digest) is None

    assert (images.model("bikes", "1", KEY, content), images.workshop("bikes", "a" * 40, tree).id) == first


def _with_cache(settings: Settings, flavours: Flavours) -> Settings:
    """The test's own state directory, and what the flavours that it shares were made with."""
    return dataclasses.replace(settings, cache=flavours._settings.cache, base_image=flavours._settings.base_image)


@pytest.fixture
def registry(needs: Callable[[str], None], tmp_path: Path) -> Iterator[str]:
    """The address of a registry on this machine, ended after the test."""
    needs("registry")
    port = free_port()
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(config))
    log = (tmp_path / "registry.log").open("wb")
    process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).raise_for_status()
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline, (tmp_path / "registry.log").read_text()
            time.sleep(0.05)
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(20)
    log.close()


@pytest.mark.needs("docker")
@pytest.mark.slow
def test_an_engine_that_lacks_it_pulls_by_digest(
    registry: str, flavours: Flavours, docker: DockerEngine, settings: Settings, copied: Copied
) -> None:
    """What comes is what was pushed; another image under that digest's name is refused."""
    own = dataclasses.replace(_with_cache(settings, flavours), registry=registry)
    images = Images(own, docker, flavours)
    image = images.model("bikes", "1", KEY, copied("bikes-1"))
    assert image.reference.startswith(f"{registry}/bikes@sha256:")
    remove_all(docker, settings)
    assert docker.image(image.digest) is None

    assert images.found("bikes", image).id == image.digest
    remove_all(docker, settings)
    with pytest.raises(DeliveryError, match=r"is image sha256:.*, not sha256:0+: it is not started"):
        images.found("bikes", dataclasses.replace(image, digest=f"sha256:{'0' * 64}"))
    nowhere = f"sha256:{'1' * 64}"  # in full: the engine takes a part for any image that begins so
    missing = dataclasses.replace(image, digest=nowhere, reference=f"{registry}/bikes@{nowhere}")
    with pytest.raises(DeliveryError, match="cannot be pulled"):
        images.found("bikes", missing)


def test_a_pushed_image_names_registry_and_digest(
    small: Images, fake: FakeEngine, contained: Settings, checkout: Path, copied: Copied
) -> None:
    """The tag is no other image's; the record carries the digest."""
    own = dataclasses.replace(contained, registry="registry:5000/team")
    image = Images(own, fake, Flavours(own, fake, checkout)).model("bikes", "1", KEY, copied("bikes-1"))

    assert image.reference == f"registry:5000/team/bikes@{image.digest}"
    assert ("push", f"registry:5000/team/bikes:1-{image.digest[7:19]}") in fake.calls
