"""A gateway of one process: nobody else is asked, told or waited for."""

import asyncio
import os

from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.handover import Handover
from mlauto.serving.processes.others import Alone, Others
from mlauto.serving.web.http import Receive, Scope, Send, server


def test_alone_is_the_whole() -> None:
    """Its counts are all there are, and every connection stays here."""

    async def scenario() -> None:
        metrics = Metrics()
        alone: Others = Alone(metrics)
        assert alone.pids == [os.getpid()]
        assert await alone.total() is metrics
        assert await alone.in_flight() == {}
        assert not alone.place(0)

    asyncio.run(scenario())


async def nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """An application that nobody asks."""


def test_nobody_is_waited_for() -> None:
    """Whatever would be waited for is so at once."""

    async def scenario() -> list[object]:
        alone = Alone(Metrics())
        alone.begin(lambda: None, Handover(server(nothing)))
        alone.retire(0)
        alone.stop()
        waits = (alone.seen(), alone.finished(), alone.retired(), alone.gone(), alone.complete(60))
        return await asyncio.wait_for(asyncio.gather(*waits), 1)

    assert asyncio.run(scenario()) == [None] * 5


def test_a_stopped_version_is_forgotten() -> None:
    """Its counters are."""
    metrics = Metrics()
    metrics.answered("bikes", "1", seconds=0.1, rows=1)
    metrics.answered("bikes", "2", seconds=0.1, rows=1)
    Alone(metrics).forget("bikes", "1")
    assert list(metrics.rows) == [("bikes", "2")]
