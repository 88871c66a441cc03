"""How git is run."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import SourceError
from mlauto.integration.git import Mirror
from mlauto.integration.plumbing import git_environment, masked, open_git, require_git, run_git


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fatal: https://ada:s3cret@host/x.git", "fatal: https://***@host/x.git"),
        ("'https://token@host/x'", "'https://***@host/x'"),
        ("https://a:p@ss@host/x", "https://***@host/x"),
        ("ssh://git@host:22/x", "ssh://***@host:22/x"),
        ("https://host/x?private_token=abc&ref=1", "https://host/x?private_token=***&ref=1"),
        ("git@host:team/x.git", "git@host:team/x.git"),
        ("https://host/team@2x/x.git", "https://host/team@2x/x.git"),
    ],
)
def test_credentials_are_masked(text: str, expected: str) -> None:
    """Whatever could be a secret in a URL is not shown; the rest is."""
    assert masked(text) == expected


def test_environment_never_asks_and_keeps_out_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No prompt, no pointer to another repository; the user's configuration only where a remote is read."""
    monkeypatch.setenv("GIT_WORK_TREE", "/elsewhere")
    monkeypatch.setenv("GIT_TRACE_CURL", "1")
    monkeypatch.setenv("GIT_SSL_CAINFO", "/ca.pem")

    local, remote = git_environment(network=False), git_environment(network=True)

    assert remote["GIT_TERMINAL_PROMPT"] == "0"
    assert {"GIT_WORK_TREE", "GIT_TRACE_CURL"}.isdisjoint(remote)
    assert remote["GIT_SSL_CAINFO"] == "/ca.pem"
    assert local["GIT_CONFIG_GLOBAL"] == os.devnull
    assert remote.get("GIT_CONFIG_GLOBAL") == os.environ.get("GIT_CONFIG_GLOBAL")


def test_result_of_a_failing_command(tmp_path: Path) -> None:
    """A failure is a result with git's own words; `require_git` makes it an error."""
    arguments = ["--git-dir", str(tmp_path), "rev-parse", "HEAD"]

    result = run_git(arguments, timeout=10)

    assert result.code == 128
    assert "not a git repository" in result.error

    gone = run_git(["ls-remote", "--", str(tmp_path / "gone")], timeout=10, network=True)

    assert gone.error.startswith("fatal: ")
    assert str(tmp_path / "gone") in gone.error
    assert "access rights" not in gone.error
    with pytest.raises(SourceError, match="git failed: fatal: not a git repository"):
        require_git(arguments, timeout=10)


def test_time_limit_kills_the_whole_group(tmp_path: Path) -> None:
    """A helper that holds git's pipes does not keep us waiting, and does not survive."""
    helper = tmp_path / "git-slow"
    helper.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 60 & wait\n")
    helper.chmod(0o755)

    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        result = run_git(["slow"], timeout=3.0)

    assert result.code == 124
    assert result.error == "git slow did not end within 3 s"
    assert time.monotonic() - began < 20
    pid = int((tmp_path / "pid").read_text())
    while _lives(pid) and time.monotonic() - began < 30:  # what was killed may take a moment to be gone
        time.sleep(0.01)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_git_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="install it"):
        run_git(["version"], timeout=10)


def test_opened_git_speaks_over_pipes(origin: Any, mirror: Mirror) -> None:
    """Questions go in, answers come out, on our own repository only."""
    sha = origin.commit("one", a_py="1")
    mirror.fetch()

    with open_git(mirror.path, "cat-file", "--batch-check") as process:
        output, _ = process.communicate(f"{sha}\nnothing\n".encode())

    assert output.decode().splitlines()[1] == "nothing missing"
    assert output.decode().startswith(f"{sha} commit")
