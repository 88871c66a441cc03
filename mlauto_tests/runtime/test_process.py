"""Commands run to their end, to their time limit, and with nothing of ours in their environment."""

import sys
import time
from pathlib import Path

import pytest

from mlauto.runtime.process import Finished, run_command, run_program, scrubbed_environment, truncated


def python(code: str, tmp_path: Path, **options: object) -> Finished:
    arguments = {"timeout": 20.0, "env": scrubbed_environment(HOME=str(tmp_path)), **options}
    return run_command([sys.executable, "-c", code], cwd=tmp_path, **arguments)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_soon(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_alive(pid)


def test_output_of_both_streams_and_the_exit_code_are_reported(tmp_path: Path) -> None:
    """Standard output and standard error become one text, and the exit code is the command's own."""
    done = python("import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)", tmp_path)

    assert (done.exit_code, done.output, done.timed_out) == (3, "out\nerr\n", False)
    assert 0 < done.seconds < 20


def test_lines_arrive_while_the_command_still_runs(tmp_path: Path) -> None:
    """`on_line` is called before the end, and once per line, the last one without newline included."""
    seen: list[tuple[str, bool]] = []
    marker = tmp_path / "first-line-was-seen"

    def on_line(line: str) -> None:
        seen.append((line, marker.exists()))
        marker.touch()

    code = (
        "import pathlib, sys, time\nprint('one', flush=True)\n"
        f"while not pathlib.Path({str(marker)!r}).exists(): time.sleep(0.01)\nsys.stdout.write('two')"
    )
    done = python(code, tmp_path, on_line=on_line)

    assert seen == [("one", False), ("two", True)]
    assert done.exit_code == 0


def test_the_whole_group_is_killed_at_the_time_limit(tmp_path: Path) -> None:
    """A child of the command that ignores SIGTERM is gone too, and what was printed before is kept."""
    code = (
        "import subprocess, sys, time\n"
        "ignore = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)'\n"
        "child = subprocess.Popen([sys.executable, '-c', ignore])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    done = python(code, tmp_path, timeout=1.0)

    assert (done.exit_code, done.timed_out) == (None, True)
    assert done.seconds < 5
    assert gone_soon(int(done.output))


def test_a_child_left_behind_does_not_outlive_the_command(tmp_path: Path) -> None:
    """A command that ends while its background child holds the pipe returns at once, and the child is killed."""
    code = (
        "import subprocess, sys\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)"
    )
    done = python(code, tmp_path)

    assert (done.exit_code, done.timed_out) == (0, False)
    assert done.seconds < 10
    assert gone_soon(int(done.output))


def test_a_grandchild_that_left_the_group_cannot_block_the_caller(tmp_path: Path) -> None:
    """Even a daemonized child that keeps the pipe open is not waited for."""
    code = (
        "import subprocess, sys\n"
        "sleep = 'import time; time.sleep(8)'\n"
        "subprocess.Popen([sys.executable, '-c', sleep], start_new_session=True)\nprint('done', flush=True)"
    )
    done = python(code, tmp_path)

    assert done.output == "done\n"
    assert done.seconds < 6


def test_output_is_truncated_in_the_middle(tmp_path: Path) -> None:
    """The beginning and the end survive, the note between says how much is missing, and lines are all streamed."""
    lines: list[str] = []
    code = "print('begin'); [print('x' * 99) for _ in range(5000)]; print('end')"
    done = python(code, tmp_path, limit=1000, on_line=lines.append)

    assert done.output.startswith("begin\n")
    assert done.output.endswith("end\n")
    assert "bytes left out" in done.output
    assert len(done.output) < 1100
    assert len(lines) == 5002


def test_one_endless_line_is_handed_on_in_pieces(tmp_path: Path) -> None:
    """Without a newline memory stays bounded: the line comes in pieces that make up the whole."""
    pieces: list[str] = []
    done = python("import sys; sys.stdout.write('y' * 300_000)", tmp_path, limit=200, on_line=pieces.append)

    assert sum(map(len, pieces)) == 300_000
    assert len(pieces) > 1
    assert len(done.output) < 300


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    """Binary output does not raise."""
    done = python("import sys; sys.stdout.buffer.write(b'a\\xff\\xfeb')", tmp_path)

    assert done.output == "a��b"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [(["no-such-command-anywhere"], 127, "No such file"), (["/"], 126, "denied")],
)
def test_a_command_that_cannot_be_executed_ends_like_in_a_shell(
    argv: list[str], code: int, words: str, tmp_path: Path
) -> None:
    """127 for a missing command, 126 for one that may not be executed, with a sentence as its output."""
    done = run_command(argv, cwd=tmp_path, env=scrubbed_environment(), timeout=5)

    assert done.exit_code == code
    assert argv[0] in done.output
    assert words in done.output


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """The output says which directory is not there, instead of blaming the command."""
    done = run_command(["true"], cwd=tmp_path / "gone", env=scrubbed_environment(), timeout=5)

    assert done.exit_code == 127
    assert str(tmp_path / "gone") in done.output


def test_a_command_ended_by_a_signal_reports_its_number(tmp_path: Path) -> None:
    """Minus the signal's number, as subprocess has it."""
    done = python("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", tmp_path)

    assert done.exit_code == -11


def test_an_exception_of_the_listener_kills_the_command(tmp_path: Path) -> None:
    """When `on_line` raises, the caller sees it, and nothing is left running."""
    pids: list[int] = []

    def refuse(line: str) -> None:
        pids.append(int(line))
        raise KeyError(line)

    with pytest.raises(KeyError):
        python("import os, time; print(os.getpid(), flush=True); time.sleep(60)", tmp_path, on_line=refuse)
    assert gone_soon(pids[0])


def test_the_environment_carries_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tokens, passwords and our own settings do not pass; what was given explicitly does."""
    for name in ("GITHUB_TOKEN", "DB_PASSWORD", "MLAUTO_HOME", "DAGSTER_HOME", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    environment = scrubbed_environment(HOME=str(tmp_path), PYTHONPATH="src")
    done = python("import os; print(sorted(os.environ))", tmp_path, env=environment)

    assert "secret" not in environment.values()
    assert environment["HOME"] == str(tmp_path)
    assert environment["PYTHONPATH"] == "src"
    assert "GITHUB_TOKEN" not in done.output
    assert "MLAUTO" not in done.output


def test_tools_of_this_installation_come_first(tmp_path: Path) -> None:
    """`python` and its neighbours are found although no virtual environment was activated."""
    environment = scrubbed_environment()

    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["HOME"] == "/nonexistent"
    assert run_command(["ruff", "--version"], cwd=tmp_path, env=environment, timeout=20).exit_code == 0


def test_truncated_keeps_short_texts_and_both_ends_of_long_ones() -> None:
    """A text within the limit is untouched; a longer one loses its middle and says how much."""
    assert truncated("short", 10) == "short"
    long = truncated("a" * 50 + "b" * 50, 20)
    assert long.startswith("a" * 10 + "\n[")
    assert long.endswith("]\n" + "b" * 10)
    assert "80 characters" in long


def test_programs_are_looked_for_where_the_command_would(tmp_path: Path) -> None:
    """On its own `PATH`, or below its directory when named with a slash; one that may not be executed is none."""
    (tmp_path / "bin").mkdir()
    for name in ("bin/hello", "go"):
        (tmp_path / name).write_text("#!/bin/sh\necho $0\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    env = {"PATH": f"{tmp_path}/bin"}

    def ran(*argv: str) -> Finished:
        return run_program(argv, cwd=tmp_path, env=env, timeout=20)

    assert ran("hello").output == f"{tmp_path}/bin/hello\n"
    assert ran("./go").output == f"{tmp_path}/go\n"
    assert ran(str(tmp_path / "go")).exit_code == 0
    for missing in ("go", "sh", "./plain", "./none"):
        ended = ran(missing)
        assert (ended.exit_code, ended.why) == (127, "no such program here: install it, or correct code.checks")
