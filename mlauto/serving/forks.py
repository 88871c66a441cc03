"""Child processes that do not outlive their parent."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from mlauto.serving.mail import NEWS, Mail, Message

__all__ = ["SIGNALS", "Process", "end_with_parent", "fork"]

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2, NEWS)  # the guardian waits for these


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


def fork(work: Callable[[], int]) -> int:
    """The pid of a child that does that, and ends with the code it returns."""
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(work, parent)
    return child


def end_with_parent(parent: int) -> None:
    """Be killed when `parent` ends, however it ends; exit at once if it has ended already. Linux only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the process that wanted this process is gone")


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
