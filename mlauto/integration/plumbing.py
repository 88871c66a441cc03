"""How git is run: never through a shell, never asking, never running a hook, always within a time limit.

Repositories are strangers' text. What reads a remote keeps the user's own git configuration, for that is where
credential helpers and proxies live; what works on our own mirrors reads no configuration at all.
"""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import SourceError

__all__ = ["GitResult", "git_environment", "masked", "open_git", "require_git", "run_git"]

# Any other GIT_ variable may come from a surrounding git (a hook, for example) and point ours at its own repository.
KEPT = ("GIT_SSL", "GIT_SSH", "GIT_CONFIG", "GIT_PROXY", "GIT_HTTP", "GIT_EXEC_PATH", "GIT_ALLOW_PROTOCOL")
OVERRIDES = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "log.showSignature": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "protocol.ext.allow": "never",
}
SWITCHES = tuple(word for name, value in OVERRIDES.items() for word in ("-c", f"{name}={value}"))
KILLED = 124


@dataclass(frozen=True, kw_only=True)
class GitResult:
    """What a git command left: exit code (124 when it was killed), standard output, masked last lines of its errors."""

    code: int
    output: bytes
    error: str


def masked(text: str) -> str:
    """`text` without what could be a credential: `user:password@` and token parameters of URLs."""
    text = re.sub(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s'\"]*@", r"\1***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:token|key|password|secret)[^=&\s]*=)[^&\s'\"]+", r"\1***", text)


def git_environment(*, network: bool) -> dict[str, str]:
    """The environment of a git command; `network` keeps the user's git configuration."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k.startswith(KEPT)}
    env.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_ASKPASS="", SSH_ASKPASS="", GCM_INTERACTIVE="never")
    env.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10")
    if not network:
        env.update(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1", GIT_OPTIONAL_LOCKS="0")
    return env


def run_git(
    arguments: Sequence[str],
    *,
    timeout: float,
    data: bytes | None = None,
    network: bool = False,
    keep_open: Sequence[int] = (),
) -> GitResult:
    """Run `git ARGUMENTS` with `data` on its standard input.

    A non-zero exit is a result, not an error; so is having been killed, with whatever it started, after `timeout`
    seconds. `keep_open`: descriptors that the child holds. Raises `SourceError` when git is not installed.
    """
    try:
        process = subprocess.Popen(
            ["git", *SWITCHES, *arguments],
            stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=git_environment(network=network),
            pass_fds=tuple(keep_open),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise SourceError("git is not installed: install it (apt-get install git) and try again") from error
    with process:
        try:
            output, problem = process.communicate(data, timeout=timeout)
        except subprocess.TimeoutExpired:
            return GitResult(code=KILLED, output=b"", error=f"git {arguments[0]} did not end within {timeout:g} s")
        finally:
            # Its transport helpers hold our pipes too: unless the whole group goes, reading would wait for them.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    # git closes with the advice to check rights and existence, which would crowd out what happened
    said = masked(problem.decode(errors="replace")).partition("Please make sure you have the correct access rights")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return GitResult(code=process.returncode, output=output, error="; ".join(lines[-3:])[:600])


def open_git(repository: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A git that works on a bare repository of ours, its standard input and output being pipes. The caller ends it."""
    return subprocess.Popen(
        ["git", *SWITCHES, "--git-dir", str(repository), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=git_environment(network=False),
    )


def require_git(arguments: Sequence[str], *, timeout: float, data: bytes | None = None) -> bytes:
    """Standard output of a git command on a repository of our own. Raises `SourceError` when it fails."""
    result = run_git(arguments, timeout=timeout, data=data)
    if result.code != 0:
        raise SourceError(f"git failed: {result.error or f'exit {result.code}'}")
    return result.output
