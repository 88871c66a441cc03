"""Scratch loops: what they refuse, what they create, and how they wait."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlauto.commands.loop import Loop, dagster_environment, free_port
from mlauto.errors import MlautoError
from mlauto.settings import PACKAGE, Settings


def test_a_scratch_loop_empties_only_what_one_made_before(tmp_path: Path) -> None:
    """An earlier scratch directory is made anew; anybody else's is refused and left as it is."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    (Loop.scratch(ours).settings.root / "leftover").touch()

    again = Loop.scratch(ours)

    assert not (again.settings.root / "leftover").exists()
    assert again.settings.defs.is_dir()
    with pytest.raises(MlautoError, match="theirs is not empty"):
        Loop.scratch(theirs)
    assert (theirs / "thesis.txt").read_text() == "years of work"


def test_everything_of_a_scratch_loop_lies_below_its_root(tmp_path: Path) -> None:
    """State, definitions, MLflow; and the gateway has a port of its own."""
    one, other = (Loop.scratch(tmp_path / name).settings for name in ("one", "other"))

    assert one.home.is_relative_to(tmp_path / "one")
    assert one.defs.is_relative_to(tmp_path / "one")
    assert str(tmp_path / "one") in one.mlflow_uri
    assert one.gateway_port != other.gateway_port


def test_dagsters_environment_has_our_settings_and_not_the_callers(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytecode is written, telemetry is off, and somebody's tracking server is not taken for ours."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")

    environment = dagster_environment(settings)

    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert environment["MLFLOW_TRACKING_URI"] == settings.mlflow_uri
    assert environment["MLAUTO_HOME"] == str(settings.home)
    assert environment["DAGSTER_HOME"] == str(PACKAGE.parent)


def test_waiting_ends_with_the_value_or_with_the_name_of_what_was_missed(tmp_path: Path) -> None:
    """Neither None nor False is an answer; everything else is, also 0."""
    loop = Loop.scratch(tmp_path / "loop")
    answers = iter([None, False, 0])

    seen = loop.wait_for("a number", lambda: next(answers))

    assert seen == 0
    with pytest.raises(MlautoError, match="not seen within 0 s: the second coming"):
        loop.wait_for("the second coming", lambda: None, timeout=0.1)


def test_a_daemon_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """Nobody waits for a dead daemon, and the log says why it died."""
    loop = Loop.scratch(tmp_path / "loop")
    loop.log.parent.mkdir(parents=True)
    loop.log.write_text("all was well\nError: no such table\n")
    loop.daemon = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    loop.daemon.wait()

    with pytest.raises(MlautoError, match=r"the daemon ended \(exit 3\) before anything(.|\n)*no such table"):
        loop.wait_for("anything", lambda: None)


def test_its_processes_are_found_by_what_they_serve(tmp_path: Path) -> None:
    """A process with the loop's home in its environment is listed, this one is not."""
    loop = Loop.scratch(tmp_path / "loop")
    environment = {**os.environ, "MLAUTO_HOME": str(loop.settings.home)}
    process = subprocess.Popen(["sleep", "30"], env=environment)
    try:
        found = loop.wait_for("the process", lambda: loop.processes() or None, timeout=5)
    finally:
        process.kill()
        process.wait()

    assert found == {process.pid: "sleep 30"}
    assert loop.processes() == {}


def test_a_free_port_is_free() -> None:
    """Nothing listens there, so a server can."""
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        assert server.getsockname()[1] > 1023
