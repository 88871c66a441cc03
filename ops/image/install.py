"""Fills an image's virtual environment from a lock: what a build stage of the Dockerfile runs, with the image's Python.

    python3 install.py LOCK ENVIRONMENT [--beside OTHER]

The wheels lie beside the lock, or else come from pip's index; each one is checked against the lock's hash. Tests,
headers and sources of compiled code are left out, bytecode is made for the rest. With `--beside`, what the environment
OTHER holds is not installed again but found there. `/usr/share/mlauto/sbom.json` (CycloneDX 1.6) lists what is in the
image.
"""

import argparse
import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SBOM = Path("/usr/share/mlauto/sbom.json")
LEFT_OUT = ("*.a", "*.c", "*.cpp", "*.h", "*.hpp", "*.pxd", "*.pxi", "*.pyi", "*.pyx", "*.f", "*.f90")
PACKAGES = Path("/var/lib/dpkg/status")
Component = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Install, strip, compile and list; the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("lock", type=Path)
    parser.add_argument("environment", type=Path)
    parser.add_argument("--beside", type=Path)
    options = parser.parse_args(arguments)
    site = site_of(options.environment)
    others = [site_of(options.beside)] if options.beside else []
    wheels = install(options.lock, options.environment, names_in(others))
    (site / "mlauto.pth").write_text("".join(f"{path}\n" for path in ["/opt/mlauto", *others]))
    strip(site)
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", site]
    subprocess.run(command, check=True)
    earlier = json.loads(SBOM.read_text())["components"] if others else debian(PACKAGES)
    SBOM.parent.mkdir(parents=True, exist_ok=True)
    SBOM.write_text(json.dumps(sbom([*earlier, *python_packages(site, wheels)]), indent=1))
    return 0


def site_of(environment: Path) -> Path:
    """The folder of its packages."""
    names = {"base": str(environment), "platbase": str(environment)}
    return Path(sysconfig.get_path("purelib", "posix_prefix", vars=names))


def names_in(folders: Iterable[Path]) -> set[str]:
    """The distributions there, by their normalized names."""
    found = importlib.metadata.distributions(path=[str(folder) for folder in folders])
    return {normalized(one.metadata["Name"]) for one in found}


def normalized(name: str) -> str:
    """As indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(lock: Path, environment: Path, there: set[str]) -> dict[str, str]:
    """Have pip install what is locked and not `there`; the SHA-256 of every wheel by the distribution's name."""
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    wanted = [entry for entry in entries if normalized(entry.partition("==")[0]) not in there]
    rest = lock.with_name("wanted.txt")
    rest.write_text("\n".join(wanted) + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    exact = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", rest]
    if not any(lock.parent.glob("*.whl")):
        subprocess.run([*pip, "download", "--no-cache-dir", *exact, "-d", lock.parent], check=True)
    local = ["--no-compile", "--no-index", "--find-links", lock.parent]
    python = environment / "bin" / "python"
    subprocess.run([*pip, "--python", python, "install", "--root-user-action", "ignore", *local, *exact], check=True)
    return {
        normalized(path.name.partition("-")[0]): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in lock.parent.glob("*.whl")
    }


def strip(site: Path) -> None:
    """Remove what is needed for building and testing the packages themselves."""
    for folder in [path for path in site.rglob("tests") if path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)  # one may lie in another
    for pattern in LEFT_OUT:
        for path in site.rglob(pattern):
            path.unlink()


def python_packages(site: Path, wheels: dict[str, str]) -> list[Component]:
    """One component for each distribution."""
    return [python_package(one, wheels) for one in importlib.metadata.distributions(path=[str(site)])]


def python_package(one: importlib.metadata.Distribution, wheels: dict[str, str]) -> Component:
    """The component of one distribution, with its wheel's SHA-256."""
    name = normalized(one.metadata["Name"])
    component = _component("pypi", name, one.version)
    if name in wheels:
        component["hashes"] = [{"alg": "SHA-256", "content": wheels[name]}]
    declared = one.metadata.get("License-Expression")
    names = [
        line.rpartition(" :: ")[2] for line in one.metadata.get_all("Classifier", ()) if line.startswith("License")
    ]
    if declared:
        component["licenses"] = [{"expression": declared}]
    elif names:
        component["licenses"] = [{"license": {"name": name}} for name in names]
    return component


def debian(status: Path) -> list[Component]:
    """One component for each package of the distribution; none where it has no such list."""
    if not status.is_file():
        return []
    blocks = (dict(re.findall(r"^(\S+): (.*)$", block, re.MULTILINE)) for block in status.read_text().split("\n\n"))
    return [
        _component("deb/debian", block["Package"], block["Version"], f"?arch={block['Architecture']}")
        for block in blocks
        if block.get("Status") == "install ok installed"
    ]


def _component(kind: str, name: str, version: str, qualifiers: str = "") -> Component:
    escaped = version.replace("+", "%2B").replace(":", "%3A")
    purl = f"pkg:{kind}/{name.replace('+', '%2B')}@{escaped}{qualifiers}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def sbom(components: list[Component]) -> dict[str, Any]:
    """The bill of materials; equal components, equal bytes."""
    ordered = sorted(components, key=lambda component: str(component["purl"]))
    content = json.dumps(ordered, sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "components": ordered,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
