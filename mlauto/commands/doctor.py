"""`mlauto doctor`: what is missing on this machine, and what to do about it. Looks only; changes nothing."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import httpx

from mlauto.commands.doctor_engine import base_image, engine
from mlauto.commands.finding import Finding
from mlauto.serving.plan import walker_file
from mlauto.settings import PACKAGE, Settings

__all__ = ["examine", "missing_bytecode", "version_differences"]

HEAVY = ("great_expectations", "sklearn", "mlflow", "dagster", "pandas", "scipy")
SAMPLE = 40  # files looked at per package
UI_PORT = 3000
SOCKET_PATH_LIMIT = 100  # Linux allows 107 bytes for the path of a unix socket


def examine(settings: Settings, environment: Mapping[str, str] | None = None) -> list[Finding]:
    """All findings, in the order in which to mend them."""
    env = os.environ if environment is None else environment
    looks: tuple[Callable[[], Finding], ...] = (
        _python,
        _git,
        lambda: _versions(PACKAGE.parent / "requirements.lock"),
        lambda: _bytecode(env),
        lambda: _threads(env),
        lambda: _disk(settings.home),
        _memory,
        lambda: _state_directory(settings.home),
        lambda: _gateway_port(settings),
        _ui_port,
        _compiler,
        lambda: engine(settings, env),
        *((lambda: base_image(settings),) if settings.runtime == "docker" else ()),
        _chromium,
    )
    return [look() for look in looks]


def missing_bytecode(package: str) -> tuple[int, int]:
    """Of a sample of a package's modules: how many have no bytecode that this Python can use, and how many were seen.

    The package is found, not imported. Raises `ModuleNotFoundError` when it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package}")
    sources = _sources(Path(spec.submodule_search_locations[0]))
    seen = [source for source, _ in zip(sources, range(SAMPLE), strict=False)]
    missing = [source for source in seen if not Path(importlib.util.cache_from_source(str(source))).exists()]
    return len(missing), len(seen)


def version_differences(lock: Path) -> list[str]:
    """What is installed otherwise than `lock` says, as `name locked -> installed`, for this platform's lines."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    installed = {canonicalize_name(found.name): found.version for found in metadata.distributions() if found.name}
    differences = []
    for line in lock.read_text().splitlines():
        if "==" not in line or line.lstrip().startswith(("#", "--")):
            continue
        wanted = Requirement(line.rstrip("\\ "))
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        have = installed.get(canonicalize_name(wanted.name))
        if have is None or not wanted.specifier.contains(have, prereleases=True):
            differences.append(f"{wanted.name} {wanted.specifier} -> {have or 'not installed'}")
    return differences


def _sources(root: Path) -> Iterator[Path]:
    """Python files of a package, its sub-packages included, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", "tests"))
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 14):
        return Finding(name="Python", status="ok", observed=f"{version} ({sys.executable})")
    advice = "delete .venv, then: PYTHON=python3.12 make setup"
    return Finding(name="Python", status="missing", observed=f"{version}, 3.11 to 3.14 wanted", advice=advice)


def _git() -> Finding:
    if shutil.which("git") is None:
        return Finding(name="git", status="missing", observed="not on PATH", advice="apt-get install git")
    told = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    return Finding(name="git", status="ok", observed=told.strip().removeprefix("git version "))


def _versions(lock: Path) -> Finding:
    if not lock.exists():
        return Finding(name="versions", status="optional", observed=f"no lock at {lock}")
    differences = version_differences(lock)
    if not differences:
        return Finding(name="versions", status="ok", observed=f"as {lock.name} says")
    shown = "; ".join(differences[:4]) + (f"; {len(differences) - 4} more" if len(differences) > 4 else "")
    return Finding(name="versions", status="missing", observed=shown, advice="rm .venv/.mlauto-setup; make setup")


def _bytecode(env: Mapping[str, str]) -> Finding:
    bare = []
    for package in HEAVY:
        missing, seen = missing_bytecode(package)
        if missing > seen * 0.1:  # a few files are templates that no interpreter could compile
            bare.append(f"{package} ({missing} of {seen})")
    if bare:
        return Finding(
            name="bytecode",
            status="missing",
            observed=f"not compiled: {', '.join(bare)}; every start takes twice as long",
            advice=f"{sys.executable} -m compileall -q {sysconfig.get_path('purelib')}",
        )
    if env.get("PYTHONDONTWRITEBYTECODE"):
        advice = 'unset PYTHONDONTWRITEBYTECODE (make does; so does eval "$(mlauto env)")'
        observed = "compiled, but PYTHONDONTWRITEBYTECODE is set: your own modules stay uncompiled"
        return Finding(name="bytecode", status="optional", observed=observed, advice=advice)
    return Finding(name="bytecode", status="ok", observed=f"compiled: {', '.join(HEAVY)}")


def _threads(env: Mapping[str, str]) -> Finding:
    value = env.get("OMP_NUM_THREADS")
    if value:
        return Finding(name="OpenMP threads", status="ok", observed=f"OMP_NUM_THREADS={value}")
    observed = f"OMP_NUM_THREADS is not set: {os.cpu_count()} threads per process, slow on a busy machine"
    advice = 'export OMP_NUM_THREADS=1 (make does; so does eval "$(mlauto env)")'
    return Finding(name="OpenMP threads", status="optional", observed=observed, advice=advice)


def _disk(home: Path) -> Finding:
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free >= 2:
        return Finding(name="disk", status="ok", observed=f"{free:.0f} GB free at {there}")
    advice = "free 2 GB there, or set MLAUTO_HOME to a larger disk"
    return Finding(name="disk", status="missing", observed=f"{free:.1f} GB free at {there}", advice=advice)


def _memory() -> Finding:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return Finding(name="memory", status="optional", observed="not measured on this system")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) / 1e6
    if free >= 1.5:
        return Finding(name="memory", status="ok", observed=f"{free:.1f} GB available")
    advice = "the UI, daemon, gateway and one model take 1.2 GB: end other programs"
    return Finding(name="memory", status="missing", observed=f"{free:.1f} GB available", advice=advice)


def _state_directory(home: Path) -> Finding:
    path = str(home / "gateway" / "control.sock")
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        advice = "set MLAUTO_HOME to a shorter path"
        observed = f"{path} is too long for a unix socket"
        return Finding(name="state directory", status="missing", observed=observed, advice=advice)
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        advice = f"chown it, or set MLAUTO_HOME (now {home})"
        return Finding(name="state directory", status="missing", observed=f"{there} is not writable", advice=advice)
    return Finding(name="state directory", status="ok", observed=str(home))


def _gateway_port(settings: Settings) -> Finding:
    name = f"port {settings.gateway_port}"
    if _free(settings.gateway_host, settings.gateway_port):
        return Finding(name=name, status="ok", observed="free, for the gateway")
    try:
        ours = httpx.get(f"{settings.gateway_url}/v2/health/live", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        ours = False
    if ours:
        return Finding(name=name, status="ok", observed="the gateway answers")
    advice = "end the program that listens there, or set MLAUTO_GATEWAY_PORT"
    return Finding(name=name, status="missing", observed="taken by something else", advice=advice)


def _ui_port() -> Finding:
    if _free("127.0.0.1", UI_PORT):
        return Finding(name=f"port {UI_PORT}", status="ok", observed="free, for the Dagster UI")
    advice = "if that is not your own `mlauto dev`: mlauto dev --port 3001"
    return Finding(name=f"port {UI_PORT}", status="optional", observed="something listens there", advice=advice)


def _compiler() -> Finding:
    found = walker_file.brought() or walker_file.compiler()
    if found:
        return Finding(name="C compiler", status="ok", observed=str(found))
    advice = "trees are walked by numpy, several times slower; for the fast walker: apt-get install gcc"
    return Finding(name="C compiler", status="optional", observed="not on PATH", advice=advice)


def _chromium() -> Finding:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found:
        return Finding(name="Chromium", status="ok", observed=found)
    advice = "only for tests that look at the UI: apt-get install chromium"
    return Finding(name="Chromium", status="optional", observed="not on PATH", advice=advice)


def _free(host: str, port: int) -> bool:
    """True when a server could bind the port now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
