"""Children that end with their work, and with their parent."""

import os
import signal
import subprocess
import sys
import time

import msgspec

from mlauto.serving.processes.forks import Inherited, Process, execute, fork
from mlauto.serving.processes.mail import Mail, Message
from mlauto_tests.serving.conftest import environment, eventually
from mlauto_tests.serving.test_gateway import alive

ORPHAN = """
import time
from mlauto.serving.processes.forks import fork
print(fork(lambda: time.sleep(60)), flush=True)
time.sleep(60)
"""


def ended(pid: int) -> int:
    """The exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_ends_with_the_code_of_its_work() -> None:
    """And nothing of the parent's runs in it afterwards; an error is code 1."""
    ours, theirs = Mail.pair()
    assert ended(fork(lambda: 7)) == 7
    assert ended(fork(lambda: 1 // 0)) == 1
    assert ended(fork(lambda: theirs.send(Message(kind="ready")) or 0)) == 0
    assert ours.receive() == (Message(kind="ready"), [])
    for end in (ours, theirs):
        end.close()


def test_a_child_does_not_outlive_its_parent() -> None:
    """However that ends."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    eventually(lambda: not alive(child), "the end of the child")


def test_who_is_gone_is_told_nothing() -> None:
    """Neither a message nor a signal is an error then."""
    ours, theirs = Mail.pair()
    process = Process(fork(lambda: time.sleep(60) or 0), ours)
    process.kill(signal.SIGTERM)
    assert ended(process.pid) == -signal.SIGTERM
    theirs.close()
    process.tell(Message(kind="open"))
    process.kill(signal.SIGTERM)
    ours.close()


def test_the_next_python_gets_descriptors_and_what_was_said() -> None:
    """Behind the command's arguments, and in the environment that was given."""
    code = "import os, sys; os.write(int(sys.argv[1]), (os.environ['A'] + sys.argv[-1]).encode())"
    reader, writer = os.pipe()
    inherited = Inherited(role="guardian", kept={"lock": writer}, current=(7, 8))

    assert ended(fork(lambda: execute("", ["-c", code, str(writer)], inherited, {"A": "b"}, [writer]))) == 0
    os.close(writer)
    text = os.read(reader, 1000)
    os.close(reader)
    assert text[:1] == b"b"
    assert msgspec.json.decode(text[1:], type=Inherited).current == (7, 8)
