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
| leader, follower | `share`      | send me so many (`number`) of your connections, for others                       |
| follower, leader | `connection` | this is one                                                                      |
| leader, follower | `retire`     | take no more connections, give those you have through the descriptor, and end    |
| follower, leader | `retired`    | no new request will begin here                                                   |
| leader, follower | `end`        | take no more connections, answer what is in flight, and end                      |
"""

import math
import os
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from mlauto.serving.backend import DRAIN_SECONDS
from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.follower import Tally
from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.mail import Message, content_of, enclosed
from mlauto.serving.processes.mirror import View
from mlauto.serving.processes.roster import PROBE_PAUSE, Follower, Roster
from mlauto.serving.route import Versions

__all__ = ["Flock", "moves"]

SEEN_SECONDS = 3.0  # who has not followed by then is killed; one huge body may take a second to parse
UNEVEN, MOST_MOVED = 0.25, 64  # of the mean, and one more, may the most differ from the fewest; moved at a time
TALLY_SECONDS = 1.0  # of who has not answered by then, the counts before are taken
Holder = TypeVar("Holder")


def moves(numbers: Mapping[Holder, int]) -> dict[Holder, list[Holder]]:
    """Who gives connections, one to each of those listed, so that all have as many; nobody while they nearly have."""
    mean, left = sum(numbers.values()) / len(numbers), dict(numbers)
    if max(numbers.values()) - min(numbers.values()) <= mean * UNEVEN + 1:
        return {}
    found: dict[Holder, list[Holder]] = {}
    for giver in [holder for holder, number in numbers.items() if number > math.ceil(mean)]:
        found[giver] = []
        for _ in range(min(left[giver] - math.ceil(mean), MOST_MOVED)):
            taker = min(left, key=left.__getitem__)
            left[taker] += 1
            found[giver].append(taker)
    return found


class Flock(Roster):
    """So many followers as `wanted`, from `begin` to `stop` or `retire`; see `others.Others` for what it does."""

    def __init__(self, server: ForkServer, wanted: int, versions: Versions, metrics: Metrics) -> None:
        super().__init__(server, wanted)
        self._versions = versions
        self._metrics = metrics
        self._past = Metrics()  # what those that ended had told
        self._number = self._asked = 0
        self._content = b""
        self._takers: deque[Follower | None] = deque()

    @property
    def pids(self) -> Sequence[int]:
        """The processes that answer users: this one, and the followers."""
        return (os.getpid(), *(follower.pid for follower in self._here()))

    def begin(self, lost: Callable[[], None], handover: Handover) -> None:
        """Have followers from now on, with a part of the leader's connections; `lost`: there can be no more."""
        super().begin(lost, handover)
        self._later(self._publish_changes())

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

    def _follow(self, follower: Follower, message: Message, descriptors: Sequence[int]) -> None:
        kind, number = message.kind, message.number
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
            follower.connections, follower.tallied = tally.connections, max(follower.tallied, number)
        elif kind == "total":
            self._later(self._tell_total(follower, number))
        elif kind == "connection":
            self._settle(descriptors[0])
        elif kind == "serving":
            self._serves(follower)
        elif kind == "retired":
            follower.retired = True

    def _departed(self, follower: Follower) -> None:
        follower.metrics.ended()
        self._past.add(follower.metrics)
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

    async def _ask(self) -> None:
        await self._tally()
        if not self._ending:
            self._balance()

    def _balance(self) -> None:
        """Have those with many connections give some to those with few: who accepts first may get all of them."""
        serving = [follower for follower in self._followers if follower.serving]
        numbers: dict[Follower | None, int] = {follower: follower.connections for follower in serving}
        numbers[None] = self._handover.number
        self._takers.clear()
        for giver, takers in moves(numbers).items():
            self._takers.extend(takers)
            if giver is None:
                self._handover.share(len(takers), self._take)
            else:
                giver.tell(Message(kind="share", number=len(takers)))

    def _take(self, descriptor: int) -> bool:
        """Send a connection to whose turn it is; False when it is to go on here."""
        taker = self._takers.popleft() if self._takers else None
        return taker is not None and taker.take(descriptor)

    def _settle(self, descriptor: int) -> None:
        """Likewise, for one that a follower gave."""
        if not self._take(descriptor):
            self._handover.adopt(os.dup(descriptor))

    async def _tally(self) -> None:
        self._asked += 1
        number, here = self._asked, self._here()
        for follower in here:
            follower.tell(Message(kind="tally", number=number))
        await self._until(lambda: all(follower.tallied >= number or follower.ended for follower in here), TALLY_SECONDS)

    async def _tell_total(self, follower: Follower, number: int) -> None:
        descriptor = enclosed((await self.total()).dumped())
        follower.tell(Message(kind="total", number=number), [descriptor])
        os.close(descriptor)
