"""A job's container whose inner end is played: what it may say, and what is made of it."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mlauto.runtime import container_job
from mlauto.runtime.container_job import ContainerJob, Order
from mlauto.runtime.engine import ContainerSpec, EngineError
from mlauto.runtime.fake_engine import FakeEngine
from mlauto.runtime.inside import BOX
from mlauto.runtime.process import Finished
from mlauto.serving.web.sockets import short_path

ENDED = {"exit": 0, "timed_out": False, "why": "", "refused": [], "full": [], "oom": 0, "forks": 0}
Play = Callable[["PlayedEngine", str, socket.socket], None]


@dataclass
class PlayedEngine(FakeEngine):
    """Whatever starts connects to its box and plays; then it has ended, unless it was killed before."""

    play: Play | None = None
    heard: list[dict[str, Any]] = field(default_factory=list)
    killed: threading.Event = field(default_factory=threading.Event)

    def start(self, container: str) -> None:
        super().start(container)
        if self.play is None:
            self.ended(container, 1)
            return
        threading.Thread(target=self._played, args=(container, self.play), daemon=True).start()

    def kill(self, container: str) -> None:
        super().kill(container)
        self.killed.set()

    def _played(self, container: str, play: Play) -> None:
        spec = self.specs[self.made[container].name]
        (box,) = (mount for mount in spec.mounts if mount.target == BOX)
        assert not box.writable
        with socket.socket(socket.AF_UNIX) as connection, short_path(box.source / "socket") as name:
            connection.connect(name)
            with connection.makefile("rb") as stream:
                self.heard.append(json.loads(stream.readline()))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, EngineError):  # we may be gone already
                play(self, container, connection)
                if self._found(container).status == "running":
                    self.ended(container, 0)


def saying(*messages: dict[str, Any] | bytes) -> Play:
    """An end that says these, and no more until we are gone."""

    def play(engine: PlayedEngine, container: str, connection: socket.socket) -> None:
        for message in messages:
            connection.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
        connection.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            connection.recv(1)

    return play


def dying(exit_code: int, *, oom_killed: bool = False) -> Play:
    """An end that goes away in the middle."""

    def play(engine: PlayedEngine, container: str, connection: socket.socket) -> None:
        connection.sendall(b'{"line": "last words"}\n')
        engine.ended(container, exit_code, oom_killed=oom_killed)

    return play


@contextmanager
def started(tmp_path: Path, play: Play | None) -> Iterator[ContainerJob]:
    engine = PlayedEngine(play=play)
    spec = ContainerSpec(
        name="job",
        image=engine.put("workshop:1").id,
        command=["inside"],
        user="1:1",
        tmpfs={"/scratch": 8, "/tmp": 4},
        memory_mb=99,
        pids=7,
    )
    with ContainerJob.started(engine, spec, tmp_path / "home") as job:
        yield job
    assert engine.made == {}
    assert list((tmp_path / "home" / "tmp").iterdir()) == []


def order(tmp_path: Path, **changes: Any) -> Order:
    given = Order(
        argv=["run"],
        cwd="/scratch/tree",
        env={"HOME": "/scratch/home"},
        timeout=5.0,
        folder="/scratch",
        fetch=["artifact"],
        into=tmp_path / "into",
        copy="/tree",
    )
    return replace(given, **changes)


def done(tmp_path: Path, play: Play, **changes: Any) -> Finished:
    with started(tmp_path, play) as job:
        return job.do(order(tmp_path, **changes))


def test_lines_files_and_the_end_are_taken(tmp_path: Path) -> None:
    """The order goes in as it was given; output comes as lines, files where they belong."""
    lines: list[str] = []
    play = saying({"line": "one"}, {"file": "artifact/x", "bytes": 3}, b"abc", {"line": "two"}, ENDED)
    with started(tmp_path, play) as job:
        ended = job.do(order(tmp_path), lines.append)
        heard = job.engine.heard  # type: ignore[attr-defined] # the played one's
        assert not job.ended

    assert (ended.exit_code, ended.output, ended.why, ended.timed_out) == (0, "one\ntwo\n", "", False)
    assert lines == ["one", "two"]
    assert (tmp_path / "into" / "artifact" / "x").read_bytes() == b"abc"
    assert heard == [
        {
            "argv": ["run"],
            "cwd": "/scratch/tree",
            "env": {"HOME": "/scratch/home"},
            "timeout": 5.0,
            "folder": "/scratch",
            "fetch": ["artifact"],
            "copy": "/tree",
        }
    ]


MEMORY = "the memory limit of 99 MB was reached"
FORKS = "more than 7 processes and threads were wanted at a time"
FULL = "more than 8 MB were written to /scratch"


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        ({"exit": -9, "oom": 1}, -9, MEMORY),
        ({"exit": 1, "forks": 3}, 1, FORKS),
        ({"exit": 1, "full": ["/scratch"]}, 1, FULL),
        ({"exit": 1, "full": ["/etc", 3]}, 1, ""),
        ({"exit": 1, "oom": 1, "full": ["/scratch"]}, 1, f"{MEMORY}; {FULL}"),
        ({"exit": 127, "why": "no such program"}, 127, "no such program"),
        ({"exit": 0, "oom": 1, "forks": 1, "full": ["/tmp"]}, 0, ""),
        ({"exit": 0, "refused": ["x is no plain file"]}, 1, "only plain files are taken: ['x is no plain file']"),
        ({"exit": None, "timed_out": True, "forks": 1}, None, FORKS),
        ({"exit": "many"}, None, ""),
    ],
)
def test_the_limits_that_a_failed_command_met_are_told(
    tmp_path: Path, said: dict[str, Any], code: int | None, why: str
) -> None:
    """Each in a sentence; one that succeeded met none that mattered."""
    ended = done(tmp_path, saying({**ENDED, **said}))

    assert (ended.exit_code, ended.why, ended.timed_out) == (code, why, "timed_out" in said)


def test_an_end_that_says_nothing_of_how_it_was_has_failed(tmp_path: Path) -> None:
    """An empty message is no success."""
    assert done(tmp_path, saying({})).exit_code is None


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "OSError: [Errno 28] No space left on device",
            "more was written than there is room for: 8 MB in /scratch, 4 MB",
        ),
        (
            "OSError: [Errno 101] Network is unreachable",
            "there is no network here: put what is needed into the repository",
        ),
        ("gaierror: [Errno -3] Temporary failure in name resolution", "there is no network here"),
        ("OSError: [Errno 30] Read-only file system: '/x'", "nothing but /scratch and /tmp can be written to"),
    ],
)
def test_some_limits_are_known_by_their_words(tmp_path: Path, line: str, why: str) -> None:
    """They are in the output when the command failed."""
    assert done(tmp_path, saying({"line": line}, {**ENDED, "exit": 1})).why.startswith(why)
    assert done(tmp_path, saying({"line": line}, ENDED)).why == ""


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([b"nonsense\n"], "what came is no message"),
        ([{"file": "../x", "bytes": 1}, b"x", ENDED], "was not asked for"),
        ([{"file": "artifact/x", "bytes": 13 << 20}], "too large"),
    ],
)
def test_an_end_that_breaks_the_rules_has_failed(tmp_path: Path, messages: list[Any], why: str) -> None:
    """Nothing more is taken from that container."""
    with started(tmp_path, saying(*messages)) as job:
        ended = job.do(order(tmp_path))
        assert job.ended

    assert ended.exit_code is None
    assert why in ended.why


@pytest.mark.parametrize(
    ("play", "code", "why"),
    [
        (dying(137, oom_killed=True), 137, "the memory limit of 99 MB was reached"),
        (dying(137), 137, "it ended everything in its container (exit code 137)"),
        (dying(0), 1, "it ended everything in its container (exit code 0)"),
    ],
)
def test_a_command_that_takes_the_container_with_it_has_failed(tmp_path: Path, play: Play, code: int, why: str) -> None:
    """However it ended; what it said before is kept."""
    with started(tmp_path, play) as job:
        ended = job.do(order(tmp_path))
        assert job.ended

    assert (ended.exit_code, ended.why, ended.output) == (code, why, "last words\n")


def test_a_container_that_does_not_answer_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From outside, a little after the command's own limit."""
    monkeypatch.setattr(container_job, "GRACE_SECONDS", 0.2)

    def play(engine: PlayedEngine, container: str, connection: socket.socket) -> None:
        engine.killed.wait(20)

    began = time.monotonic()
    ended = done(tmp_path, play, timeout=0.2)

    assert (ended.timed_out, ended.exit_code, ended.why) == (True, None, "")
    assert time.monotonic() - began < 10


def test_a_container_that_cannot_even_be_killed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever when the engine is in trouble."""
    monkeypatch.setattr(container_job, "GRACE_SECONDS", 0.1)

    with pytest.raises(EngineError, match="neither answers nor ends"):
        done(tmp_path, saying({"line": "and then nothing"}), timeout=0.1)


def test_a_tree_that_cannot_be_copied_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    """The commit is not to blame."""
    with pytest.raises(EngineError, match="cannot begin: no permission"):
        done(tmp_path, saying({"failed": "no permission"}))


def test_a_container_that_somebody_removed_is_an_error(tmp_path: Path) -> None:
    """Neither is the commit."""

    def play(engine: PlayedEngine, container: str, connection: socket.socket) -> None:
        engine.remove(container)

    with pytest.raises(EngineError, match="is not there"):
        done(tmp_path, play)


def test_a_container_that_does_not_come_up_is_an_error(tmp_path: Path) -> None:
    """With what it said."""
    with (
        pytest.raises(EngineError, match="did not come up as a workshop: it said nothing"),
        started(tmp_path, None),
    ):
        raise AssertionError("it never came up")


def test_an_engine_that_is_down_is_an_error(tmp_path: Path) -> None:
    """And leaves no box behind."""
    engine = PlayedEngine(down="the engine is down")
    spec = ContainerSpec(name="job", image="sha256:0", command=["inside"], user="1:1")

    with (
        pytest.raises(EngineError, match="the engine is down"),
        ContainerJob.started(engine, spec, tmp_path),
    ):
        raise AssertionError("it never came up")
    assert list((tmp_path / "tmp").iterdir()) == []
