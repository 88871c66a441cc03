"""Followers one by one, with small children in their place."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from mlauto.serving.processes import roster
from mlauto.serving.processes.forkserver import ForkServer
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.mail import Mail, Message
from mlauto.serving.processes.roster import Follower, Roster
from mlauto.serving.web.http import server
from mlauto_tests.serving.processes.test_others import nothing
from mlauto_tests.serving.test_gateway import alive
from mlauto_tests.waiting import until

if TYPE_CHECKING:
    import uvicorn

Work = Callable[[Mail], int]


class Twelve(Handover):
    """Twelve connections, however many are given away."""

    number = 12

    def __init__(self, public: "uvicorn.Server") -> None:
        super().__init__(public)
        self.shared: list[int] = []

    def share(self, number: int, place: Callable[[int], bool]) -> None:
        """Note it."""
        self.shared.append(number)


class Plain(Roster):
    """It takes note of what is said, and asks for a sign of life."""

    def __init__(self, server: ForkServer, wanted: int) -> None:
        super().__init__(server, wanted)
        self.heard: list[tuple[int, str]] = []
        self.departed: list[int] = []

    @property
    def followers(self) -> list[Follower]:
        return list(self._followers)

    @property
    def serving(self) -> list[int]:
        return [follower.pid for follower in self._followers if follower.serving]

    def _follow(self, follower: Follower, message: Message, descriptors: Sequence[int]) -> None:
        if message.kind == "here":
            follower.pid = message.pid
            self._serves(follower)
        follower.retired = follower.retired or message.kind == "retired"
        self.heard.append((follower.pid, message.kind))

    async def _ask(self) -> None:
        for follower in self._followers:
            follower.tell(Message(kind="tally"))

    def _departed(self, follower: Follower) -> None:
        self.departed.append(follower.pid)


def shared(found: Plain) -> list[int]:
    """How many connections each new one was given."""
    assert isinstance(found._handover, Twelve)
    return found._handover.shared


def obedient(mail: Mail) -> int:
    """Answer every message by its kind, and end when it is time."""
    mail.send(Message(kind="here", pid=os.getpid()))
    while True:
        found = mail.receive()
        if found is None:
            time.sleep(0.002)
        elif found[0].kind in ("end", "retire"):
            if found[0].kind == "retire":
                mail.send(Message(kind="retired"))
            return 0
        else:
            mail.send(Message(kind=found[0].kind))


def deaf(mail: Mail) -> int:
    """Come, and do nothing more."""
    mail.send(Message(kind="here", pid=os.getpid()))
    time.sleep(60)
    return 0


def short_lived(mail: Mail) -> int:
    """Come and go."""
    mail.send(Message(kind="here", pid=os.getpid()))
    return 0


@asynccontextmanager
async def begun(work: Work, wanted: int, lost: Callable[[], None] = lambda: None) -> AsyncIterator[Plain]:
    """A roster whose followers do that."""
    found = Plain(ForkServer(work, []), wanted)
    found.begin(lost, Twelve(server(nothing)))
    try:
        yield found
    finally:
        found.stop()
        await found.gone()
        assert found.followers == []


def test_there_are_as_many_as_are_wanted_and_all_end() -> None:
    """Each new one gets its part of the leader's connections: a third, then half of what is left."""

    async def scenario() -> None:
        async with begun(obedient, 2) as found:
            await found.complete(20)
            pids = found.serving
            assert len(set(pids)) == 2
            assert shared(found) == [4, 6]
        await until(lambda: not any(map(alive, pids)))
        assert sorted(found.departed) == sorted(pids)

    asyncio.run(scenario())


def test_one_that_is_killed_is_replaced() -> None:
    """By another process, at once; the leader gives it half of its own connections."""

    async def scenario() -> None:
        async with begun(obedient, 2) as found:
            await found.complete(20)
            first, second = found.serving
            os.kill(first, signal.SIGKILL)
            await until(lambda: found.departed == [first] and len(found.serving) == 2)
            assert second in found.serving
            assert shared(found) == [4, 6, 6]

    asyncio.run(scenario())


def test_those_that_end_again_and_again_are_replaced_after_pauses(capsys: pytest.CaptureFixture[str]) -> None:
    """Growing ones: a fault at the start must not take a whole core."""

    async def scenario() -> None:
        async with begun(short_lived, 1) as found:
            await until(lambda: len(found.departed) == 4)

    began = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began > 0.1 + 0.2
    said = capsys.readouterr().err
    assert "again in 0 s" in said
    assert "again in 0.1 s" in said
    assert "again in 0.2 s" in said


def test_one_that_says_nothing_any_more_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some questions without an answer; one that answers is not."""
    monkeypatch.setattr(roster, "PROBE_PAUSE", 0.02)

    async def scenario(work: Work) -> list[int]:
        async with begun(work, 1) as found:
            await found.complete(20)
            await until(lambda: found.departed or sum(kind == "tally" for _, kind in found.heard) > 20)
            return list(found.departed)

    assert len(asyncio.run(scenario(deaf))) == 1
    assert asyncio.run(scenario(obedient)) == []


def test_those_that_do_not_end_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a bound."""
    monkeypatch.setattr(roster, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(roster, "RETIRED_SECONDS", 0.1)

    async def scenario() -> None:
        async with begun(deaf, 2) as found:
            await found.complete(20)
            pids = found.serving
            found.retire(0)
            await found.retired()
            await until(lambda: not any(map(alive, pids)))
            assert found.followers == []

    asyncio.run(scenario())


def test_those_that_retire_are_not_replaced() -> None:
    """They say when no new request begins there, and end."""

    async def scenario() -> None:
        async with begun(obedient, 2) as found:
            await found.complete(20)
            found.retire(0)
            await found.retired()
            await found.gone()
            assert [kind for _, kind in found.heard].count("retired") == 2
            assert len(found.departed) == 2

    asyncio.run(scenario())


def test_connections_go_round() -> None:
    """Every third stays here where there are two others; nobody gets one before it serves."""

    async def scenario() -> None:
        async with begun(obedient, 2) as found:
            assert not found.place(0)
            await found.complete(20)
            assert [found.place(0) for _ in range(6)].count(True) == 4
            await until(lambda: [kind for _, kind in found.heard].count("connection") == 4)
            takers = [pid for pid, kind in found.heard if kind == "connection"]
            assert {takers.count(pid) for pid in found.serving} == {2}

    asyncio.run(scenario())


def test_who_lets_messages_wait_is_killed() -> None:
    """When no more can be sent."""

    async def scenario() -> None:
        async with begun(deaf, 1) as found:
            await found.complete(20)
            (follower,) = found.followers
            while follower.tell(Message(kind="view", problem="x" * 60_000)):
                pass
            await until(lambda: found.departed == [follower.pid])
            assert not follower.take(0)

    asyncio.run(scenario())


def test_the_fork_servers_end_is_told() -> None:
    """There can be no more followers, and those that were there have ended with it."""

    async def scenario() -> None:
        lost: list[bool] = []
        async with begun(obedient, 1, lambda: lost.append(True)) as found:
            await found.complete(20)
            os.kill(found._server.pid, signal.SIGKILL)
            await until(lambda: lost == [True] and found.followers == [])

    asyncio.run(scenario())
