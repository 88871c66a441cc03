"""A process that others are forked from."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.mail import Mail, Message
from mlauto_tests.serving.conftest import environment, eventually
from mlauto_tests.serving.test_gateway import alive

ORPHANS = """
import time
from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.mail import Message
def work(mail):
    print(__import__("os").getpid(), flush=True)
    time.sleep(60)
server = ForkServer(work, [])
print(server.pid, flush=True)
child = server.child()
time.sleep(60)
"""


def said(mail: Mail) -> Message:
    """The next message."""
    found: tuple[Message, list[int]] = eventually(mail.receive, "a message")
    return found[0]


def opened() -> set[str]:
    """What is open in this process."""
    links = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the folder's own
            links.add(str(Path(f"/proc/self/fd/{name}").readlink()))
    return links


def hello(mail: Mail) -> int:
    """Say what there is, and wait for the other end's end."""
    mail.send(Message(kind="hello", pid=os.getpid(), problem=" ".join(opened()), number=os.getppid()))
    while True:
        try:
            mail.receive()
        except EOFError:
            return 0
        time.sleep(0.01)


def test_each_child_has_a_channel_of_its_own() -> None:
    """They are the server's children, and have nothing of what is open here but what was to be kept."""
    reader, writer = os.pipe()
    other, another = os.pipe()
    kept, others = (str(Path(f"/proc/self/fd/{end}").readlink()) for end in (writer, another))
    assert {kept, others} <= opened()
    server = ForkServer(hello, [writer])
    first, second = server.child(), server.child()
    found = [said(first), said(second)]
    assert len({message.pid for message in found} | {server.pid, os.getpid()}) == 4
    for message in found:
        assert message.number == server.pid
        assert kept in message.problem.split()
        assert others not in message.problem.split()
    first.close()
    eventually(lambda: not alive(found[0].pid), "the end of the first")
    assert alive(found[1].pid)
    server.end()
    eventually(lambda: not alive(found[1].pid), "the end of the second")
    second.close()
    for descriptor in (reader, writer, other, another):
        os.close(descriptor)


def test_a_childs_end_is_heard_and_it_leaves_no_zombie() -> None:
    """Its channel ends, however it does."""
    server = ForkServer(hello, [])
    child = server.child()
    pid = said(child).pid
    os.kill(pid, signal.SIGKILL)

    def ended() -> bool:
        try:
            child.receive()
        except EOFError:
            return True
        return False

    assert eventually(ended, "the end of the channel")
    assert eventually(lambda: not Path(f"/proc/{pid}").exists(), "nothing left of it")
    child.close()
    server.end()
    server.end()


def test_signals_to_all_do_not_end_it() -> None:
    """A terminal and service managers send them to every process: who wanted this one decides."""
    server = ForkServer(hello, [])
    first = server.child()
    assert said(first).kind == "hello"  # it is ready
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(server.pid, number)
    second = server.child()
    assert said(second).kind == "hello"
    server.end()
    first.close()
    second.close()


def test_without_the_server_there_are_no_children() -> None:
    """It is said."""
    server = ForkServer(hello, [])
    os.kill(server.pid, signal.SIGKILL)
    os.waitpid(server.pid, 0)
    with pytest.raises(OSError, match="Broken pipe"):
        server.child()
    server.end()


def test_all_end_with_who_wanted_them() -> None:
    """However that ends."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        family = [int(parent.stdout.readline()) for _ in range(2)]
        assert all(map(alive, family))
        parent.kill()
    eventually(lambda: not any(map(alive, family)), "the end of them all")
