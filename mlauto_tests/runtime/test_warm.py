"""A real warm process with few libraries, shared by the module; every promise is also kept without one."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.errors import MlautoError
from mlauto.runtime.process import Finished, scrubbed_environment
from mlauto.runtime.warm import LIBRARIES, NotWarmError, WarmProcess, start_time
from mlauto_tests.waiting import eventually

Seen = Callable[[], object]


def ended(process: subprocess.Popen[bytes]) -> int:
    """Close the standard input of a warm process, and wait."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait(timeout=20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProcess]:
    """A warm process that a secret was in the environment of, and that has `colorsys` and `wave` imported."""
    folder = tmp_path_factory.mktemp("warm") / ("deep-" * 30)  # longer than the kernel lets a socket's name be
    warm = WarmProcess(folder / "warm.sock", libraries=("wave", "no_such_library"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_PASSWORD", "hunter2")
        process = warm.start(["colorsys"])
    yield warm
    assert ended(process) == 0


@pytest.fixture(params=["warm", "plain"])
def warm(request: pytest.FixtureRequest, server: WarmProcess, tmp_path: Path) -> WarmProcess:
    """The warm process, and a client whose warm process does not run: both mean the same."""
    return server if request.param == "warm" else WarmProcess(tmp_path / "nobody.sock")


class Script:
    """A module of somebody's, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(
        self,
        warm: WarmProcess,
        text: str,
        *,
        timeout: float = 30.0,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        limit: int = 64_000,
        **env: str,
    ) -> Finished:
        (self.folder / "somebodys.py").write_text(text)
        environment = scrubbed_environment(PYTHONPATH=str(self.folder), PYTHONDONTWRITEBYTECODE="1", **env)
        where = cwd or self.folder
        return warm.run_python(
            "somebodys", Path("an argument"), cwd=where, env=environment, timeout=timeout, on_line=on_line, limit=limit
        )


@pytest.fixture
def script(tmp_path: Path) -> Script:
    folder = tmp_path / "code"
    folder.mkdir()
    return Script(folder)


TELLING = """
import json, os, sys
print(json.dumps({
    "name": __name__, "argv": sys.argv[1:], "cwd": os.getcwd(), "first": sys.path[0], "environment": dict(os.environ),
    "leader": os.getpgid(0) == os.getpid(), "input": sys.stdin.read(),
}))
sys.exit(7)
"""


def test_a_module_runs_as_asked(warm: WarmProcess, script: Script, tmp_path: Path) -> None:
    """Name, arguments, directory, environment, exit code, empty input, process group: all as from a plain start."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = script.run(warm, TELLING, cwd=elsewhere, GREETING="hello")

    told = json.loads(done.output)
    assert (done.exit_code, done.timed_out) == (7, False)
    assert 0 < done.seconds < 30
    assert (told["name"], told["argv"], told["input"]) == ("__main__", ["an argument"], "")
    assert told["cwd"] == told["first"] == str(elsewhere)
    assert told["leader"]
    wanted = scrubbed_environment(PYTHONPATH=str(script.folder), PYTHONDONTWRITEBYTECODE="1", GREETING="hello")
    assert told["environment"] | {"LC_CTYPE": ""} == wanted | {"LC_CTYPE": ""}


def test_the_servers_secrets_are_not_the_childs(server: WarmProcess, script: Script) -> None:
    """Neither the child nor what it starts sees the environment that the warm process was started with."""
    done = script.run(server, "import os, subprocess; subprocess.run(['env']); print(sorted(os.environ))")

    assert done.exit_code == 0
    assert "GREETING" not in done.output
    assert "REGISTRY_PASSWORD" not in done.output


def test_the_child_finds_the_libraries_imported(server: WarmProcess, script: Script) -> None:
    """Modules are there from the start and libraries soon after; one that cannot be imported stops nothing."""
    text = "import sys; print('colorsys' in sys.modules, 'wave' in sys.modules)"

    eventually(lambda: script.run(server, text).output == "True True\n")

    log = server.address.with_suffix(".log").read_text()
    assert "no_such_library is not imported in advance" in log
    assert "started threads" not in log


def test_lines_come_as_they_are_printed(warm: WarmProcess, script: Script) -> None:
    """The second line is only printed after the first one was seen here."""
    gate = script.folder / "gate"
    lines: list[str] = []

    def seen(line: str) -> None:
        lines.append(line)
        gate.touch()

    waiting = "print('first')\nimport os, time\nwhile not os.path.exists('gate'): time.sleep(0.01)\nprint('second')"
    done = script.run(warm, waiting, on_line=seen, timeout=20)

    assert lines == ["first", "second"]
    assert (done.output, done.exit_code) == ("first\nsecond\n", 0)


def test_both_streams_are_captured_and_bounded(warm: WarmProcess, script: Script) -> None:
    """Of a million characters the first and the last stay, with errors among them."""
    text = "import sys\nprint('x' * 1_000_000)\nprint('the end', file=sys.stderr)"

    done = script.run(warm, text, limit=1000)

    assert len(done.output) < 1100
    assert done.output.startswith("x" * 400)
    assert done.output.endswith("the end\n")
    assert "bytes left out" in done.output


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("raise ValueError('of no use')", 1, "ValueError: of no use"),
        ("import sys; sys.exit('a sentence')", 1, "a sentence"),
        ("import sys; sys.exit()", 0, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
        ("import os; print('last words', flush=True); os._exit(3)", 3, "last words"),
        ("import sys; sys.stdout.close()", 0, ""),
    ],
)
def test_every_end_has_its_exit_code(warm: WarmProcess, script: Script, text: str, code: int, said: str) -> None:
    """Errors, sentences, signals and streams that were closed end as they do in any Python."""
    done = script.run(warm, text)

    assert done.exit_code == code
    assert said in done.output


def test_a_missing_module_or_directory_is_said(warm: WarmProcess, script: Script, tmp_path: Path) -> None:
    """What cannot be started ends with a code and a sentence, and the next request is served."""
    missing = warm.run_python("no_such_module", tmp_path, cwd=tmp_path, env=scrubbed_environment(), timeout=20)
    nowhere = script.run(warm, "", cwd=tmp_path / "nowhere")

    assert missing.exit_code == 1
    assert "no_such_module" in missing.output
    assert (nowhere.exit_code, nowhere.output) == (127, f"the directory {tmp_path / 'nowhere'} does not exist")
    assert script.run(warm, "print('well')").output == "well\n"


FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
{then}
"""


def pids(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_the_time_limit_kills_the_whole_group(warm: WarmProcess, script: Script) -> None:
    """When it returns, neither the child nor its own child is there; what they had said is."""
    done = script.run(warm, FAMILY.format(then="time.sleep(600)"), timeout=2.0)

    assert (done.exit_code, done.timed_out) == (None, True)
    assert 2.0 <= done.seconds < 8.0
    assert len(pids(done.output)) == 2
    eventually(lambda: [start_time(pid) for pid in pids(done.output)] == [None, None])


def test_a_forgotten_grandchild_neither_delays_nor_survives(warm: WarmProcess, script: Script) -> None:
    """A background process that holds the output open is killed with the child's end, not waited for."""
    done = script.run(warm, FAMILY.format(then="sys.exit(4)"), timeout=60.0)

    assert (done.exit_code, done.timed_out) == (4, False)
    assert done.seconds < 20
    eventually(lambda: start_time(pids(done.output)[1]) is None)


def test_two_children_at_once_do_not_wait_for_each_other(server: WarmProcess, script: Script, tmp_path: Path) -> None:
    """The first one's end is seen although a later child, which was forked meanwhile, still runs."""
    other = Script(tmp_path / "other")
    other.folder.mkdir()
    gates = [script.folder / "gate", other.folder / "gate"]
    waiting = "import os, time\nopen('begun', 'w').close()\nwhile not os.path.exists('gate'): time.sleep(0.01)\n"
    ends: list[int] = []
    threads = [
        threading.Thread(target=lambda one=one, n=n: (one.run(server, waiting), ends.append(n)))
        for n, one in enumerate((script, other))
    ]
    for thread, one in zip(threads, (script, other), strict=True):
        thread.start()
        eventually((one.folder / "begun").exists)

    gates[0].touch()
    eventually(lambda: ends)
    first = list(ends)
    gates[1].touch()
    for thread in threads:
        thread.join(20)

    assert first == [0]
    assert ends == [0, 1]


def test_a_client_that_dies_takes_its_child_along(server: WarmProcess, script: Script) -> None:
    """Nobody computes for a client that is gone."""
    (script.folder / "somebodys.py").write_text(
        FAMILY.format(then="open('pids', 'w').write(f'{os.getpid()} {child.pid}'); time.sleep(600)")
    )
    asking = (
        "import os, sys; from pathlib import Path; from mlauto.runtime.warm import WarmProcess\n"
        "WarmProcess(Path(sys.argv[1])).run_python('somebodys', Path('x'), cwd=Path(sys.argv[2]),"
        " env={'PATH': os.environ['PATH'], 'PYTHONPATH': sys.argv[2]}, timeout=600)"
    )
    client = subprocess.Popen([sys.executable, "-c", asking, str(server.address), str(script.folder)])
    told = script.folder / "pids"
    eventually(lambda: told.exists() and len(pids(told.read_text())) == 2)

    client.kill()
    client.wait()

    eventually(lambda: [start_time(pid) for pid in pids(told.read_text())] == [None, None])


def test_an_error_in_the_listener_of_lines_kills_the_child(server: WarmProcess, script: Script) -> None:
    """An interrupt while output is read is an end too."""
    found: list[int] = []

    def refuse(line: str) -> None:
        found.extend(pids(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        script.run(server, FAMILY.format(then="time.sleep(600)"), on_line=refuse)

    eventually(lambda: [start_time(pid) for pid in found] == [None, None])


def begun(folder: Path, *modules: str) -> tuple[WarmProcess, subprocess.Popen[bytes]]:
    """A warm process of a test's own, without libraries."""
    warm = WarmProcess(folder / "own.sock", libraries=())
    return warm, warm.start(modules)


def test_a_detached_child_outlives_the_server(tmp_path: Path, script: Script) -> None:
    """It appends to its file until its own end, and a successor of the server can be started meanwhile."""
    output = tmp_path / "logs" / "runs.log"
    output.parent.mkdir()
    output.write_text("earlier\n")
    (script.folder / "somebodys.py").write_text(
        "import os, sys, time\nprint(*sys.argv[1:])\nwhile not os.path.exists('gate'): time.sleep(0.01)\nprint('done')"
    )
    warm, server = begun(tmp_path)
    environment = scrubbed_environment(PYTHONPATH=str(script.folder))
    pid = warm.spawn("somebodys", ["a", "b c"], cwd=script.folder, env=environment, output=output)
    eventually(lambda: output.read_text() == "earlier\na b c\n")

    assert ended(server) == 0
    _, successor = begun(tmp_path)
    assert start_time(pid) is not None
    (script.folder / "gate").touch()
    eventually(lambda: start_time(pid) is None)

    assert output.read_text() == "earlier\na b c\ndone\n"
    assert ended(successor) == 0


def test_a_server_that_is_told_to_end_waits_for_who_is_waited_for(tmp_path: Path, script: Script) -> None:
    """A training that runs while the daemon ends is not lost; new work finds no server, and runs all the same."""
    warm, server = begun(tmp_path)
    waiting = (
        "import os, time\nopen('begun', 'w').close()\nwhile not os.path.exists('gate'): time.sleep(0.01)\nprint('done')"
    )
    found: list[Finished] = []
    thread = threading.Thread(target=lambda: found.append(script.run(warm, waiting)))
    thread.start()
    eventually((script.folder / "begun").exists)

    assert server.stdin is not None
    server.stdin.close()
    eventually(lambda: not warm.running())
    plain = warm.run_python("platform", tmp_path, cwd=tmp_path, env=scrubbed_environment(), timeout=20)
    (script.folder / "gate").touch()
    thread.join(20)

    assert plain.exit_code == 0
    assert (found[0].exit_code, found[0].output) == (0, "done\n")
    assert server.wait(timeout=20) == 0


def test_a_server_that_is_killed_ends_the_work(tmp_path: Path, script: Script) -> None:
    """Its child's exit code is lost with it, so the child is ended and the work has failed."""
    warm, server = begun(tmp_path)
    found: list[Finished] = []
    lines: list[str] = []
    text = FAMILY.format(then="time.sleep(600)")
    thread = threading.Thread(target=lambda: found.append(script.run(warm, text, on_line=lines.append)))
    thread.start()
    eventually(lambda: lines)

    server.kill()
    server.communicate()
    thread.join(20)

    assert (found[0].exit_code, found[0].timed_out) == (1, False)
    eventually(lambda: [start_time(pid) for pid in pids(lines[0])] == [None, None])


def test_only_the_owner_may_ask(server: WarmProcess) -> None:
    """Whoever can connect can run code as this user."""
    assert stat.S_IMODE(server.address.stat().st_mode) == 0o600


def test_one_process_serves_an_address(server: WarmProcess) -> None:
    """A second one ends at once and takes nothing over."""
    second = server.begin()

    assert ended(second) == 0
    assert server.running()


def test_without_a_server_nothing_is_spawned(tmp_path: Path) -> None:
    """Detached work needs the process that it is detached from."""
    nobody = WarmProcess(tmp_path / "missing" / "warm.sock")

    assert not nobody.running()
    with pytest.raises(MlautoError, match=r"no warm process listens on .*warm\.sock: start it first"):
        nobody.spawn("platform", [], cwd=tmp_path, env={}, output=tmp_path / "log")


@pytest.fixture
def leaving(tmp_path: Path) -> Iterator[WarmProcess]:
    """A warm process that ends while a request waits in its queue."""
    address = tmp_path / "leaving.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        leaver = threading.Thread(target=_leave, args=(listener,))
        leaver.start()
        yield WarmProcess(address)
        leaver.join()


def _leave(listener: socket.socket) -> None:
    """Hang up when the whole request has come, without having read more than its first byte."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(1)  # which carries the descriptor
        eventually(lambda: connection.recv(1 << 20, socket.MSG_PEEK).endswith(b"\n"))


def test_work_that_an_ending_server_did_not_read_was_not_started(leaving: WarmProcess, tmp_path: Path) -> None:
    """Detached work may be asked of the next one."""
    with pytest.raises(NotWarmError, match="is ending: start another"):
        leaving.spawn("platform", [], cwd=tmp_path, env={}, output=tmp_path / "log")


def test_awaited_work_runs_cold_when_the_server_is_ending(leaving: WarmProcess, script: Script) -> None:
    """The caller notices nothing but the time."""
    found = script.run(leaving, "print('done')")

    assert (found.exit_code, found.output) == (0, "done\n")


def test_a_server_that_does_not_come_up_is_an_error_with_its_log(tmp_path: Path) -> None:
    """The message names the log, and the log says why."""
    warm = WarmProcess(tmp_path / "warm.sock", libraries=())

    with pytest.raises(MlautoError, match=r"did not start: see .*warm\.log"):
        warm.start(["no_such_module"])

    assert "No module named 'no_such_module'" in (tmp_path / "warm.log").read_text()


def test_requests_that_are_too_large_are_refused_here(server: WarmProcess, script: Script) -> None:
    """The message names the module; the server never sees it."""
    with pytest.raises(MlautoError, match="the arguments of somebodys are larger than"):
        script.run(server, "", HUGE="x" * (1 << 20))

    assert server.running()


def test_start_times_tell_processes_apart() -> None:
    """A living process has one, which stays; a pid that is gone, or a zombie, has none."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    eventually(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))

    assert start_time(os.getpid()) == start_time(os.getpid()) != start_time(1)
    assert start_time(child.pid) is None
    child.wait()
    assert start_time(child.pid) is None


def test_the_libraries_are_those_that_cost() -> None:
    """What a run or a training imports first is imported in advance."""
    assert {"great_expectations", "mlflow", "pandas", "skops.io"} <= set(LIBRARIES)
