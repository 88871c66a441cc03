"""One request's rows on their way to a model server, and who is told what came of them."""

import asyncio
from collections.abc import Callable

from mlauto.serving.errors import ModelError, RequestError, UnavailableError
from mlauto.serving.web.link import LinkError
from mlauto.serving.wire.protocol import Answer

__all__ = ["Call", "Done", "Failure", "Future"]

Failure = LinkError | RequestError | ModelError | UnavailableError
Done = Callable[[Answer | Failure], None]
Future = asyncio.Future[Answer]


class Call:
    """`count` rows (a JSON list of objects), to be answered until `deadline` (loop time), perhaps `alone`."""

    __slots__ = ("_done", "_future", "alone", "count", "deadline", "rows")

    def __init__(
        self, rows: bytes, count: int, deadline: float, done: Done | None = None, *, alone: bool = False
    ) -> None:
        self.rows = rows
        self.count = count
        self.deadline = deadline
        self.alone = alone
        self._done = done
        self._future: Future | None = None

    def future(self, loop: asyncio.AbstractEventLoop) -> Future:
        """Of a call without `done`: what is told becomes its result or its exception."""
        made: Future = loop.create_future()
        self._future, self._done = made, self._resolve
        return made

    @property
    def over(self) -> bool:
        """Whether nobody waits any more."""
        return self._done is None or (self._future is not None and self._future.done())

    def tell(self, result: Answer | Failure) -> None:
        """Once: whatever comes later is nobody's."""
        done, self._done = self._done, None
        if done is not None:
            done(result)

    def _resolve(self, result: Answer | Failure) -> None:
        future = self._future
        if future is None or future.done():  # who waited has gone
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
