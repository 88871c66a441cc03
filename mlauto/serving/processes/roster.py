"""The followers of a leader, one by one: begun, replaced when they end, killed when they hang."""

import asyncio
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.handover import DRAIN_SECONDS, Handover
from mlauto.serving.processes.mail import Mail, Message

__all__ = ["PROBE_PAUSE", "Follower", "Roster"]

RETIRED_SECONDS = 5.0
PROBE_PAUSE = 2.0  # each is asked something so often, and killed after so many questions to which nothing was said
MOST_MISSED = 5
STABLE_SECONDS = 10.0  # one that lived so long is replaced at once
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class Follower:
    """One of them, as far as it has told."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.began = time.monotonic()
        self.pid = self.seen = self.finished = self.tallied = self.missed = self.connections = 0
        self.serving = self.retired = self.ended = False
        self.metrics = Metrics()
        self.in_flight: Mapping[tuple[str, str], int] = {}

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> bool:
        """Send it, with a bound: who lets so much wait that no more can be sent is killed."""
        try:
            self.mail.send(message, descriptors)
        except BlockingIOError:
            self.kill()
            return False
        except OSError:  # its end is noticed otherwise
            return False
        return True

    def take(self, descriptor: int) -> bool:
        """Have it go on with a connection; True when that was sent."""
        try:
            self.mail.send(Message(kind="connection"), [descriptor])
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """At once; one that has not told its pid is not yet doing anything."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Roster(ABC):
    """So many followers as `wanted`, from `begin` to `stop` or `retire`; what is said to them is the subclass's."""

    def __init__(self, server: ForkServer, wanted: int) -> None:
        self._server = server
        self._wanted = wanted
        self._followers: list[Follower] = []
        self._handover: Handover
        self._ending = False
        self._deaths = self._turn = 0
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    def _follow(self, follower: Follower, message: Message, descriptors: Sequence[int]) -> None:
        """Take note of what it says."""

    @abstractmethod
    async def _ask(self) -> None:
        """Ask each something."""

    @abstractmethod
    def _departed(self, follower: Follower) -> None:
        """It has ended."""

    def begin(self, lost: Callable[[], None], handover: Handover) -> None:
        """Have followers from now on, with a part of the leader's connections; `lost`: there can be no more."""
        self._handover = handover
        loop = asyncio.get_running_loop()

        def server_ended() -> None:
            loop.remove_reader(self._server.fileno())
            if not self._ending:
                print("the gateway's fork server was killed: the gateway is restarted", file=sys.stderr, flush=True)
                self._ending = True
                lost()

        loop.add_reader(self._server.fileno(), server_ended)
        for _ in range(self._wanted):
            self._add()
        self._later(self._probe())

    def stop(self) -> None:
        """Have them answer what is in flight, and end."""
        self._ending = True
        for follower in self._followers:
            follower.tell(Message(kind="end"))

    async def complete(self, seconds: float) -> None:
        """Return when as many as there should be answer users, or when time is up."""
        await self._until(lambda: sum(follower.serving for follower in self._followers) >= self._wanted, seconds)

    def _serves(self, follower: Follower) -> None:
        """Users reach it, and it gets its part of the connections that this process has: nobody else was there."""
        missing = self._wanted - sum(other.serving for other in self._followers)
        follower.serving = True
        if not self._ending:
            self._handover.share(self._handover.number // (missing + 1), follower.take)

    def place(self, descriptor: int) -> bool:
        """Have a follower go on with a connection, if it is a follower's turn; True when the descriptor was sent."""
        serving = [follower for follower in self._followers if follower.serving]
        self._turn = (self._turn + 1) % (len(serving) + 1)
        return self._turn > 0 and serving[self._turn - 1].take(descriptor)

    def retire(self, descriptor: int) -> None:
        """Have them give their connections away through that descriptor, and end."""
        self._ending = True
        for follower in self._followers:
            follower.tell(Message(kind="retire"), [descriptor])

    async def retired(self) -> None:
        """Return when no new request begins at those that were told to retire."""
        await self._kill_unless(lambda follower: follower.retired, self._followers, RETIRED_SECONDS)

    async def gone(self) -> None:
        """Return when there is none any more; those that do not come to an end are killed."""
        await self._kill_unless(lambda _: False, self._followers, DRAIN_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._server.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._server.fileno())
            self._server.end()

    def _here(self) -> list[Follower]:
        return [follower for follower in self._followers if follower.pid]

    def _add(self) -> None:
        """One more."""
        if self._ending:
            return
        try:
            follower = Follower(self._server.child())
        except OSError:  # the server's end is noticed otherwise
            return
        self._followers.append(follower)
        asyncio.get_running_loop().add_reader(follower.mail.fileno(), self._hear, follower)

    def _hear(self, follower: Follower) -> None:
        try:
            while (found := follower.mail.receive()) is not None:
                follower.missed = 0
                self._follow(follower, *found)
                for descriptor in found[1]:
                    os.close(descriptor)
        except EOFError:
            self._lost(follower)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _lost(self, follower: Follower) -> None:
        """It has ended: have another one."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(follower.mail.fileno())
        follower.mail.close()
        follower.ended = True
        self._followers.remove(follower)
        self._departed(follower)
        if self._ending:
            return
        self._deaths = 0 if time.monotonic() - follower.began > STABLE_SECONDS else self._deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (self._deaths - 2), LONGEST_PAUSE) if self._deaths > 1 else 0.0
        print(f"a follower of the gateway ({follower.pid}) ended: again in {pause:g} s", file=sys.stderr, flush=True)
        loop.call_later(pause, self._add)

    async def _probe(self) -> None:
        """Ask everybody what they counted, again and again, and kill who says nothing any more.

        Questions are counted, not timed: a leader that was suspended itself must not blame its followers.
        """
        while True:
            await asyncio.sleep(PROBE_PAUSE)
            for follower in self._here():
                follower.missed += 1
                if follower.missed > MOST_MISSED:
                    follower.kill()
            await self._ask()

    async def _kill_unless(
        self, done: Callable[[Follower], bool], followers: Iterable[Follower], seconds: float
    ) -> None:
        """Wait until each is done or has ended; kill those that are not in time, and wait for their end."""
        left = list(followers)

        def all_done() -> bool:
            return all(done(follower) or follower.ended for follower in left)

        if not await self._until(all_done, seconds):
            for follower in left:
                if not done(follower):
                    follower.kill()
            await self._until(all_done, seconds)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), left)
        return True

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
