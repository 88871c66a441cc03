"""What every room's tests share: things that a machine may lack, and a state directory of one's own.

`@pytest.mark.needs("streams")` skips a test by name where that thing is missing. In CI nothing may be missing silently:
`MLAUTO_REQUIRE=streams,chromium` turns such a skip into a failure.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mlauto.commands.doctor_engine import docker_version
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.flavours import Flavours
from mlauto.runtime.leftovers import clear
from mlauto.serving.plan import walker_file
from mlauto.settings import Settings
from mlauto.store import Store

CHECKOUT = Path(__file__).resolve().parents[1]


def streams_folder() -> Path:
    """Real CSV streams: `$MLAUTO_STREAMS`, or `shared/streams` beside the checkout."""
    return Path(os.environ.get("MLAUTO_STREAMS") or CHECKOUT.parent / "shared" / "streams")


def _streams() -> str | None:
    wanted = streams_folder() / "bike_hourly.csv"
    return None if wanted.is_file() else f"{wanted} is not there: set MLAUTO_STREAMS"


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return None if any(map(shutil.which, names)) else "no chromium on PATH: apt-get install chromium"


def _docker() -> str | None:
    return None if docker_version(os.environ) else "no Docker engine answers: start dockerd, or set DOCKER_HOST"


def base_image() -> str:
    """The image that the tests' own images start from."""
    return os.environ.get("MLAUTO_BASE_IMAGE") or "mlauto-base:bookworm"


def _base_image() -> str | None:
    with closing(DockerEngine()) as engine:
        there = docker_version(os.environ) and engine.image(base_image())
    return None if there else f"the engine has no image {base_image()}: run ops/base_image.sh"


def _compiler() -> str | None:
    return None if walker_file.compiler() else "no C compiler on PATH: apt-get install gcc"


def tool(name: str) -> str | None:
    """A command line tool of this environment, or of the machine."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


def _tool(name: str, advice: str) -> Callable[[], str | None]:
    return lambda: None if tool(name) else f"no {name} on PATH: {advice}"


def _alertmanager() -> str | None:
    found = tool("prometheus-alertmanager") or tool("alertmanager")  # as Debian calls it, and as its makers do
    return None if found else "no prometheus-alertmanager on PATH: apt-get install prometheus-alertmanager"


def _groovy_lint() -> str | None:
    java = None if shutil.which("java") else "no java on PATH: apt-get install default-jre-headless"
    return _tool("npm-groovy-lint", "npm install -g npm-groovy-lint")() or java


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL server that Debian's packages installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def _postgres() -> str | None:
    return None if postgres_programs() else "no PostgreSQL server below /usr/lib/postgresql: apt-get install postgresql"


def _registry() -> str | None:
    return None if shutil.which("docker-registry") else "no docker-registry on PATH: apt-get install docker-registry"


def _own_engine() -> str | None:
    if os.geteuid() != 0:
        return "only root may start a second engine on a file system of its own"
    missing = [name for name in ("dockerd", "mkfs.ext4", "mount", "unshare") if not shutil.which(name)]
    return f"no {', '.join(missing)} on PATH: apt-get install docker.io e2fsprogs mount util-linux" if missing else None


def python_with(package: str) -> str | None:
    """The Python that runs the tests when it has that package, else that of an environment with programs on PATH."""
    if importlib.util.find_spec(package):
        return sys.executable
    folders = map(Path, os.get_exec_path())
    found = (folder for folder in folders if any(folder.parent.glob(f"lib/python3*/site-packages/{package}")))
    return next((str(folder / "python") for folder in found), None)


def _cyclonedx() -> str | None:
    there = python_with("cyclonedx")
    return (
        None if there else "no validator: pip install 'cyclonedx-python-lib[json-validation]' in an environment on PATH"
    )


def _extra(package: str, advice: str) -> Callable[[], str | None]:
    return lambda: None if importlib.util.find_spec(package) else f"{package} is not installed: {advice}"


NEEDS: dict[str, Callable[[], str | None]] = {
    "streams": _streams,
    "chromium": _chromium,
    "docker": _docker,
    "base_image": _base_image,
    "compiler": _compiler,
    "check-jsonschema": _tool("check-jsonschema", "pip install check-jsonschema"),
    "cfn-lint": _tool("cfn-lint", "pip install cfn-lint"),
    "npm-groovy-lint": _groovy_lint,
    "promtool": _tool("promtool", "apt-get install prometheus"),
    "prometheus": _tool("prometheus", "apt-get install prometheus"),
    "alertmanager": _alertmanager,
    "amtool": _tool("amtool", "apt-get install prometheus-alertmanager"),
    "postgres": _postgres,
    "docker-cli": _tool("docker", "apt-get install docker.io"),
    "registry": _registry,
    "own_engine": _own_engine,
    "cyclonedx": _cyclonedx,
    "dask": _extra("distributed", "pip install --no-deps -r requirements-dask.lock"),
    "ray": _extra("ray", "pip install ray"),
}


def check_need(name: str, required: str) -> None:
    """Skip when the thing `name` is missing, or fail when `required` (comma-separated) lists it."""
    problem = NEEDS[name]()
    if problem is None:
        return
    if name in {word.strip() for word in required.split(",")}:
        pytest.fail(f"MLAUTO_REQUIRE lists {name}, but {problem}", pytrace=False)
    pytest.skip(f"needs {name}: {problem}")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"needs(name): skipped where `name` ({', '.join(NEEDS)}) is missing")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background of a shell, which children inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
    unknown = {word.strip() for word in os.environ.get("MLAUTO_REQUIRE", "").split(",")} - {*NEEDS, ""}
    if unknown:
        raise pytest.UsageError(f"MLAUTO_REQUIRE lists {sorted(unknown)}; known are {sorted(NEEDS)}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            check_need(name, os.environ.get("MLAUTO_REQUIRE", ""))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """A run of Dagster's in this process gives SIGTERM the handler of SIGINT, for good, and children would have it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The house rules come last: they judge the whole tree, and a room's own failure should be read first."""
    items.sort(key=lambda item: item.path.name == "test_house.py")


@pytest.fixture(scope="session")
def needs() -> Callable[[str], None]:
    """For a need that is known only within a test: `needs("docker")`."""
    return lambda name: check_need(name, os.environ.get("MLAUTO_REQUIRE", ""))


@pytest.fixture
def streams(needs: Callable[[str], None]) -> Path:
    """The folder of real streams; the test is skipped (in CI: fails) without it."""
    needs("streams")
    return streams_folder()


@pytest.fixture(scope="session")
def walker(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C walker of trees; the test is skipped (in CI: fails) without a compiler."""
    needs("compiler")
    library = walker_file.compiled(tmp_path_factory.mktemp("native"))
    assert isinstance(library, Path), library
    return library


@pytest.fixture(scope="session")
def docker_base(needs: Callable[[str], None]) -> str:
    """The base image of what the tests build: `MLAUTO_BASE_IMAGE`, or the one that `ops/base_image.sh` makes."""
    needs("docker")
    needs("base_image")
    return base_image()


@pytest.fixture
def flavours(docker_base: str) -> Iterator[Flavours]:
    """The real flavours, built once for all tests: they belong to none, and stay until they age."""
    settings = Settings.from_environment({**os.environ, "MLAUTO_BASE_IMAGE": docker_base})
    shared = replace(settings, home=settings.cache / "flavours")
    with closing(DockerEngine()) as engine:
        found = Flavours(shared, engine)
        yield found
        clear(engine, str(shared.home), "", kept=(), current=found.keys(), now=time.time())


@pytest.fixture(scope="session")
def dask_cluster(needs: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Dask scheduler on loopback that has two workers, processes of their own."""
    needs("dask")
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    common = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    words = [["dask_scheduler", *common, "--port", "0"]]
    words += [["dask_worker", *common, "--no-nanny", "--nthreads", "1", "--local-directory", str(folder)]] * 2
    processes = [_dask(folder, *words[0])]
    try:
        _await(file.exists, "the scheduler writes no file", folder)
        processes += [_dask(folder, *one) for one in words[1:]]
        joined = "Starting established connection"
        _await(
            lambda: sum(joined in log.read_text() for log in folder.glob("dask_worker.*.log")) == 2,
            "no workers",
            folder,
        )
        yield str(json.loads(file.read_text())["address"])
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=20)


def _dask(folder: Path, program: str, *words: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{program}.{time.monotonic_ns()}.log").open("wb") as log:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *words]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _await(happens: Callable[[], bool], problem: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        if time.monotonic() > deadline:
            pytest.fail("\n".join([problem, *(log.read_text()[-2000:] for log in folder.glob("*.log"))]))
        time.sleep(0.1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose state directory, root and product folder are this test's own."""
    return Settings.from_environment(
        {
            "MLAUTO_ROOT": str(tmp_path),
            "MLAUTO_HOME": str(tmp_path / "home"),
            "MLAUTO_DEFS": str(tmp_path / "defs"),
        }
    )


@pytest.fixture
def store(settings: Settings) -> Store:
    """A store in this test's own state directory."""
    return Store(settings.home)
