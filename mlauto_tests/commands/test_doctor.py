"""What doctor sees: on this machine, and where something is missing."""

import dataclasses
import http.server
import importlib.util
import py_compile
import shutil
import socket
import sys
import threading
from importlib import metadata
from pathlib import Path

import pytest

from mlauto.commands.doctor import examine, missing_bytecode, version_differences
from mlauto.commands.finding import Finding, healthy, render
from mlauto.settings import Settings


@pytest.fixture
def quiet(settings: Settings) -> Settings:
    """Settings whose gateway port is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return dataclasses.replace(settings, gateway_port=probe.getsockname()[1])


def seen(settings: Settings, name: str, **environment: str) -> Finding:
    """The finding of that name."""
    return next(finding for finding in examine(settings, environment) if finding.name == name)


def test_this_machine_can_run_it(quiet: Settings) -> None:
    """Where these tests run, nothing that is needed may be missing, whatever optional things are."""
    findings = examine(quiet, {"OMP_NUM_THREADS": "1"})

    assert healthy(findings), render(findings)
    assert [finding.name for finding in findings[:3]] == ["Python", "git", "versions"]
    assert {finding.status for finding in findings} <= {"ok", "optional"}
    assert all(finding.advice for finding in findings if finding.status == "optional")
    assert not quiet.home.exists()


def test_a_package_without_bytecode_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three modules one is compiled: two are missing; compiling the rest mends it."""
    package = tmp_path / "barepackage"
    (package / "inner").mkdir(parents=True)
    sources = [package / "__init__.py", package / "a.py", package / "inner" / "b.py"]
    for source in sources:
        source.write_text("X = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    py_compile.compile(str(sources[0]), cfile=importlib.util.cache_from_source(str(sources[0])))

    before = missing_bytecode("barepackage")
    for source in sources:
        py_compile.compile(str(source), cfile=importlib.util.cache_from_source(str(source)))

    assert before == (2, 3)
    assert missing_bytecode("barepackage") == (0, 3)
    assert "barepackage" not in sys.modules


def test_a_package_that_is_not_there_is_an_error() -> None:
    """No package has no bytecode; that is not a healthy zero."""
    with pytest.raises(ModuleNotFoundError, match="nosuchpackage"):
        missing_bytecode("nosuchpackage")


def test_switched_off_bytecode_is_mentioned(quiet: Settings) -> None:
    """PYTHONDONTWRITEBYTECODE does not break anything, but doctor says what it costs."""
    finding = seen(quiet, "bytecode", PYTHONDONTWRITEBYTECODE="1")

    assert finding.status == "optional"
    assert "unset PYTHONDONTWRITEBYTECODE" in finding.advice


@pytest.mark.parametrize(("value", "status"), [("1", "ok"), ("", "optional")])
def test_openmp_threads(quiet: Settings, value: str, status: str) -> None:
    """An unset OMP_NUM_THREADS is worth a line, a set one is shown."""
    assert seen(quiet, "OpenMP threads", OMP_NUM_THREADS=value).status == status


def test_the_lock_is_compared_with_what_is_installed(tmp_path: Path) -> None:
    """Other versions and absent packages differ; markers of other platforms and hashes are passed over."""
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        f"click=={metadata.version('click')} \\\n    --hash=sha256:00\n"
        "rich==0.0.1 \\\n    --hash=sha256:01\n"
        "no-such-thing==1.0\n"
        "pywin32==300 ; sys_platform == 'win32'\n"
        f"types_PyYAML=={metadata.version('types-pyyaml')}\n"
        "# a comment==1\n"
    )

    differences = version_differences(lock)

    assert differences == [
        f"rich ==0.0.1 -> {metadata.version('rich')}",
        "no-such-thing ==1.0 -> not installed",
    ]


def test_a_taken_port_is_named(quiet: Settings) -> None:
    """Another program on the gateway's port is a problem; doctor does not mistake it for the gateway."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", quiet.gateway_port))
        other.listen(0)
        finding = seen(quiet, f"port {quiet.gateway_port}")

    assert finding.status == "missing"
    assert "MLAUTO_GATEWAY_PORT" in finding.advice


def test_our_own_gateway_may_have_the_port(settings: Settings) -> None:
    """A server that answers /v2/health/live is the gateway."""

    class Live(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v2/health/live" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Live) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        used = dataclasses.replace(settings, gateway_port=server.server_port)
        finding = seen(used, f"port {server.server_port}")
        server.shutdown()
        thread.join()

    assert (finding.status, finding.observed) == ("ok", "the gateway answers")


def test_a_state_directory_too_deep_for_a_socket(quiet: Settings) -> None:
    """Unix sockets have short paths: better said here than by a failing bind."""
    deep = dataclasses.replace(quiet, home=quiet.home / ("d" * 60) / ("e" * 60))

    finding = seen(deep, "state directory")

    assert finding.status == "missing"
    assert "shorter path" in finding.advice


def test_without_a_compiler_it_says_what_that_costs(
    quiet: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fails without one, so it is optional."""
    monkeypatch.setenv("PATH", str(tmp_path))

    found = next(finding for finding in examine(quiet) if finding.name == "C compiler")

    assert (found.status, found.observed) == ("optional", "not on PATH")
    assert "apt-get install gcc" in found.advice


def test_a_walker_that_was_brought_along_is_as_good_as_a_compiler(
    quiet: Settings, walker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of our own services have one, and no compiler."""
    (tmp_path / "share" / "mlauto").mkdir(parents=True)
    shutil.copy(walker, tmp_path / "share" / "mlauto")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    found = next(finding for finding in examine(quiet) if finding.name == "C compiler")

    assert (found.status, found.observed) == ("ok", str(tmp_path / "share" / "mlauto" / walker.name))
