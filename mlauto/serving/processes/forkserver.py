"""A process that others are forked from: it has the gateway's code and nothing else, so that a fork is safe and quick.

The process that answers users cannot fork: it has threads and an event loop. This one is forked from it before those
begin, and waits. Its children end with it, and it with the process that wanted it.
"""

import os
import select
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from mlauto.serving.processes.forks import fork
from mlauto.serving.processes.mail import Mail, Message

__all__ = ["ForkServer"]

Work = Callable[[Mail], int]


class ForkServer:
    """The process, as seen by the one that wanted it."""

    def __init__(self, work: Work, kept: Iterable[int]) -> None:
        """Begin it; each of its children does `work`. It keeps the descriptors `kept`, and closes all others."""
        self._mail, theirs = Mail.pair()
        self.pid = fork(lambda: _serve(theirs, work, {0, 1, 2, theirs.fileno(), *kept}))
        theirs.close()

    def fileno(self) -> int:
        """It is readable when the process has ended."""
        return self._mail.fileno()

    def child(self) -> Mail:
        """The channel to a new child, closed when that one has ended. Raises `OSError` when the server is gone."""
        ours, theirs = Mail.pair()
        try:
            self._mail.send(Message(kind="fork"), [theirs.fileno()])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def end(self) -> None:
        """End it, and its children with it."""
        self._mail.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _serve(mail: Mail, work: Work, kept: set[int]) -> int:
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        if descriptor not in kept:
            with suppress(OSError):  # the folder's own
                os.close(descriptor)
    for number in (signal.SIGTERM, signal.SIGINT):  # it is who wanted this process that decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them: their channels say that they have ended
    while True:
        select.select([mail], [], [])
        try:
            found = mail.receive()
        except EOFError:
            return 0
        for descriptor in found[1] if found else ():
            fork(partial(_work, mail, work, descriptor))
            os.close(descriptor)


def _work(server: Mail, work: Work, descriptor: int) -> int:
    server.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return work(Mail.inherited(descriptor))
