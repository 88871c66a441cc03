"""Commits of all kinds in real containers: what they do stays there, and what stopped them is told."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.integration.checks import run_checks
from mlauto.records import CheckResult, CiReport, Commit
from mlauto.runtime import container_job
from mlauto.runtime.boxes import BOX_LABEL, container_user
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop, Limits
from mlauto.runtime.engine import HOME_LABEL, EngineError, EngineImage
from mlauto.runtime.flavours import Flavours
from mlauto.store import tree_digest

pytestmark = pytest.mark.needs("docker")
COMMIT = Commit(sha="a" * 40, tree="t", subject="s", author="Ada", time=0.0)
LIMITS = Limits(memory_mb=256, space_mb=64, pids=64)
Check = Callable[..., CiReport]


@pytest.fixture
def workshop(flavours: Flavours, tmp_path: Path) -> Iterator[DockerWorkshop]:
    """A workshop of the test's own with small limits; nothing of it may be left behind."""
    engine = DockerEngine()
    made = DockerWorkshop(engine, flavours, tmp_path / "home", LIMITS)
    yield made
    left = engine.containers({HOME_LABEL: str(made.home)})
    for container in left:
        engine.remove(container.id)
    engine.close()
    assert left == []
    assert not (made.home / "tmp").exists() or list((made.home / "tmp").iterdir()) == []


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The export of a commit: a package below src, and a test."""
    (tmp_path / "tree" / "src" / "pack").mkdir(parents=True)
    (tmp_path / "tree" / "tests").mkdir()
    (tmp_path / "tree" / "src" / "pack" / "__init__.py").write_text('"""A package."""\n\nVALUE = 1\n')
    (tmp_path / "tree" / "tests" / "test_pack.py").write_text(
        "import pack\n\n\ndef test_value():\n    assert pack.VALUE == 1\n"
    )
    return tmp_path / "tree"


@pytest.fixture
def check(workshop: DockerWorkshop, tree: Path) -> Check:
    """`check("command", "script": text)`: run commands in a tree that has these scripts; the tree stays as it is."""

    def run(*commands: str, timeout: float = 30.0, lines: list[str] | None = None, **scripts: str) -> CiReport:
        for name, text in scripts.items():
            (tree / f"{name}.py").write_text(text)
        before = tree_digest(tree)
        on_line = None if lines is None else lines.append
        report = run_checks(COMMIT, tree, commands, workshop=workshop, timeout=timeout, on_line=on_line)
        assert tree_digest(tree) == before
        return report

    return run


def only(report: CiReport) -> CheckResult:
    (result,) = report.results
    return result


def test_a_commit_is_tested_as_on_this_machine(check: Check, workshop: DockerWorkshop) -> None:
    """Linter and tests pass in one copy of the tree, live and in the report, which names the image."""
    lines: list[str] = []

    report = check("ruff check .", "pytest -q", "no-such-program", lines=lines)

    lint, tests, missing = report.results
    assert (lint.passed, lint.kind) == (True, "lint"), lint
    assert (tests.passed, tests.tests) == (True, 1), tests
    assert missing.failures == ("'no-such-program': no such program here: install it, or correct code.checks",)
    assert any("1 passed" in line for line in lines)
    assert report.image == workshop.image()


def test_programs_of_the_repository_run(check: Check, tree: Path) -> None:
    """A script that is executable there is so in the copy; later commands see what earlier ones left."""
    (tree / "go.sh").write_text("#!/bin/sh\necho went > went\n")
    (tree / "go.sh").chmod(0o755)

    report = check("./go.sh", "cat went")

    assert report.passed, report
    assert report.results[1].output == "went\n"


def test_red_tests_are_named(check: Check, tree: Path) -> None:
    """The tests' own report comes out of the container."""
    (tree / "tests" / "test_bad.py").write_text("def test_bad():\n    assert 1 == 2, 'numbers differ'\n")

    result = only(check("pytest -q"))

    assert (result.passed, result.tests) == (False, 2)
    assert [line.split(": ")[0] for line in result.failures] == ["tests.test_bad::test_bad"]


HOSTILE = {
    "forks": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError as error: last = error\n",
        "time limit of 3 s (code.timeout): more than 64 processes and threads were wanted at a time",
    ),
    "forks until it is told": (
        "import os, time\nwhile True:\n    if not os.fork(): time.sleep(60)\n",
        "more than 64 processes and threads were wanted at a time",
    ),
    "fills memory": ("x = b'1' * (1 << 30)\n", "the memory limit of 256 MB was reached"),
    "fills its space": (
        "with open('big', 'wb') as big:\n    while True: big.write(b'1' * (1 << 20))\n",
        "more than 64 MB were written to /scratch",
    ),
    "fills /tmp and clears up": (
        "import os\nbig = open('/tmp/big', 'wb')\ntry: big.write(b'1' * (99 << 20))\nfinally: os.unlink('/tmp/big')\n",
        "more was written than there is room for: 64 MB in /scratch, 64 MB in /tmp",
    ),
    "calls the network": (
        "import socket\nsocket.create_connection(('198.51.100.1', 80), timeout=5)\n",
        "there is no network here: put what is needed into the repository",
    ),
    "resolves names": (
        "import socket\nsocket.getaddrinfo('example.org', 80)\n",
        "there is no network here",
    ),
    "writes to the image": ("open('/usr/x', 'w')\n", "nothing but /scratch and /tmp can be written to"),
    "sleeps": ("import time\ntime.sleep(60)\n", "was stopped at its time limit of 3 s (code.timeout)"),
    "ends everything": (
        "import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(os.getppid(), signal.SIGKILL)\n",
        "it ended everything in its container (exit code 137)",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_stopped_a_command_is_told(check: Check, what: str) -> None:
    """The verdict says what was met, in time, and the next command finds a place to run all the same."""
    script, sentence = HOSTILE[what]
    began = time.monotonic()

    bad, good = check(
        "python bad.py", "pytest -q", timeout=3.0 if "s (code.timeout)" in sentence else 30.0, bad=script
    ).results

    assert not bad.passed
    assert sentence in bad.failures[0], bad
    assert good.passed or "time limit" in good.failures[0], good  # on a busy machine
    assert time.monotonic() - began < 60


SPY = """
import ctypes, glob, json, os, socket, stat
found = {}
def tried(name, what):
    try: found[name] = repr(what())
    except OSError as error: found[name] = error.strerror
tried("environment", lambda: dict(os.environ))
tried("init", lambda: open("/proc/1/environ").read())
tried("shadow", lambda: open("/etc/shadow").read())
tried("home", lambda: open(HOME + "/secret").read())
tried("above", lambda: sorted(os.listdir(HOME)))
tried("repository", lambda: open(TREE + "/new", "w"))
tried("changed", lambda: open(TREE + "/spy.py", "a"))
tried("unlinked", lambda: os.unlink(TREE + "/spy.py"))
tried("box", lambda: open("/run/mlauto/box/new", "w"))
tried("lock", lambda: open("/run/mlauto/box/lock"))
tried("second", lambda: socket.socket(socket.AF_UNIX).connect("/run/mlauto/box/socket"))
tried("root", lambda: os.setuid(0))
tried("mounted", lambda: ctypes.CDLL(None).mount(b"none", b"/mnt", b"tmpfs", 0, None))
tried("traced", lambda: ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0))
tried("opened", lambda: os.listdir(f"/proc/{os.getppid()}/fd"))
tried("memory", lambda: open("/dev/mem"))
tried("kernel", lambda: open("/proc/sys/kernel/panic", "w"))
tried("node", lambda: os.mknod("node", stat.S_IFBLK | 0o600, os.makedev(8, 0)))
sockets = {os.path.realpath(path) for place in ("/run", "/var/run") for path in glob.glob(place + "/**", recursive=True)
           if stat.S_ISSOCK(os.stat(path).st_mode)}
found["sockets"] = sorted(sockets)
found["processes"] = len([name for name in os.listdir("/proc") if name.isdecimal()])
found["uid"] = os.getuid()
print(json.dumps(found))
"""


def test_nothing_of_this_machine_is_within_reach(
    check: Check, workshop: DockerWorkshop, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret, no file of ours or of the machine, no engine, no privilege, and no way into the process beside it."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    workshop.home.mkdir()
    (workshop.home / "secret").write_text("hidden")
    (workshop.home / "secret").chmod(0o644)

    result = only(check("python spy.py", spy=f"HOME, TREE = {str(workshop.home)!r}, {str(tree)!r}\n{SPY}"))
    (workshop.home / "secret").unlink()

    assert result.passed, result.output
    found = json.loads(result.output)
    assert "hidden" not in result.output
    assert "MLAUTO" not in found["environment"] + found["init"]
    assert (found["shadow"], found["home"]) == ("Permission denied", "No such file or directory")
    assert found["above"] == "No such file or directory"
    assert {found[name] for name in ("repository", "changed", "unlinked", "box")} <= {
        "Read-only file system",
        "Permission denied",
    }
    assert found["lock"] == "Permission denied"
    assert found["second"] == "Connection refused"
    assert found["root"] == "Operation not permitted"
    assert (found["mounted"], found["traced"]) == ("-1", "-1")
    assert found["opened"] == "Permission denied"
    assert found["memory"] == "No such file or directory"
    assert found["kernel"] in {"Read-only file system", "Permission denied"}
    assert found["node"] == "Operation not permitted"
    assert found["sockets"] == ["/run/mlauto/box/socket"]
    assert found["processes"] <= 4
    assert found["uid"] == container_user() != 0


def test_children_that_ignore_signals_do_not_outlive_their_command(check: Check) -> None:
    """Neither in the group nor out of it; the next command is alone."""
    leaving = (
        "import glob, os, signal, time\n"
        "for _ in range(5):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        open(f'alive-{os.getpid()}', 'w')\n"
        "        time.sleep(600)\n"
        "while len(glob.glob('alive-*')) < 5: time.sleep(0.05)\n"
    )
    counting = "import glob, os\nprint([os.path.exists(f'/proc/{n[6:]}') for n in glob.glob('alive-*')])\n"

    first, second = check("python leaving.py", "python counting.py", leaving=leaving, counting=counting).results

    assert first.passed
    assert second.output == "[False, False, False, False, False]\n"


def test_a_flood_of_output_is_cut(check: Check) -> None:
    """Beginning and end are kept of 50 MB, in bounded memory here and there."""
    flood = (
        "import sys\nprint('first')\nfor _ in range(500): sys.stdout.write(('y' * 99 + '\\n') * 1000)\nprint('last')\n"
    )

    result = only(check("python flood.py", timeout=120, flood=flood))

    assert result.passed, result.failures
    assert len(result.output) < 70_000
    assert result.output.startswith("first")
    assert result.output.endswith("last\n")


def test_one_that_stops_the_process_beside_it_is_killed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches from outside needs no help from inside."""
    monkeypatch.setattr(container_job, "GRACE_SECONDS", 1.0)
    stopping = "import os, signal, time\nos.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(600)\n"

    result = only(check("python stopping.py", timeout=2, stopping=stopping))

    assert result.failures == ("'python stopping.py' was stopped at its time limit of 2 s (code.timeout)",)


def test_a_training_sees_its_files_and_only_what_it_was_asked_for_comes_back(
    workshop: DockerWorkshop, tree: Path, tmp_path: Path
) -> None:
    """Inputs at their own paths and read-only, plain files back, and lines as they come."""
    folder, cache = tmp_path / "scratch", tmp_path / "cache"
    folder.mkdir(mode=0o700)
    cache.mkdir()
    (cache / "tool").write_text("sharp")
    (folder / "request.json").write_text("{}")
    (tree / "src" / "pack" / "fit.py").write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "here = Path(sys.argv[1]).parent\n"
        f"print(Path(sys.argv[1]).read_text(), Path({str(cache / 'tool')!r}).read_text(), os.environ['TOLD'])\n"
        "(here / 'artifact' / 'deep').mkdir(parents=True)\n"
        "(here / 'artifact' / 'deep' / 'model').write_bytes(b'x' * 3_000_000)\n"
        "(here / 'artifact' / 'empty').touch()\n"
        "(here / 'other').write_text('not asked for')\n"
        f"for path in (sys.argv[1], {str(cache / 'tool')!r}):\n"
        "    try: open(path, 'w')\n"
        "    except OSError as error: print(error.strerror)\n"
    )
    lines: list[str] = []

    ended = workshop.python(tree)(
        "pack.fit",
        folder / "request.json",
        cwd=folder,
        env={"PYTHONPATH": str(tree / "src"), "HOME": str(folder), "PATH": "/no", "TOLD": "yes"},
        timeout=30,
        on_line=lines.append,
        reads=[cache, tmp_path / "missing"],
        fetch=["artifact", "holdout.json"],
    )

    assert ended.exit_code == 0, ended
    assert lines == ["{} sharp yes", *["Read-only file system"] * 2]
    assert (folder / "artifact" / "deep" / "model").read_bytes() == b"x" * 3_000_000
    assert sorted(path.name for path in folder.rglob("*")) == ["artifact", "deep", "empty", "model", "request.json"]


@pytest.mark.parametrize("trap", ["os.symlink('/etc/shadow', 'artifact/x')", "os.mkfifo('artifact/x')"])
def test_traps_among_what_a_training_wrote_are_not_taken(
    workshop: DockerWorkshop, tree: Path, tmp_path: Path, trap: str
) -> None:
    """A link or a pipe is named, and fails the training."""
    (tree / "trap.py").write_text(f"import os\nos.mkdir('artifact')\n{trap}\n")
    folder = tmp_path / "scratch"
    folder.mkdir()

    ended = workshop.python(tree)(
        "trap",
        folder / "none",
        cwd=folder,
        env={"PYTHONPATH": str(tree), "HOME": str(folder)},
        timeout=30,
        fetch=["artifact"],
    )

    assert ended.exit_code == 1
    assert ended.why == "only plain files are taken: ['artifact/x is no plain file']"
    assert not (folder / "artifact").exists()


WAITS = """
import sys
from pathlib import Path
from types import SimpleNamespace
from mlauto.runtime.docker_engine import DockerEngine
from mlauto.runtime.docker_workshop import DockerWorkshop
images = SimpleNamespace(get=lambda name: SimpleNamespace(id=sys.argv[3]))
with DockerWorkshop(DockerEngine(), images, Path(sys.argv[1])).bench(Path(sys.argv[2])) as bench:
    command = ["python", "-c", "import time; print('up', flush=True); time.sleep(600)"]
    bench.run(command, timeout=600, on_line=lambda line: print(line, flush=True), limit=1000)
"""


@pytest.mark.parametrize("remover", ["the next job", "tidying up"])
def test_a_container_whose_maker_was_killed_ends_and_is_removed(
    workshop: DockerWorkshop, tree: Path, remover: str
) -> None:
    """It ends by itself, and the next job or tidying up removes it; one whose maker lives is left alone."""
    command = [sys.executable, "-c", WAITS, str(workshop.home), str(tree), workshop.image()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "up\n"
        (state,) = workshop.engine.containers({BOX_LABEL: "", HOME_LABEL: str(workshop.home)})
        assert workshop.tidy() == ()
        maker.kill()

    assert workshop.engine.wait(state.id, 20)
    if remover == "tidying up":
        assert workshop.tidy() == (f"container {state.name}",)
    else:
        with workshop.bench(tree) as bench:
            assert bench.run(["true"], timeout=20, on_line=None, limit=1000).exit_code == 0
    assert workshop.engine.container(state.id) is None
    assert not Path(state.labels[BOX_LABEL]).exists()


def test_an_image_that_is_no_workshop_is_an_error_and_no_verdict(docker_base: str, tree: Path, tmp_path: Path) -> None:
    """The commit is not to blame."""
    engine = DockerEngine()
    base = engine.image(docker_base)
    assert base is not None
    workshop = DockerWorkshop(engine, Fixed(base), tmp_path / "home", LIMITS)

    with pytest.raises(EngineError, match=r"(did not come up as a workshop|cannot be started)"):
        run_checks(COMMIT, tree, ["true"], workshop=workshop, timeout=5)

    assert engine.containers({HOME_LABEL: str(workshop.home)}) == []
    engine.close()


class Fixed:
    """One image for every flavour."""

    def __init__(self, image: EngineImage) -> None:
        self.image = image

    def get(self, name: str) -> EngineImage:
        return self.image

    def dependencies_key(self, name: str) -> str:
        return name


def test_jobs_run_side_by_side(workshop: DockerWorkshop, tree: Path) -> None:
    """Two at a time have a container each."""
    said: list[str] = []

    def job(word: str) -> None:
        with workshop.bench(tree) as bench:
            said.append(bench.run(["echo", word], timeout=30, on_line=None, limit=1000).output)

    threads = [threading.Thread(target=job, args=(word,)) for word in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(said) == ["one\n", "two\n"]


def test_the_environment_is_that_of_the_images_dependencies(workshop: DockerWorkshop, flavours: Flavours) -> None:
    """It is known without the image, and does not change with mlauto's own code."""
    assert workshop.environment() == flavours.dependencies_key("workshop")
    assert workshop.environment() == flavours.dependencies("workshop").labels["mlauto.key"]
    assert workshop.limits.cpus == len(os.sched_getaffinity(0))
