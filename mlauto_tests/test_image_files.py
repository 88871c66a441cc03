"""What images are made from: the locks that are parts of ours, the Dockerfile, the installer of a build stage."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from mlauto.runtime.recipe import locked, needed
from mlauto_tests.conftest import CHECKOUT

IMAGES = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["mlauto"]["images"]
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: the C library
 more of it

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1:2.0~rc1
"""


@pytest.fixture
def installer() -> ModuleType:
    """The script of the build stages, as a module."""
    spec = importlib.util.spec_from_file_location("install", CHECKOUT / "ops" / "image" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", IMAGES)
def test_an_images_lock_is_a_part_of_ours(name: str) -> None:
    """What was tested is what is installed: the same versions, markers and hashes, and whatever was asked for."""
    ours = {(one.name, one.version): one.text for one in locked((CHECKOUT / "requirements-dev.lock").read_text())}
    theirs = locked((CHECKOUT / f"requirements-{name}.lock").read_text())

    assert {(one.name, one.version): one.text for one in theirs}.items() <= ours.items()
    assert set(IMAGES[name]) <= {one.name for one in theirs}
    assert {"dagster", "mlflow", "great-expectations", "pip"} & {one.name for one in theirs} == set()


def test_each_image_holds_more_than_the_one_below() -> None:
    """The workshop stands on what serves."""
    names = [
        {(one.name, one.version) for one in locked((CHECKOUT / f"requirements-{name}.lock").read_text())}
        for name in ("serving", "sklearn", "workshop")
    ]

    assert names[0] < names[1] < names[2]


def test_the_locks_are_what_the_script_writes(tmp_path: Path) -> None:
    """Asked again, in a copy of what it reads, it writes the same."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/sublocks", "pyproject.toml", "requirements-dev.lock"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    subprocess.run([sys.executable, tmp_path / "scripts" / "sublocks"], check=True, capture_output=True)

    for name in IMAGES:
        lock = f"requirements-{name}.lock"
        assert (tmp_path / lock).read_text() == (CHECKOUT / lock).read_text()


def test_a_lock_without_what_is_needed_is_named(tmp_path: Path) -> None:
    """With the way to get it."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/sublocks", "pyproject.toml"):
        (tmp_path / name).write_text((CHECKOUT / name).read_text())
    (tmp_path / "requirements-dev.lock").write_text((CHECKOUT / "requirements-serving.lock").read_text())
    command = [sys.executable, tmp_path / "scripts" / "sublocks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert re.search(r"sklearn: requirements-dev.lock lacks .*scikit-learn.*: run scripts/lock", done.stderr)


@pytest.mark.parametrize("target", ["serving", "serving-sklearn", "workshop", "orchestrator"])
def test_targets_are_unprivileged_and_need_no_buildx(target: str) -> None:
    """The last user is not root; nothing is mounted into a build; the base is an argument."""
    text = needed((CHECKOUT / "Dockerfile").read_text(), target, {})
    last = text.rpartition("\nFROM")[2]

    assert re.findall(r"^USER (\S+)", last, re.MULTILINE)[-1] in ("10001:10001", "mlauto")
    assert "--mount" not in text
    assert "python:" not in text.partition("\n")[2]


def test_what_a_build_takes_is_let_through() -> None:
    """Every path that the Dockerfile copies is an exception in .dockerignore."""
    allowed = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
        for word in line.split()[:-1]
    ]

    assert "mlauto/serving" in sources
    for source in sources:
        plain = source.replace("wheel[s]", "wheels")
        assert any(
            plain == a or plain.startswith(f"{a}/") or ("*" in a and plain.startswith("requirements")) for a in allowed
        ), source


def test_packages_of_the_distribution_are_listed(installer: ModuleType, tmp_path: Path) -> None:
    """Those that are installed, with what their names mean in a purl; an image without such a list has none."""
    (tmp_path / "status").write_text(STATUS)

    assert installer.debian(tmp_path / "status") == [
        {
            "type": "library",
            "bom-ref": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
            "name": "libc6",
            "version": "2.36-9+deb12u10",
            "purl": "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64",
        }
    ]
    assert installer.debian(tmp_path / "nothing") == []


def test_packages_of_python_are_listed(installer: ModuleType, tmp_path: Path) -> None:
    """Name, version, purl, licence as declared, and the hash of the wheel that it came from."""
    for name, licence in (
        ("One_A", "License-Expression: MIT"),
        ("two", "Classifier: License :: OSI Approved :: BSD License"),
    ):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{licence}\n")
    found = {one["name"]: one for one in installer.python_packages(tmp_path, {"one-a": "a" * 64})}

    assert found["one-a"]["purl"] == "pkg:pypi/one-a@1.0"
    assert found["one-a"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert found["one-a"]["licenses"] == [{"expression": "MIT"}]
    assert found["two"]["licenses"] == [{"license": {"name": "BSD License"}}]
    assert "hashes" not in found["two"]


def test_a_list_is_a_bill_of_materials(installer: ModuleType) -> None:
    """The same for the same components, whatever their order; with no time in it."""
    components = installer.debian(Path("/nowhere")) + [installer._component("pypi", name, "1") for name in "ba"]
    found = installer.sbom(components)

    assert json.dumps(installer.sbom(components[::-1])) == json.dumps(found)
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    assert [one["name"] for one in found["components"]] == ["a", "b"]
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["serialNumber"])


def test_what_only_builds_is_left_out(installer: ModuleType, tmp_path: Path) -> None:
    """Tests, headers, sources; not what a user may import."""
    for name in (
        "a/tests/inner/tests/x.py",
        "a/testing/y.py",
        "a/z.pyx",
        "a/z.so",
        "a/core.h",
        "a/w.pyi",
        "a/data.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    installer.strip(tmp_path)

    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "a/data.json",
        "a/testing/y.py",
        "a/z.so",
    ]
