"""Children of the guardian, which do not outlive it, and what passes from one Python to the next through `exec`."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from mlauto.serving.processes.mail import NEWS, Mail, Message

__all__ = ["SIGNALS", "Inherited", "Process", "end_with_parent", "execute", "fork"]

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2, NEWS)  # the guardian waits for these


class Inherited(msgspec.Struct, frozen=True, kw_only=True):
    """What a process gets through `exec`: descriptors by name, and processes as pid and end of the channel to them."""

    role: str
    kept: dict[str, int]
    mail: int = -1
    current: tuple[int, int] | None = None
    old: Sequence[tuple[int, int]] = ()


@dataclass
class Process:
    """A child, and our end of the channel to it."""

    pid: int
    mail: Mail
    began: float = field(default_factory=time.monotonic)
    retired: bool = False

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Who is gone needs no message: its end is noticed otherwise."""
        with suppress(OSError):
            self.mail.send(message, descriptors)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def end_with_parent(parent: int) -> None:
    """Be killed when `parent` ends, however it ends; exit at once if it has ended already. Linux only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the process that wanted this one is gone")


def fork(work: Callable[[], int]) -> int:
    """The pid of a child that does that, and ends with the code it returns."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(work, parent)
    return child


def _become(work: Callable[[], int], parent: int) -> NoReturn:
    code = 1
    try:
        end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        code = work()
    finally:
        failure = sys.exc_info()
        if failure[0] is not None:  # what the interpreter does at its top level
            sys.excepthook(*failure)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def execute(
    program: str,
    command: Sequence[str],
    inherited: Inherited,
    environment: Mapping[str, str],
    descriptors: Sequence[int],
) -> NoReturn:
    """Become that Python, by default this one, with `--inherited` behind the command. Raises `OSError`."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    text = msgspec.json.encode(inherited).decode()
    program = program or sys.executable
    os.execve(program, [program, *command, "--inherited", text], environment)  # noqa: S606 -- no shell is meant
