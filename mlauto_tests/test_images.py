"""`make images` and `make push`: what docker is asked for, and both with a real engine and a real registry."""

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from mlauto_tests.conftest import CHECKOUT
from mlauto_tests.integration.conftest import Origin

IMAGES = ("serving", "serving-sklearn", "orchestrator")
DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1 $2 $*" in
"image inspect "*--format*) for last; do :; done; [ -n "$SILENT" ] || echo "other@sha256:0
${last%:*}@sha256:$(printf %s "$last" | sha256sum | cut -c1-64)" ;;
"image inspect "*) [ -z "$ABSENT" ] ;;
push*) echo "progress that nobody parses" ;;
esac
"""
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Origin:
    """A repository with this project's Makefile and script, and a small Dockerfile with the three targets."""
    origin = Origin(tmp_path / "project")
    (origin.path / "scripts").mkdir()
    shutil.copy(CHECKOUT / "Makefile", origin.path / "Makefile")
    shutil.copy(CHECKOUT / "scripts" / "images", origin.path / "scripts" / "images")
    stages = "\n".join(f"FROM ${{BASE}} AS {image}\nCOPY note /{image}" for image in IMAGES)
    origin.write("Dockerfile", f"ARG BASE=scratch\n{stages}\n")
    origin.write("note", "made by a test")
    origin.commit("All of it")
    return origin


@pytest.fixture
def make(project: Origin, tmp_path: Path) -> Make:
    """Runs make there with a docker that only notes what it is asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        env = {**kept, "PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), **environment}
        return subprocess.run(
            ["make", *words], cwd=project.path, env=env, capture_output=True, text=True, check=False, timeout=60
        )

    return run


def calls(tmp_path: Path) -> list[str]:
    """What docker was asked for."""
    path = tmp_path / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_three_targets_are_built_with_the_commit_as_tag(project: Origin, make: Make, tmp_path: Path) -> None:
    """Nothing about base or network unless it is said; the full SHA, also as the OCI label."""
    sha = project.git("rev-parse", "HEAD")

    done = make("images")

    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == [
        f"build --target {image} --label org.opencontainers.image.revision={sha}"
        f" --tag mlauto/{image} --tag mlauto/{image}:{sha} ."
        for image in IMAGES
    ]


def test_base_and_further_options_are_passed_on(make: Make, tmp_path: Path) -> None:
    """As variables of make, for machines without a registry or a network of their own."""
    done = make("images", "BASE=mlauto-base:local", "DOCKER_BUILD_ARGS=--network host --pull=false")

    assert done.returncode == 0, done.stderr
    assert len(calls(tmp_path)) == 3
    assert all(
        call.startswith("build --build-arg BASE=mlauto-base:local --network host --pull=false --target ")
        for call in calls(tmp_path)
    )


def test_changes_that_are_not_committed_show_in_the_tag(project: Origin, make: Make, tmp_path: Path) -> None:
    """Such images can be built, but not pushed."""
    project.write("note", "changed")

    built = make("images")
    pushed = make("push", "REGISTRY=registry.example/team")

    assert built.returncode == 0
    assert all(call.endswith("-dirty .") for call in calls(tmp_path))
    assert pushed.returncode != 0
    assert "not committed" in pushed.stderr


def test_digests_are_all_that_push_prints(project: Origin, make: Make, tmp_path: Path) -> None:
    """One line for each image, of that registry, so that a script can read them."""
    sha = project.git("rev-parse", "HEAD")

    done = make("push", "REGISTRY=registry.example:5000/team")

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition("@sha256:")[0] for line in lines] == [
        f"registry.example:5000/team/mlauto/{image}" for image in IMAGES
    ]
    assert f"push registry.example:5000/team/mlauto/serving:{sha}" in calls(tmp_path)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (["push"], {}, "make push REGISTRY="),
        (["push", "REGISTRY=r"], {"ABSENT": "yes"}, "is not built: make images"),
        (["push", "REGISTRY=r"], {"SILENT": "yes"}, "names no digest"),
        (["images"], {"PATH": "/nonexistent"}, "no docker on PATH"),
    ],
)
def test_what_is_missing_is_named(
    project: Origin, make: Make, words: list[str], environment: dict[str, str], said: str, tmp_path: Path
) -> None:
    """The target fails with the next step, before anything is half pushed."""
    if "PATH" in environment:
        for name in ("make", "bash", "env", "git", "dirname"):
            (tmp_path / "few").mkdir(exist_ok=True)
            (tmp_path / "few" / name).symlink_to(shutil.which(name) or "")
        environment = {"PATH": str(tmp_path / "few")}

    done = make(*words, **environment)

    assert done.returncode != 0
    assert said in done.stderr
    assert not [call for call in calls(tmp_path) if call.startswith("push")] or "digest" in said


@pytest.fixture
def registry(tmp_path: Path, needs: Callable[[str], None]) -> Iterator[str]:
    """A registry of this test's own on loopback; its address."""
    needs("docker")
    needs("docker-registry")
    program = shutil.which("docker-registry")
    assert program is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    storage = f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'registry'}}}}}"
    config.write_text(f"version: 0.1\n{storage}\nhttp: {{addr: {address}}}\n")
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_a_real_registry_holds_what_was_built(project: Origin, registry: str) -> None:
    """The digests that are printed are those under which the registry answers; what this test made is removed."""
    prefix, sha = f"mlauto-test-{uuid.uuid4().hex[:12]}", project.git("rev-parse", "HEAD")
    env = {**os.environ, "IMAGE_PREFIX": prefix}
    local = [f"{prefix}/{image}{tag}" for image in IMAGES for tag in ("", f":{sha}")]
    remote = [f"{registry}/{prefix}/{image}:{sha}" for image in IMAGES]
    try:
        subprocess.run(["make", "images"], cwd=project.path, env=env, check=True, capture_output=True, timeout=120)
        pushed = subprocess.run(
            ["make", "push", f"REGISTRY={registry}"],
            cwd=project.path,
            env=env,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
        digests = [line.partition("@") for line in pushed.stdout.splitlines()]

        assert [name for name, _, _ in digests] == [f"{registry}/{prefix}/{image}" for image in IMAGES]
        for name, _, digest in digests:
            with urlopen(f"http://{registry}/v2/{name.partition('/')[2]}/manifests/{digest}") as answer:
                assert answer.status == 200
    finally:
        subprocess.run(["docker", "rmi", *remote, *local], check=False, capture_output=True, timeout=60)
