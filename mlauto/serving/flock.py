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

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from mlauto.serving.backend import DRAIN_SECONDS
from mlauto.serving.follower import Tally
from mlauto.serving.forkserver import ForkServer
from mlauto.serving.mail import Message, content_of, enclosed
from mlauto.serving.metrics import Metrics
from mlauto.serving.mirror import View
from mlauto.serving.others import Share
from mlauto.serving.roster import PROBE_PAUSE, Follower, Roster
from mlauto.serving.route import Versions

__all__ = ["Flock"]

SEEN_SECONDS = 1.0  # who has not followed by then is killed
TALLY_SECONDS = 1.0  # of who has not answered by then, the counts before are taken


class Flock(Roster):
    """So many followers as `wanted`, from `begin` to `stop` or `retire`; see `others.Others` for what it does."""

    def __init__(self, server: ForkServer, wanted: int, versions: Versions, metrics: Metrics) -> None:
        super().__init__(server, wanted)
        self._versions = versions
        self._metrics = metrics
        self._past = Metrics()  # what those that ended had told
        self._number = self._asked = 0
        self._content = b""

    @property
    def pids(self) -> Sequence[int]:
        """The processes that answer users: this one, and the followers."""
        return (os.getpid(), *(follower.pid for follower in self._here()))

    def begin(self, lost: Callable[[], None], share: Share) -> None:
        """Have followers from now on; `lost` is called when there can be no more, and `share` for a new one."""
        super().begin(lost, share)
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
            follower.tallied = max(follower.tallied, number)
        elif kind == "total":
            self._later(self._tell_total(follower, number))
        elif kind == "serving":
            self._serves(follower)
        elif kind == "retired":
            follower.retired = True

    def _departed(self, follower: Follower) -> None:
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

    def _ask(self) -> int:
        self._asked += 1
        for follower in self._here():
            follower.tell(Message(kind="tally", number=self._asked))
        return self._asked

    async def _tally(self) -> None:
        number, here = self._ask(), self._here()
        await self._until(lambda: all(follower.tallied >= number or follower.ended for follower in here), TALLY_SECONDS)

    async def _tell_total(self, follower: Follower, number: int) -> None:
        descriptor = enclosed((await self.total()).dumped())
        follower.tell(Message(kind="total", number=number), [descriptor])
        os.close(descriptor)
