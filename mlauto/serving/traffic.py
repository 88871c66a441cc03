"""A user's request from its body to its answer: choosing the version, one retry elsewhere, log and counters."""

import time
from collections import defaultdict
from pathlib import Path
from random import random

import msgspec

from mlauto.serving.attempts import Attempts
from mlauto.serving.backend import Backend
from mlauto.serving.batches import ANSWER_SECONDS
from mlauto.serving.errors import ModelError, RequestError, ServingError, UnavailableError
from mlauto.serving.journal import Journal
from mlauto.serving.link import LinkError, LinkTimeoutError, Reply
from mlauto.serving.metrics import Metrics
from mlauto.serving.protocol import Answer, Request
from mlauto.serving.route import Product
from mlauto.serving.shadows import Copied, Parse, Shadows
from mlauto.serving.signature import Signature
from mlauto.serving.supervisor import Supervisor

__all__ = ["Answered", "Traffic"]

# So long a request waits for a version that is being started (again) when no other is ready.
HOLD_SECONDS = 10.0
# Of one product; beyond it clients are told at once to come again.
MOST_IN_FLIGHT = 512
MOST_BYTES = 64 << 20
# A process that lost a connection and still runs after this lost nothing else.
GRACE_SECONDS = 0.25
# A canary that takes longer is given up, so that the champion can still answer.
CANARY_SECONDS = 5.0


class Answered(msgspec.Struct, frozen=True, gc=False):
    """A logged prediction."""

    answer: Answer
    request: Request
    signature: Signature
    version: str
    prediction_id: str


class _Load:
    """What one product's users wait for."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = self.bytes = 0

    def check(self, product: str) -> None:
        """Raises `UnavailableError` when one more is too many: a queue that grows helps nobody."""
        if self.requests > MOST_IN_FLIGHT or self.bytes > MOST_BYTES:
            raise UnavailableError(f"{self.requests} requests for {product} are waiting: come again")


class Traffic:
    """Answers users' requests through the supervisor's versions."""

    def __init__(self, supervisor: Supervisor, metrics: Metrics, products_home: Path) -> None:
        """Prediction logs are written to `products_home/<product>/predictions`."""
        self.journal = Journal(metrics, products_home)
        self._supervisor = supervisor
        self._metrics = metrics
        self._loads: defaultdict[str, _Load] = defaultdict(_Load)
        self._shadows = Shadows(self.journal)

    async def predict(
        self,
        product: Product,
        body: bytes,
        parse: Parse,
        exact: Backend | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Answered:
        """The answer of whoever the route says, or of exactly the version given, within `seconds`.

        A failing canary is covered by the champion, a failing champion by the fallback. The answer is logged before it
        is returned. Raises `RequestError` for the client's mistakes and `FailedError` otherwise.
        """
        began = time.monotonic()
        name, route = product.name, product.route
        ask = Attempts(product, exact, began + seconds)
        if route.canary is not None and exact is None and random() * 100 < route.percent:  # noqa: S311 -- no secret
            ask.canary = route.canary
        load = self._loads[name]
        load.requests += 1
        load.bytes += len(body)
        try:
            load.check(name)
            backend, request, rows, answer = await self._asked(ask, body, parse)
        except (UnavailableError, ModelError) as error:
            at = ask.failed or exact or route.champion
            version = error.version if isinstance(error, UnavailableError) else None
            version = version or (at.version if at else None)
            raise self.journal.failed(name, version, error, time.monotonic() - began) from error
        finally:
            load.requests -= 1
            load.bytes -= len(body)
        prediction_id = self.journal.answered(
            name,
            backend.version,
            time.monotonic() - began,
            rows=rows,
            answer=answer,
            client_id=request.client_id,
            retried_from=ask.failed.version if ask.failed else None,
        )
        if self.journal.waits:
            await self.journal.durable(name)
        signature = _signature(backend)
        if route.shadow is not None and exact is None:
            copied = Copied(prediction_id, body, parse, signature, rows, len(answer.predictions))
            self._shadows.send(name, route.shadow, copied)
        return Answered(answer, request, signature, backend.version, prediction_id)

    async def metadata(self, product: Product, exact: Backend | None = None) -> Reply:
        """The model server's own metadata, asked of whoever answers users. Raises `UnavailableError`."""
        ask = Attempts(product, exact, time.monotonic() + HOLD_SECONDS)
        for _ in range(2):
            backend = await self._next(ask)
            try:
                return await backend.metadata()
            except (LinkError, LinkTimeoutError) as error:
                ask.fail(backend, UnavailableError(f"{product.name} cannot answer now: {error}"))
        raise ask.error or UnavailableError(f"{product.name} cannot answer now")

    async def _asked(self, ask: Attempts, body: bytes, parse: Parse) -> tuple[Backend, Request, bytes, Answer]:
        """Ask one version, and one other if the first cannot be reached or fails."""
        while ask.count < 2:
            if isinstance(ask.error, ModelError) and not ask.candidates():
                raise ask.error  # the same process would only fail again
            backend = await self._next(ask)
            canary = backend is ask.canary
            try:
                request = parse(body, _signature(backend))
                rows = msgspec.json.encode(request.rows)
                seconds = ask.deadline - time.monotonic()
                seconds = min(seconds / 2, CANARY_SECONDS) if canary else seconds
                answer = await backend.ask(rows, len(request.rows), seconds=seconds, alone=ask.count > 0)
            except LinkError as error:
                lost = UnavailableError(f"version {backend.version} of {ask.product.name} was lost: {error}")
                self._fail(ask, backend, lost, seen=canary and error.asked, asked=error.asked)
            except ModelError as error:
                # the user will get an answer from another version; that this one failed must be seen nevertheless
                others = ask.exact is None and len(list(ask.product.route.ready())) > 1
                self._fail(ask, backend, error, seen=canary or (ask.count == 0 and others))
            except (RequestError, UnavailableError) as error:
                if not canary:
                    if ask.error is not None and not ask.refused and isinstance(error, RequestError):
                        raise ask.error from None  # the fallback takes other columns: the failure is the champion's
                    raise
                ask.refused = isinstance(error, RequestError)
                self._fail(ask, backend, error, seen=not ask.refused)
            else:
                if ask.refused and ask.failed is not None and ask.error is not None:
                    # what the champion takes, the canary should have taken
                    self.journal.failed(ask.product.name, ask.failed.version, ask.error)
                return backend, request, rows, answer
        raise ask.error or UnavailableError(f"{ask.product.name} cannot answer now")

    def _fail(self, ask: Attempts, backend: Backend, error: ServingError, *, seen: bool, asked: bool = True) -> None:
        """Remember, count and (where it is to be `seen`) log that a version failed, which another may make good."""
        ask.fail(backend, error, asked=asked)
        self._metrics.retries[ask.product.name, backend.version] += 1
        if seen:
            self.journal.failed(ask.product.name, backend.version, error)

    async def _next(self, ask: Attempts) -> Backend:
        """Who is to be asked next, waiting for a version that is being started. Raises `UnavailableError`."""
        hold = min(ask.deadline, time.monotonic() + HOLD_SECONDS)
        while True:
            candidates = ask.candidates()
            if candidates:
                return candidates[0]
            wanted = ask.wanted()
            if not wanted:
                raise UnavailableError(f"{ask.product.name} has no champion yet: no version has been rolled out")
            remaining = hold - time.monotonic()
            if remaining <= 0 or not any(backend.hopeful or backend.state == "ready" for backend in wanted):
                states = ", ".join(f"version {backend.version} {backend.state}" for backend in wanted)
                raise UnavailableError(f"{ask.product.name} cannot answer now: {states}", version=wanted[0].version)
            await self._supervisor.change(min(remaining, GRACE_SECONDS))
            lost = ask.failed
            if lost is not None and lost in wanted and lost.state == "ready":
                return lost


def _signature(backend: Backend) -> Signature:
    if backend.signature is None:  # a version is ready only once it told its signature
        raise UnavailableError(f"version {backend.version} of {backend.product} is not ready")
    return backend.signature
