"""The other processes that answer the same users as this one, by what this one tells them: several, or none."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mlauto.serving.metrics import Metrics
from mlauto.serving.processes.handover import Handover

__all__ = ["Alone", "Others", "Whole"]


class Whole(Protocol):
    """All processes that answer users, taken together."""

    @property
    def pids(self) -> Sequence[int]:
        """The leader first, which alone runs model servers and takes orders."""
        ...

    async def total(self) -> Metrics:
        """What all of them have counted. Raises `UnavailableError` where that cannot be found out."""
        ...


class Others(Whole, Protocol):
    """The followers, as their leader sees them."""

    async def seen(self) -> None:
        """Return when nobody answers by another route than the leader does."""
        ...

    async def finished(self) -> None:
        """Return when nobody has a request in flight on a version that the leader no longer has."""
        ...

    async def in_flight(self) -> Mapping[tuple[str, str], int]:
        """Requests in flight at the followers, by product and version."""
        ...

    def forget(self, product: str, version: str) -> None:
        """Drop a stopped version's counters."""
        ...

    def place(self, descriptor: int, /) -> bool:
        """Have a follower go on with a connection, if it is a follower's turn; True when the descriptor was sent."""
        ...

    def retire(self, descriptor: int, /) -> None:
        """Have them give their connections away through that descriptor, and end."""
        ...

    async def retired(self) -> None:
        """Return when no new request begins at those that were told to retire."""
        ...

    async def gone(self) -> None:
        """Return when there is none any more; those that do not come to an end are killed."""
        ...

    async def complete(self, seconds: float) -> None:
        """Return when as many as there should be answer users, or when time is up."""
        ...

    def begin(self, lost: Callable[[], None], handover: Handover, /) -> None:
        """Have them from now on, with a part of the leader's connections; `lost`: there can be no more."""
        ...

    def stop(self) -> None:
        """Have them answer what is in flight, and end."""
        ...


class Alone:
    """Nobody else answers."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics` is what this process counts."""
        self.pids = [os.getpid()]
        self._metrics = metrics

    async def total(self) -> Metrics:
        """What this process counted."""
        return self._metrics

    async def seen(self) -> None:
        """At once."""

    async def finished(self) -> None:
        """At once."""

    async def in_flight(self) -> Mapping[tuple[str, str], int]:
        """Nothing."""
        return {}

    def forget(self, product: str, version: str) -> None:
        """Drop a stopped version's counters."""
        self._metrics.forget(product, version)

    def place(self, _descriptor: int, /) -> bool:
        """There is nobody to give it to."""
        return False

    def retire(self, _descriptor: int, /) -> None:
        """Nobody is told."""

    async def retired(self) -> None:
        """At once."""

    async def gone(self) -> None:
        """At once."""

    async def complete(self, seconds: float) -> None:
        """At once."""

    def begin(self, _lost: Callable[[], None], _handover: Handover, /) -> None:
        """Nobody comes."""

    def stop(self) -> None:
        """Nobody is told."""
