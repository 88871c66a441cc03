"""A parent that keeps the gateway alive: when its process is killed, another one serves from the same listening socket.

The parent holds the socket and the lock, so that connections wait in the kernel's queue, and nobody else takes the
port, while there is no gateway. It does nothing but wait, so that there is nothing in it that could fail.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

__all__ = ["guarded"]

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
STABLE_SECONDS = 10.0  # a process that lived so long is replaced at once
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


def guarded(serve: Callable[[], int]) -> int:
    """Run `serve` in a child process, and again in another one whenever a signal kills it.

    SIGTERM and SIGINT are passed on. Returns what `serve` returned when it ended by itself, or after such a signal; a
    child that is killed again and again is replaced after growing pauses. Should this process be killed, the child is
    killed, too. Call it before anything starts threads.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    kills = 0
    while True:
        began = time.monotonic()
        code, asked = _watched(_forked(serve))
        if code >= 0 or asked:
            return max(code, 0)
        kills = 0 if time.monotonic() - began > STABLE_SECONDS else kills + 1
        pause = min(FIRST_PAUSE * 2 ** (kills - 2), LONGEST_PAUSE) if kills > 1 else 0.0
        name = signal.Signals(-code).name
        print(f"the gateway's process was killed ({name}): again in {pause:g} s", file=sys.stderr, flush=True)
        if signal.sigtimedwait((signal.SIGTERM, signal.SIGINT), pause):
            return 0


def _watched(child: int) -> tuple[int, bool]:
    """The exit code of the child, negative for a signal, and whether it was asked to end."""
    asked = False
    while True:
        number = signal.sigwait(SIGNALS)
        if number != signal.SIGCHLD:
            asked = True
            os.kill(child, number)
            continue
        found, status = os.waitpid(child, os.WNOHANG)
        if found == child:
            return os.waitstatus_to_exitcode(status), asked


def _forked(serve: Callable[[], int]) -> int:
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _become(serve, parent)
    return child


def _become(serve: Callable[[], int], parent: int) -> NoReturn:
    code = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            code = serve()
    finally:
        failure = sys.exc_info()
        if failure[0] is not None:  # what the interpreter does at its top level
            sys.excepthook(*failure)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
