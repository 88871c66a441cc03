"""A process that answers users by what a leader tells it; here the test is the leader."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec
import pytest

from mlauto.serving.metrics import Metrics
from mlauto.serving.processes import follower
from mlauto.serving.processes.follower import Tally, follow
from mlauto.serving.processes.forks import fork
from mlauto.serving.processes.mail import Mail, Message, content_of, enclosed
from mlauto.serving.processes.mirror import View
from mlauto.serving.route import Versions
from mlauto.serving.web.sockets import listen_tcp
from mlauto_tests.serving.conftest import eventually
from mlauto_tests.serving.processes.test_mirror import leaders, told
from mlauto_tests.serving.processes.test_takeover import reply

ASKED = b"GET /v2 HTTP/1.1\r\nhost: here\r\n\r\n"


@dataclass
class Led:
    """A follower, as its leader has it."""

    pid: int
    mail: Mail
    listener: socket.socket
    ended: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def hears(self, kind: str, number: int = 0) -> list[int]:
        """Wait for a message; its descriptors."""
        found: tuple[Message, list[int]] = eventually(self.mail.receive, kind)
        assert (found[0].kind, found[0].number) == (kind, number)
        return found[1]

    def tell(self, kind: str, number: int = 0, content: bytes | None = None) -> None:
        """Send a message with what is enclosed."""
        descriptors = [] if content is None else [enclosed(content)]
        self.mail.send(Message(kind=kind, number=number), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def view(self, number: int, view: View) -> None:
        """Say what is so."""
        self.tell("view", number, msgspec.msgpack.encode(view))
        self.hears("seen", number)

    def serves(self) -> None:
        """Let it know of no versions, which is enough to serve."""
        self.view(1, View(pids=(1, self.pid), products={}))
        kinds = {eventually(self.mail.receive, "a message")[0].kind for _ in range(2)}
        assert kinds == {"finished", "serving"}

    def code(self) -> int:
        """How it ended."""
        if not self.ended:
            self.ended.append(os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]))
        return self.ended[0]

    def connected(self) -> socket.socket:
        """A connection to its port."""
        return socket.create_connection(self.listener.getsockname(), timeout=30)


@contextmanager
def following(home: Path) -> Iterator[Led]:
    """A follower that has just come."""
    listener = listen_tcp("127.0.0.1", 0)
    listener.listen()
    ours, theirs = Mail.pair()

    def work() -> int:
        ours.close()
        return follow(home, listener, theirs)

    pid = fork(work)
    theirs.close()
    found = Led(pid, ours, listener)
    found.hears("here")
    try:
        yield found
    finally:
        if not found.ended:
            os.kill(pid, signal.SIGKILL)
            found.code()
        ours.close()
        listener.close()


@pytest.fixture
def led(tmp_path: Path) -> Iterator[Led]:
    """The same for most tests."""
    with following(tmp_path) as found:
        yield found


def test_it_answers_nobody_before_it_knows_what_is_so(led: Led, tmp_path: Path) -> None:
    """Who connects before waits in the kernel's queue; every view is followed, and said to be."""
    with led.connected() as connection:
        connection.sendall(ASKED)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        connection.settimeout(30)
        led.view(5, told(leaders(tmp_path, "1")))
        assert b'"models":["bikes"]' in reply(connection)
        kinds = {eventually(led.mail.receive, "a message")[0].kind for _ in range(2)}
        assert kinds == {"finished", "serving"}
        led.view(6, told(Versions()))
        connection.sendall(ASKED)
        assert b'"models":[]' in reply(connection)
        led.hears("finished", 6)


def test_it_says_what_it_counted(led: Led) -> None:
    """When it is asked; and once more, before it ends."""
    led.serves()
    assert httpx.get(f"{led.url}/nothing").status_code == 404
    led.tell("tally", 7)
    (descriptor,) = led.hears("counts", 7)
    tally = msgspec.msgpack.decode(content_of(descriptor), type=Tally)
    os.close(descriptor)
    assert Metrics.loaded(tally.metrics).requests == {("", "", "404"): 1}
    assert tally.in_flight == {}
    os.kill(led.pid, signal.SIGINT)  # a terminal's: the leader decides
    assert httpx.get(f"{led.url}/nothing").status_code == 404
    os.kill(led.pid, signal.SIGTERM)
    (descriptor,) = led.hears("counts")
    tally = msgspec.msgpack.decode(content_of(descriptor), type=Tally)
    os.close(descriptor)
    assert Metrics.loaded(tally.metrics).requests == {("", "", "404"): 2}
    assert led.code() == 0


def test_metrics_are_what_the_leader_says(led: Led) -> None:
    """Of all processes, with the leader's pid and their number."""
    led.serves()
    whole = Metrics()
    whole.refused("", "", 404)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(httpx.get, f"{led.url}/metrics")
        led.hears("total", 1)
        led.tell("total", 1, whole.dumped())
        text = asking.result().text.splitlines()
    assert 'mlauto_requests_total{product="",version="",code="404"} 1' in text
    assert "mlauto_gateway_pid 1" in text
    assert "mlauto_gateway_workers 2" in text


def test_without_the_leaders_numbers_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half the truth would look like a counter that went backwards."""
    monkeypatch.setattr(follower, "TOTAL_SECONDS", 0.2)
    with following(tmp_path) as found:
        found.serves()
        answer = httpx.get(f"{found.url}/metrics")
    assert answer.status_code == 503
    assert "leading process does not answer" in answer.json()["error"]


@pytest.mark.parametrize("stop", [lambda led: led.tell("end"), lambda led: led.mail.close()], ids=["end", "gone"])
def test_it_ends_with_its_leader(led: Led, stop: Callable[[Led], None]) -> None:
    """When it is told to, or nobody is left to tell; also before it has begun to serve."""
    stop(led)
    assert led.code() == 0


def test_it_goes_on_with_a_connection_that_it_is_given(led: Led) -> None:
    """As if it had accepted it."""
    led.serves()
    with socket.create_server(("127.0.0.1", 0)) as other:
        client = socket.create_connection(other.getsockname(), timeout=30)
        accepted, _ = other.accept()
    led.mail.send(Message(kind="connection"), [accepted.fileno()])
    accepted.close()
    with client:
        client.sendall(ASKED)
        assert b'"models":[]' in reply(client)


def test_it_gives_its_connections_away_and_ends(led: Led) -> None:
    """To whoever is at the other end of what it is given."""
    led.serves()
    giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taking.settimeout(30)
    with led.connected() as client, giving, taking:
        client.sendall(ASKED)
        reply(client)
        led.mail.send(Message(kind="retire"), [giving.fileno()])
        led.hears("retired")
        _, (descriptor,), _, _ = socket.recv_fds(taking, 64, 1)
        for unused in led.hears("counts"):
            os.close(unused)
        assert led.code() == 0
        with socket.socket(fileno=descriptor) as ours:
            client.sendall(b"still there?")
            assert ours.recv(100) == b"still there?"


def test_who_never_served_has_nothing_to_give_away(led: Led) -> None:
    """It just ends."""
    giving, taking = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with giving, taking:
        led.mail.send(Message(kind="retire"), [giving.fileno()])
        assert led.code() == 0
