"""A parent that keeps the gateway alive: when its process is killed, another one serves from the same listening socket.

The parent holds the socket and the lock, so that connections wait in the kernel's queue, and nobody else takes the
port, while there is no gateway. It does nothing but wait, so that there is nothing in it that could fail.

It also puts a new process in the place of one that still answers (see `mail` for who says what): a successor with its
own code and settings is started beside it, and takes over when it is ready; before that nothing is changed for anybody.
Then the guardian becomes its own successor by `exec`, which keeps its pid, its children, the socket and the lock.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

from mlauto.serving.processes.forks import SIGNALS, Inherited, Process, execute, fork
from mlauto.serving.processes.mail import Mail, Message

__all__ = ["guarded"]

STABLE_SECONDS = 10.0  # a process that lived so long is replaced at once
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
READY_SECONDS = 150.0  # within this a successor is ready, or given up
RETIRE_SECONDS = 60.0  # within this a process that was replaced has answered what it had begun, or is killed
LONG = 3600.0
Serve = Callable[[Mail], int]


def guarded(
    serve: Serve,
    command: Sequence[str] = (),
    kept: Mapping[str, int] | None = None,
    inherited: Inherited | None = None,
) -> int:
    """Run `serve` in a child process, and again in another one whenever a signal kills it.

    SIGTERM and SIGINT are passed on. Returns what `serve` returned when it ended by itself, or after such a signal; a
    child that is killed again and again is replaced after growing pauses. Should this process be killed, the child is
    killed, too. Call it before anything starts threads.

    `command` are a Python's arguments that lead here again, with `--inherited` and an `Inherited` behind them: role
    `successor` to serve in the place of the child, `guardian` to go on as this function, with the descriptors `kept`.
    SIGUSR2, or the child's message, makes that happen.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    return _Guardian(serve, command, dict(kept or {})).run(inherited)


class _Guardian:
    def __init__(self, serve: Serve, command: Sequence[str], kept: dict[str, int]) -> None:
        self._serve = serve
        self._command = command
        self._kept = kept
        self._current: Process | None = None
        self._again, self._kills = 0.0, 0  # when there shall be a process again, while there is none
        self._successor: Process | None = None
        self._order = Message(kind="restart")
        self._waiting: Message | None = None  # an order for when the process before the present one has ended
        self._problem = ""
        self._old: list[Process] = []
        self._asked = self._opening = False  # opening: the process has not been told yet that it may follow orders
        self._code: int | None = None

    def run(self, inherited: Inherited | None) -> int:
        """Until the process ends by itself or is told to."""
        if inherited is None or inherited.current is None:
            self._current = self._forked()
        else:
            current, *old = (Process(pid, Mail.inherited(end)) for pid, end in (inherited.current, *inherited.old))
            self._resume(current, old)
        while True:
            # what there is to do may be older than this process's code: its signal is not waited for first
            self._reap()
            if self._code is not None and not self._old:
                return self._code
            self._hear()
            self._watch()
            seen = signal.sigtimedwait(SIGNALS, self._patience())
            number = seen.si_signo if seen else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                if self._current is None:
                    return 0
                self._end(number)
            elif number == signal.SIGUSR2 and self._current is not None:
                self._current.tell(Message(kind="ask"))

    def _patience(self) -> float:
        """Seconds until something is to be done without a signal."""
        now = time.monotonic()
        times = [now + LONG]
        if self._current is None:
            times.append(self._again)
        if self._successor is not None:
            times.append(self._successor.began + READY_SECONDS)
        times += [process.began + RETIRE_SECONDS for process in self._old]
        return max(0.0, min(times) - now)

    def _end(self, number: int) -> None:
        self._asked = True
        if self._successor is not None:
            self._successor.kill(signal.SIGKILL)
        for process in (self._current, *self._old):
            if process is not None:
                process.kill(number)

    def _reap(self) -> None:
        """Take note of the children that ended."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, code = ended[0], os.waitstatus_to_exitcode(ended[1])
                if self._current is not None and pid == self._current.pid:
                    if code >= 0 or self._asked:
                        self._code = max(code, 0)
                    else:
                        self._killed(self._current, code)
                elif self._successor is not None and pid == self._successor.pid:
                    self._no_successor(self._successor, code)
                for process in [process for process in self._old if process.pid == pid]:
                    process.mail.close()
                    self._old.remove(process)

    def _killed(self, process: Process, code: int) -> None:
        """Have another process soon."""
        process.mail.close()
        self._current = self._waiting = None
        if self._successor is not None:
            self._problem = "the gateway's process was killed meanwhile"
            self._successor.kill(signal.SIGKILL)
        now = time.monotonic()
        self._kills = 0 if now - process.began > STABLE_SECONDS else self._kills + 1
        pause = min(FIRST_PAUSE * 2 ** (self._kills - 2), LONGEST_PAUSE) if self._kills > 1 else 0.0
        self._again = now + pause
        name = signal.Signals(-code).name
        print(f"the gateway's process was killed ({name}): again in {pause:g} s", file=sys.stderr, flush=True)

    def _no_successor(self, successor: Process, code: int) -> None:
        successor.mail.close()
        self._successor = None
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stay(self._problem or f"the new process ended with {how}: see the gateway's log")

    def _stay(self, problem: str) -> None:
        print(f"the gateway was not restarted: {problem}", file=sys.stderr, flush=True)
        if self._current is not None:
            self._current.tell(Message(kind="stay", problem=problem))

    def _hear(self) -> None:
        """Read all messages."""
        for process in (self._current, self._successor, *self._old):
            with suppress(EOFError):  # its end is noticed otherwise
                while process is not None and (found := process.mail.receive()) is not None:
                    for descriptor in found[1]:
                        os.close(descriptor)
                    self._follow(process, found[0])

    def _follow(self, process: Process, message: Message) -> None:
        if message.kind == "restart" and process is self._current:
            self._waiting = message
        elif message.kind == "failed":
            self._problem = message.problem
        elif message.kind == "ready" and process is self._successor and not self._asked:
            self._take_over(process)
        elif message.kind == "leading" and process is self._current:
            self._retire_old(process.pid)
        elif message.kind == "retired":
            process.retired = True

    def _watch(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._current is None and now >= self._again:
            self._current = self._forked()
        if self._successor is not None and now >= self._successor.began + READY_SECONDS:
            self._problem = f"the new process was not ready within {READY_SECONDS:.0f} s"
            self._successor.kill(signal.SIGKILL)
            self._successor.began = math.inf
        for process in self._old:
            if now >= process.began + RETIRE_SECONDS:
                process.kill(signal.SIGKILL)
                process.began = math.inf
        if self._waiting is not None and self._successor is None and not self._old and not self._asked:
            self._begin(self._waiting)
        if self._opening and all(process.retired for process in self._old) and self._current is not None:
            self._opening = False
            self._current.tell(Message(kind="open"))

    def _begin(self, order: Message) -> None:
        """Start a successor."""
        self._order, self._problem, self._waiting = order, "", None
        ours, theirs = Mail.pair()
        inherited = Inherited(role="successor", kept=self._kept, mail=theirs.fileno())
        pid = fork(lambda: self._execute(inherited, [*self._kept.values(), theirs.fileno()]))
        theirs.close()
        self._successor = Process(pid, ours)
        self._successor.tell(Message(kind="heir", ready=order.ready))

    def _take_over(self, successor: Process) -> None:
        """From here on the successor is the process; become what its code says that a guardian is."""
        old = [] if self._current is None else [self._current]
        processes = [(process.pid, process.mail.fileno()) for process in (successor, *old)]
        inherited = Inherited(role="guardian", kept=self._kept, current=processes[0], old=processes[1:])
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            self._execute(inherited, [*self._kept.values(), *(number for _, number in processes)])
        except OSError as error:
            print(f"the gateway's guardian goes on with its old code: {error}", file=sys.stderr, flush=True)
        self._successor = None
        self._resume(successor, old)

    def _resume(self, current: Process, old: list[Process]) -> None:
        """Let the new process answer; the old ones follow when it does."""
        self._current, self._old, self._opening = current, old, True
        for process in (current, *old):
            process.began = time.monotonic()
        self._current.tell(Message(kind="lead"))

    def _retire_old(self, successor: int) -> None:
        """Give each old process a way to hand its connections over, of which the new one gets the other end."""
        for process in self._old:
            giving, taking = Mail.pair()
            process.tell(Message(kind="retire", pid=successor), [giving.fileno()])
            if self._current is not None:
                self._current.tell(Message(kind="take"), [taking.fileno()])
            giving.close()
            taking.close()

    def _execute(self, inherited: Inherited, descriptors: Sequence[int]) -> NoReturn:
        ours = self._order.environment
        environment = {name: value for name, value in os.environ.items() if ours is None or name[:7] != "MLAUTO_"}
        environment |= ours or {}
        execute(self._order.program, self._command, inherited, environment, descriptors)

    def _forked(self) -> Process:
        ours, theirs = Mail.pair()

        def serve() -> int:
            ours.close()
            return self._serve(theirs)

        self._opening = bool(self._old)
        if not self._opening:
            ours.send(Message(kind="open"))  # it is there before the process is
        pid = fork(serve)
        theirs.close()
        return Process(pid, ours)
