"""One request on its way: who was asked so far, and who may be asked next."""

from collections.abc import Callable
from dataclasses import dataclass

from mlauto.serving.backend import Backend
from mlauto.serving.errors import ServingError
from mlauto.serving.route import Product, Route
from mlauto.serving.wire.protocol import Request
from mlauto.serving.wire.signature import Signature

__all__ = ["Attempts", "Parse"]

Parse = Callable[[bytes, Signature], Request]


@dataclass(slots=True)
class Attempts:
    """A user's request (`parse` makes rows of its `body`) and the attempts at it, of which one may follow another.

    `route` is the one of the moment when it came; `began` and `deadline` are monotonic time. `exact` is the only
    version that may answer, if one was named. `canary` is set while the canary is to be asked first; `refused` is True
    once it called the request the client's mistake.
    """

    product: Product
    body: bytes
    parse: Parse
    route: Route
    began: float
    deadline: float
    exact: Backend | None = None
    canary: Backend | None = None
    refused: bool = False
    count: int = 0
    failed: Backend | None = None
    error: ServingError | None = None
    _generation: int = 0

    def wanted(self) -> list[Backend]:
        """Those that may answer, the best first, whatever their state: by the route as it is now."""
        if self.exact is not None:
            return [self.exact]
        route = self.product.route
        return [backend for backend in (self.canary, route.champion, route.fallback) if backend is not None]

    def candidates(self) -> list[Backend]:
        """Those that can be asked now, those that owe a sign of life last.

        A process that failed this request already is not asked again.
        """
        found = [
            backend
            for backend in self.wanted()
            if backend.state == "ready" and (backend is not self.failed or backend.generation != self._generation)
        ]
        if found and found[0].silent:
            found.sort(key=lambda backend: backend.silent > 0)  # the sort keeps the order of the others
        return found

    def fail(self, backend: Backend, error: ServingError, *, asked: bool = True) -> None:
        """That process failed; it does not count as an attempt when it certainly never saw the request."""
        self.failed, self._generation, self.error = backend, backend.generation, error
        self.count += asked
        if backend is self.canary:
            self.canary = None
