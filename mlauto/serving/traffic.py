"""A user's request from its body to its answer: choosing the version, one retry elsewhere, log and counters."""

import time
from collections import defaultdict
from pathlib import Path
from random import random

import msgspec

from mlauto.serving.attempts import Attempts, Parse
from mlauto.serving.backend import Backend
from mlauto.serving.batches import ANSWER_SECONDS
from mlauto.serving.errors import ModelError, RequestError, ServingError, UnavailableError
from mlauto.serving.log.journal import Journal
from mlauto.serving.metrics import Metrics
from mlauto.serving.route import Product, Versions
from mlauto.serving.shadows import Copied, Shadows
from mlauto.serving.web.link import LinkError, LinkTimeoutError, Reply
from mlauto.serving.wire.labelkeys import parted
from mlauto.serving.wire.protocol import Answer, Request
from mlauto.serving.wire.signature import Signature

__all__ = ["MOST_IN_FLIGHT", "Answered", "Load", "Lost", "Traffic", "signature_of"]

Lost = tuple[Backend, ServingError | LinkError]

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
    """A logged prediction; `rows` are those that were asked for, as JSON."""

    answer: Answer
    request: Request
    rows: bytes
    signature: Signature
    version: str
    prediction_id: str


class Load:
    """What one product's users wait for."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = self.bytes = 0

    @property
    def full(self) -> bool:
        """True when one more would be too many: a queue that grows helps nobody."""
        return self.requests >= MOST_IN_FLIGHT or self.bytes >= MOST_BYTES

    def come(self, body: bytes) -> None:
        """One more waits."""
        self.requests += 1
        self.bytes += len(body)

    def check(self, product: str) -> None:
        """Raises `UnavailableError` when the newest was one too many."""
        if self.requests > MOST_IN_FLIGHT or self.bytes > MOST_BYTES:
            raise UnavailableError(f"{self.requests} requests for {product} are waiting: come again")

    def go(self, body: bytes) -> None:
        """It waits no longer."""
        self.requests -= 1
        self.bytes -= len(body)


class Traffic:
    """Answers users' requests through the supervisor's versions."""

    def __init__(self, supervisor: Versions, metrics: Metrics, products_home: Path) -> None:
        """Prediction logs are written to `products_home/<product>/predictions`."""
        self.journal = Journal(metrics, products_home)
        self.loads: defaultdict[str, Load] = defaultdict(Load)
        metrics.loads = self.loads
        self._supervisor = supervisor
        self._metrics = metrics
        self._shadows = Shadows(self.journal)

    def request(
        self,
        product: Product,
        body: bytes,
        parse: Parse,
        exact: Backend | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Attempts:
        """A request that is to be answered by whoever the route says, or by exactly the version given."""
        now, route = time.monotonic(), product.route
        ask = Attempts(product, body, parse, route, now, now + seconds, exact)
        if route.canary is not None and exact is None and random() * 100 < route.percent:  # noqa: S311 -- no secret
            ask.canary = route.canary
        return ask

    async def predict(self, ask: Attempts, lost: Lost | None = None) -> Answered:
        """The answer, logged. A failing canary is covered by the champion, a failing champion by the fallback.

        `lost` is an attempt that was made already, and how it ended. Raises `RequestError` for the client's mistakes
        and `FailedError` otherwise.
        """
        name, load = ask.product.name, self.loads[ask.product.name]
        load.come(ask.body)
        try:
            load.check(name)
            if lost is not None:
                self._fail(ask, *lost)
            backend, request, rows, answer = await self._asked(ask)
        except (UnavailableError, ModelError) as error:
            at = ask.failed or ask.exact or ask.route.champion
            version = error.version if isinstance(error, UnavailableError) else None
            version = version or (at.version if at else None)
            raise self.journal.failed(name, version, error, time.monotonic() - ask.began) from error
        finally:
            load.go(ask.body)
        answered = self.answered(ask, backend, request, rows, answer)
        if self.journal.waits:
            await self.journal.durable(name)
        self.copy(ask, answered)
        return answered

    def answered(self, ask: Attempts, backend: Backend, request: Request, rows: bytes, answer: Answer) -> Answered:
        """Log and count an answer."""
        prediction_id = self.journal.answered(
            ask.product.name,
            backend.version,
            time.monotonic() - ask.began,
            rows=rows,
            answer=answer,
            client_id=request.client_id,
            retried_from=ask.failed.version if ask.failed else None,
            keys=request.keys,
        )
        return Answered(answer, request, rows, signature_of(backend), backend.version, prediction_id)

    def copy(self, ask: Attempts, answered: Answered) -> None:
        """Send the shadow its copy, once whoever calls has sent the reply."""
        shadow = ask.route.shadow
        if shadow is not None and ask.exact is None and shadow.version != answered.version:
            number = len(answered.answer.predictions)
            copied = Copied(answered.prediction_id, ask.body, ask.parse, answered.signature, answered.rows, number)
            self._shadows.send(ask.product.name, shadow, copied)

    async def metadata(self, product: Product, exact: Backend | None = None) -> Reply:
        """The model server's own metadata, asked of whoever answers users. Raises `UnavailableError`."""
        now = time.monotonic()
        ask = Attempts(product, b"", _unparsed, product.route, now, now + HOLD_SECONDS, exact)
        for _ in range(2):
            backend = await self._next(ask)
            try:
                return await backend.metadata()
            except (LinkError, LinkTimeoutError) as error:
                ask.fail(backend, UnavailableError(f"{product.name} cannot answer now: {error}"))
        raise ask.error or UnavailableError(f"{product.name} cannot answer now")

    async def _asked(self, ask: Attempts) -> tuple[Backend, Request, bytes, Answer]:
        """Ask one version, and one other if the first cannot be reached or fails."""
        while ask.count < 2:
            if isinstance(ask.error, ModelError) and not ask.candidates():
                raise ask.error  # the same process would only fail again
            backend = await self._next(ask)
            try:
                signature = signature_of(backend)
                request, rows = parted(ask.parse(ask.body, signature), signature)
                seconds = ask.deadline - time.monotonic()
                seconds = min(seconds / 2, CANARY_SECONDS) if backend is ask.canary else seconds
                answer = await backend.ask(rows, len(request.rows), seconds=seconds, alone=ask.count > 0)
            except (LinkError, ModelError, RequestError, UnavailableError) as error:
                self._fail(ask, backend, error)
            else:
                if ask.refused and ask.failed is not None and ask.error is not None:
                    # what the champion takes, the canary should have taken
                    self.journal.failed(ask.product.name, ask.failed.version, ask.error)
                return backend, request, rows, answer
        raise ask.error or UnavailableError(f"{ask.product.name} cannot answer now")

    def _fail(self, ask: Attempts, backend: Backend, error: ServingError | LinkError) -> None:
        """Remember, count and perhaps log that a version failed, which another may make good; raises what none can."""
        canary, asked, seen = backend is ask.canary, True, backend is ask.canary
        if isinstance(error, LinkError):
            asked = error.asked
            seen = canary and asked
            error = UnavailableError(f"version {backend.version} of {ask.product.name} was lost: {error}")
        elif isinstance(error, ModelError):
            # the user will get an answer from another version; that this one failed must be seen nevertheless
            others = ask.exact is None and len(list(ask.product.route.ready())) > 1
            seen = canary or (ask.count == 0 and others)
        elif canary:
            ask.refused = isinstance(error, RequestError)
            seen = not ask.refused
        elif ask.error is not None and not ask.refused and isinstance(error, RequestError):
            raise ask.error from None  # the fallback takes other columns: the failure is the champion's
        else:
            raise error
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


def signature_of(backend: Backend) -> Signature:
    """Its columns. Raises `UnavailableError` before it told them, which it does before it is ready."""
    if backend.signature is None:
        raise UnavailableError(f"version {backend.version} of {backend.product} is not ready")
    return backend.signature


def _unparsed(_body: bytes, _signature: Signature) -> Request:
    return Request([])
