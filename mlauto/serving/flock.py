"""The followers of a leader: it begins them, tells them what runs and who answers, and replaces those that end.

| from, to         | kind         | meaning                                                                          |
|------------------|--------------|----------------------------------------------------------------------------------|
| follower, leader | `here`       | I am this process (`pid`), and follow from now on                                |
| leader, follower | `view`       | all versions and routes (enclosed) are so; view `number`                         |
| follower, leader | `seen`       | I answer by no older view than that                                              |
| follower, leader | `finished`   | and nothing is in flight here on what is not in it                               |
| follower, leader | `serving`    | users reach me                                                                   |
| leader, follower | `tally`      | what have you counted?                                                           |
| follower, leader | `counts`     | this (enclosed); `number` says which question that answers                       |
| follower, leader | `total`      | what have we counted?                                                            |
| leader, follower | `total`      | this (enclosed)                                                                  |
| leader, follower | `connection` | go on with this one (the descriptor)                                             |
| leader, follower | `retire`     | take no more connections, give those you have through the descriptor, and end    |
| follower, leader | `retired`    | no new request will begin here                                                   |
| leader, follower | `end`        | take no more connections, answer what is in flight, and end                      |
"""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from mlauto.serving.backend import DRAIN_SECONDS
from mlauto.serving.follower import Tally
from mlauto.serving.forkserver import ForkServer
from mlauto.serving.handover import DRAIN_SECONDS as LEAVE_SECONDS
from mlauto.serving.mail import Mail, Message, content_of, enclosed
from mlauto.serving.metrics import Metrics
from mlauto.serving.mirror import View
from mlauto.serving.route import Versions

__all__ = ["Flock"]

SEEN_SECONDS = 1.0  # who has not followed by then is killed
TALLY_SECONDS = 1.0  # of who has not answered by then, the counts before are taken
RETIRED_SECONDS = 5.0
PROBE_PAUSE = 2.0  # each is asked for a tally so often, and killed after so many to which nothing was said
MOST_MISSED = 5
STABLE_SECONDS = 10.0  # one that lived so long is replaced at once
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0


class _Follower:
    """One of them, as far as it has told."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.began = time.monotonic()
        self.pid = self.seen = self.finished = self.tallied = self.missed = 0
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

    def kill(self) -> None:
        """At once; one that has not told its pid is not yet doing anything."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Flock:
    """So many followers as `wanted`, from `begin` to `stop` or `retire`; see `others.Others` for what it does."""

    def __init__(self, server: ForkServer, wanted: int, versions: Versions, metrics: Metrics) -> None:
        self._server = server
        self._wanted = wanted
        self._versions = versions
        self._metrics = metrics
        self._past = Metrics()  # what those that ended had told
        self._followers: list[_Follower] = []
        self._ending = False
        self._deaths = 0
        self._number = self._asked = self._turn = 0
        self._content = b""
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> Sequence[int]:
        """The processes that answer users: this one, and the followers."""
        return (os.getpid(), *(follower.pid for follower in self._here()))

    def begin(self, lost: Callable[[], None]) -> None:
        """Have followers from now on; `lost` is called when there can be no more of them."""
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
        self._later(self._publish_changes())
        self._later(self._probe())

    def stop(self) -> None:
        """Have them answer what is in flight, and end."""
        self._ending = True
        for follower in self._followers:
            follower.tell(Message(kind="end"))

    async def complete(self, seconds: float) -> None:
        """Return when as many as there should be answer users, or when time is up."""
        await self._until(lambda: sum(follower.serving for follower in self._followers) >= self._wanted, seconds)

    async def seen(self) -> None:
        """Return when nobody answers by another route than this process; who does not follow in time is killed."""
        self._publish()
        number, here = self._number, self._here()
        await self._kill_unless(lambda follower: follower.seen >= number, here, SEEN_SECONDS)

    async def finished(self) -> None:
        """Return when nobody has a request in flight on a version that is no longer here (10 s at most)."""
        await self.seen()
        number, here = self._number, self._here()
        await self._until(
            lambda: all(follower.finished >= number or follower.ended for follower in here), DRAIN_SECONDS + 1
        )

    async def total(self) -> Metrics:
        """What all processes counted, those that ended included."""
        await self._tally()
        found = Metrics()
        for part in (self._metrics, self._past, *(follower.metrics for follower in self._followers)):
            found.add(part)
        return found

    async def in_flight(self) -> Mapping[tuple[str, str], int]:
        """Requests in flight at the followers, by product and version."""
        await self._tally()
        found: Counter[tuple[str, str]] = Counter()
        for follower in self._followers:
            found.update(follower.in_flight)
        return found

    def forget(self, product: str, version: str) -> None:
        """Drop a stopped version's counters; the followers have dropped theirs when they had finished."""
        for part in (self._metrics, self._past, *(follower.metrics for follower in self._followers)):
            part.forget(product, version)

    def place(self, descriptor: int) -> bool:
        """Have a follower go on with a connection, if it is a follower's turn; True when the descriptor was sent."""
        serving = [follower for follower in self._followers if follower.serving]
        self._turn = (self._turn + 1) % (len(serving) + 1)
        return self._turn > 0 and serving[self._turn - 1].tell(Message(kind="connection"), [descriptor])

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
        await self._kill_unless(lambda _: False, self._followers, LEAVE_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._server.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._server.fileno())
            self._server.end()

    def _here(self) -> list[_Follower]:
        return [follower for follower in self._followers if follower.pid]

    def _add(self) -> None:
        """One more."""
        if self._ending:
            return
        try:
            follower = _Follower(self._server.child())
        except OSError:  # the server's end is noticed otherwise
            return
        self._followers.append(follower)
        asyncio.get_running_loop().add_reader(follower.mail.fileno(), self._hear, follower)

    def _hear(self, follower: _Follower) -> None:
        try:
            while (found := follower.mail.receive()) is not None:
                self._follow(follower, *found)
        except EOFError:
            self._lost(follower)
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _follow(self, follower: _Follower, message: Message, descriptors: list[int]) -> None:
        kind, number = message.kind, message.number
        follower.missed = 0
        if kind == "here":
            follower.pid = message.pid
            self._publish()
        elif kind == "seen":
            follower.seen = max(follower.seen, number)
        elif kind == "finished":
            follower.finished = max(follower.finished, number)
        elif kind == "counts":
            tally = msgspec.msgpack.decode(content_of(descriptors[0]), type=Tally)
            follower.metrics, follower.in_flight = Metrics.loaded(tally.metrics), tally.in_flight
            follower.tallied = max(follower.tallied, number)
        elif kind == "total":
            self._later(self._tell_total(follower, number))
        elif kind in ("serving", "retired"):
            follower.serving, follower.retired = kind == "serving", kind == "retired"
        for descriptor in descriptors:
            os.close(descriptor)

    def _lost(self, follower: _Follower) -> None:
        """It has ended: keep what it counted, and have another one."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(follower.mail.fileno())
        follower.mail.close()
        follower.ended = True
        self._followers.remove(follower)
        self._past.add(follower.metrics)
        if self._ending:
            return
        self._deaths = 0 if time.monotonic() - follower.began > STABLE_SECONDS else self._deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (self._deaths - 2), LONGEST_PAUSE) if self._deaths > 1 else 0.0
        print(f"a follower of the gateway ({follower.pid}) ended: again in {pause:g} s", file=sys.stderr, flush=True)
        loop.call_later(pause, self._add)
        self._publish()

    def _publish(self) -> None:
        """Tell everybody what is so, if it is not what was told last."""
        content = msgspec.msgpack.encode(View.of(self._versions, tuple(self.pids)))
        if content == self._content:
            return
        self._content = content
        self._number += 1
        descriptor = enclosed(content)
        for follower in self._here():
            follower.tell(Message(kind="view", number=self._number), [descriptor])
        os.close(descriptor)

    async def _publish_changes(self) -> None:
        while True:
            await self._versions.change(PROBE_PAUSE)
            self._publish()

    async def _probe(self) -> None:
        """Ask everybody what they counted, again and again, and kill who says nothing any more.

        Questions are counted, not timed: a leader that was suspended itself must not blame its followers.
        """
        while True:
            await asyncio.sleep(PROBE_PAUSE)
            self._ask_tally()
            for follower in self._here():
                follower.missed += 1
                if follower.missed > MOST_MISSED:
                    follower.kill()

    def _ask_tally(self) -> int:
        self._asked += 1
        for follower in self._here():
            follower.tell(Message(kind="tally", number=self._asked))
        return self._asked

    async def _tally(self) -> None:
        number, here = self._ask_tally(), self._here()
        await self._until(lambda: all(follower.tallied >= number or follower.ended for follower in here), TALLY_SECONDS)

    async def _tell_total(self, follower: _Follower, number: int) -> None:
        descriptor = enclosed((await self.total()).dumped())
        follower.tell(Message(kind="total", number=number), [descriptor])
        os.close(descriptor)

    async def _kill_unless(
        self, done: Callable[[_Follower], bool], followers: Iterable[_Follower], seconds: float
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
