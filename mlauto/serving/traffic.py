"""A user's request from its body to its answer: choosing the version, one retry elsewhere, log and counters."""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mlauto.serving.backend import Backend
from mlauto.serving.durability import Syncer
from mlauto.serving.errors import ModelError, RequestError, ServingError, UnavailableError
from mlauto.serving.link import LinkError, LinkTimeoutError, Reply
from mlauto.serving.metrics import Metrics
from mlauto.serving.predictionlog import PredictionLog
from mlauto.serving.protocol import Answer, Request
from mlauto.serving.route import Product
from mlauto.serving.signature import Signature
from mlauto.serving.supervisor import Supervisor

__all__ = ["Answered", "FailedError", "Traffic"]

Parse = Callable[[bytes, Signature], Request]

# So long a request waits for a version that is being started (again) when no other is ready.
HOLD_SECONDS = 10.0
MOST_IN_FLIGHT = 512
# A process that lost a connection and still runs after this lost nothing else.
GRACE_SECONDS = 0.25


class FailedError(Exception):
    """A prediction was not made, through no fault of the client's; `error` says why, and it is logged under `id`."""

    def __init__(self, error: ServingError, prediction_id: str, version: str | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.prediction_id = prediction_id
        self.version = version


@dataclass(frozen=True)
class Answered:
    """A logged prediction."""

    answer: Answer
    request: Request
    signature: Signature
    version: str
    prediction_id: str


@dataclass
class _Ask:
    """One request on its way: who was asked so far, and who failed."""

    product: Product
    exact: Backend | None
    deadline: float
    failed: Backend | None = None
    generation: int = 0
    reason: str = ""

    def candidates(self) -> list[Backend]:
        """Who can be asked now: a process that failed this request already is not asked again."""
        ready = [self.exact] if self.exact else list(self.product.route.ready())
        return [b for b in ready if b.state == "ready" and (b is not self.failed or b.generation != self.generation)]


class Traffic:
    """Answers users' requests through the supervisor's versions."""

    def __init__(self, supervisor: Supervisor, metrics: Metrics, products_home: Path) -> None:
        """Prediction logs are written to `products_home/<product>/predictions`, synced as `MLAUTO_LOG_SYNC` says."""
        self._supervisor = supervisor
        self._metrics = metrics
        self._home = products_home
        self._logs: dict[str, PredictionLog] = {}
        self._syncer = Syncer(os.environ.get("MLAUTO_LOG_SYNC") or "background")
        self._in_flight = 0

    def log(self, product: str) -> PredictionLog:
        """The product's prediction log, opened when it is first needed."""
        if product not in self._logs:
            self._logs[product] = PredictionLog(self._home / product / "predictions", self._syncer)
        return self._logs[product]

    async def predict(self, product: Product, body: bytes, parse: Parse, exact: Backend | None = None) -> Answered:
        """The answer of the champion, of the fallback where the champion fails, or of exactly the version given.

        It is logged before it is returned. Raises `RequestError` for the client's mistakes and `FailedError` otherwise.
        """
        began = time.monotonic()
        ask = _Ask(product, exact, began + HOLD_SECONDS)
        self._in_flight += 1
        try:
            backend, request, rows, answer = await self._asked(ask, body, parse)
        except (UnavailableError, ModelError) as error:
            at = ask.failed or exact or product.route.champion
            version = error.version if isinstance(error, UnavailableError) else None
            version = version or (at.version if at else None)
            raise self._failed(product.name, version, error, time.monotonic() - began) from error
        finally:
            self._in_flight -= 1
        seconds = time.monotonic() - began
        prediction_id = self.log(product.name).new_id()
        retried_from = ask.failed.version if ask.failed else None
        self._write(
            product.name,
            lambda log: log.answered(
                prediction_id,
                version=backend.version,
                seconds=seconds,
                rows=rows,
                predictions=answer.predictions,
                probabilities=answer.probabilities,
                client_id=request.client_id,
                retried_from=retried_from,
            ),
        )
        if self._syncer.shared:
            await self._durable(product.name)
        self._metrics.answered(product.name, backend.version, seconds=seconds, rows=len(request.rows))
        return Answered(answer, request, self._signature(backend), backend.version, prediction_id)

    async def metadata(self, product: Product, exact: Backend | None = None) -> Reply:
        """The model server's own metadata, asked of whoever answers users. Raises `UnavailableError`."""
        ask = _Ask(product, exact, time.monotonic() + HOLD_SECONDS)
        for _ in range(2):
            backend = await self._next(ask)
            try:
                return await backend.request("GET", f"/v2/models/{product.name}")
            except (LinkError, LinkTimeoutError) as error:
                ask.failed, ask.generation, ask.reason = backend, backend.generation, str(error)
        raise UnavailableError(f"{product.name} cannot answer now: {ask.reason}")

    async def labelled(self, product: str, labels: dict[str, list[object]]) -> None:
        """Log the truth about predictions. Raises `RequestError` for an id that was never given."""
        log = self.log(product)
        for prediction_id in labels:
            if not log.knows(prediction_id):
                raise RequestError(f"id: {prediction_id[:80]!r} is no prediction of {product}", 404)
        try:
            for prediction_id, values in labels.items():
                log.labelled(prediction_id, values)
                self._metrics.labels[(product,)] += 1
            await log.durable()
        except OSError as error:
            self._metrics.log_failures[(product,)] += 1
            raise UnavailableError(f"the label could not be written ({error.strerror}): send it again") from error

    async def _asked(self, ask: _Ask, body: bytes, parse: Parse) -> tuple[Backend, Request, bytes, Answer]:
        """Ask one version, and one other if the first cannot be reached or fails."""
        if self._in_flight > MOST_IN_FLIGHT:
            raise UnavailableError(f"more than {MOST_IN_FLIGHT} requests are waiting: come again")
        first: ServingError | None = None
        for attempt in range(2):
            if isinstance(first, ModelError) and not ask.candidates():
                raise first  # the same process would only fail again
            backend = await self._next(ask)
            try:
                request = parse(body, self._signature(backend))
            except RequestError:
                if first is not None:
                    raise first from None  # the fallback takes other columns: the failure is the champion's
                raise
            rows = msgspec.json.encode(request.rows)
            try:
                return backend, request, rows, await self._answer(backend, rows, len(request.rows))
            except LinkError as error:
                first = UnavailableError(f"version {backend.version} of {ask.product.name} was lost: {error}")
            except ModelError as error:
                first = error
                if attempt == 0 and ask.exact is None and len(list(ask.product.route.ready())) > 1:
                    # the user will get an answer from the fallback; that the champion failed must be seen nevertheless
                    self._failed(ask.product.name, backend.version, error, 0.0)
            ask.failed, ask.generation = backend, backend.generation
            self._metrics.retries[ask.product.name, backend.version] += 1
        raise first or UnavailableError(f"{ask.product.name} cannot answer now")

    @staticmethod
    async def _answer(backend: Backend, rows: bytes, count: int) -> Answer:
        answer = await backend.ask(rows)
        if len(answer.predictions) != count:
            raise ModelError(f"version {backend.version} answered {len(answer.predictions)} predictions, not {count}")
        return answer

    async def _next(self, ask: _Ask) -> Backend:
        """Who is to be asked next, waiting for a version that is being started. Raises `UnavailableError`."""
        while True:
            candidates = ask.candidates()
            if candidates:
                return candidates[0]
            route = ask.product.route
            wanted = [ask.exact] if ask.exact else [b for b in (route.champion, route.fallback) if b]
            if not wanted:
                raise UnavailableError(f"{ask.product.name} has no champion yet: no version has been rolled out")
            remaining = ask.deadline - time.monotonic()
            if remaining <= 0 or not any(backend.hopeful or backend.state == "ready" for backend in wanted):
                states = ", ".join(f"version {backend.version} {backend.state}" for backend in wanted)
                raise UnavailableError(f"{ask.product.name} cannot answer now: {states}", version=wanted[0].version)
            await self._supervisor.change(min(remaining, GRACE_SECONDS))
            lost = ask.failed
            if lost is not None and lost in wanted and lost.state == "ready":
                return lost

    @staticmethod
    def _signature(backend: Backend) -> Signature:
        if backend.signature is None:  # a version is ready only once it told its signature
            raise UnavailableError(f"version {backend.version} of {backend.product} is not ready")
        return backend.signature

    def _failed(self, product: str, version: str | None, error: ServingError, seconds: float) -> FailedError:
        """Log and count a request that was not answered."""
        prediction_id = self.log(product).new_id()
        self._write(
            product,
            lambda log: log.failed(
                prediction_id, version=version, seconds=seconds, error=str(error), code=error.status
            ),
        )
        self._metrics.refused(product, version or "", error.status)
        return FailedError(error, prediction_id, version)

    async def _durable(self, product: str) -> None:
        """Wait for the disk; where it fails, users are answered and the counter says so."""
        try:
            await self.log(product).durable()
        except OSError:  # the syncer has said it
            self._metrics.log_failures[(product,)] += 1

    def _write(self, product: str, write: Callable[[PredictionLog], None]) -> None:
        """Users are answered even when the disk is full; the counter of lost lines says that it is."""
        try:
            write(self.log(product))
        except OSError as error:
            self._metrics.log_failures[(product,)] += 1
            print(f"{product}: a prediction was not logged: {error}", file=sys.stderr, flush=True)
