"""What became of each request: its line in the prediction log, and its count."""

import os
import sys
from pathlib import Path

from mlauto.serving.errors import RequestError, ServingError, UnavailableError
from mlauto.serving.log.durability import Syncer
from mlauto.serving.log.predictionlog import PredictionLog
from mlauto.serving.metrics import Metrics
from mlauto.serving.wire.protocol import Answer

__all__ = ["FailedError", "Journal"]


class FailedError(Exception):
    """A prediction was not made, through no fault of the client's; `error` says why, and it is logged under `id`."""

    def __init__(self, error: ServingError, prediction_id: str, version: str | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.prediction_id = prediction_id
        self.version = version


class Journal:
    """The prediction logs of all products.

    Users are answered even when a disk is full; the counter of lost lines says that it is.
    """

    def __init__(self, metrics: Metrics, products_home: Path) -> None:
        """Logs are written to `products_home/<product>/predictions`, synced as `MLAUTO_LOG_SYNC` says."""
        self.metrics = metrics
        self.home = products_home
        self._logs: dict[str, PredictionLog] = {}
        self._syncer = Syncer(os.environ.get("MLAUTO_LOG_SYNC") or "background")
        self.waits = self._syncer.shared

    def log(self, product: str) -> PredictionLog:
        """The product's prediction log, opened when it is first needed."""
        found = self._logs.get(product)
        if found is None:
            found = self._logs[product] = PredictionLog(self.home / product / "predictions", self._syncer)
        return found

    def answered(
        self,
        product: str,
        version: str,
        seconds: float,
        *,
        rows: bytes,
        answer: Answer,
        client_id: str | None = None,
        retried_from: str | None = None,
        keys: bytes | None = None,
    ) -> str:
        """A prediction was made of `rows` (a JSON list); its new id. Where `waits`, `durable` is to be awaited."""
        log = self.log(product)
        prediction_id = log.new_id()
        try:
            log.answered(
                prediction_id,
                version=version,
                seconds=seconds,
                rows=rows,
                predictions=answer.predictions,
                probabilities=answer.probabilities,
                client_id=client_id,
                retried_from=retried_from,
                keys=keys,
            )
        except OSError as problem:
            self._lost(product, problem)
        self.metrics.answered(product, version, seconds=seconds, rows=len(answer.predictions))
        return prediction_id

    def failed(self, product: str, version: str | None, error: ServingError, seconds: float = 0.0) -> FailedError:
        """A version failed on a request, through no fault of the client's."""
        log = self.log(product)
        prediction_id = log.new_id()
        try:
            log.failed(prediction_id, version=version, seconds=seconds, error=str(error), code=error.status)
        except OSError as problem:
            self._lost(product, problem)
        self.metrics.refused(product, version or "", error.status)
        return FailedError(error, prediction_id, version)

    def shadowed(
        self, product: str, version: str, prediction_id: str, seconds: float, answer: Answer | Exception
    ) -> None:
        """What a shadow made of the copy of a user's request."""
        good = answer if isinstance(answer, Answer) else None
        self.metrics.shadows[product, version, "answered" if good else "failed"] += 1
        try:
            self.log(product).shadowed(
                prediction_id,
                version=version,
                seconds=seconds,
                predictions=good.predictions if good else None,
                probabilities=good.probabilities if good else None,
                error=None if good else str(answer),
            )
        except OSError as problem:
            self._lost(product, problem)

    async def durable(self, product: str) -> None:
        """Wait for the disk, where that is asked for."""
        try:
            await self.log(product).durable()
        except OSError:  # the syncer has said it
            self.metrics.log_failures[(product,)] += 1

    async def labelled(self, product: str, labels: dict[str, list[object]]) -> None:
        """Log the truth about predictions. Raises `RequestError` for an id that was never given."""
        log = self.log(product)
        for prediction_id in labels:
            if not log.knows(prediction_id):
                raise RequestError(f"id: {prediction_id[:80]!r} is no prediction of {product}", 404)
        try:
            for prediction_id, values in labels.items():
                log.labelled(prediction_id, values)
                self.metrics.labels[(product,)] += 1
            await log.durable()
        except OSError as error:
            self.metrics.log_failures[(product,)] += 1
            raise UnavailableError(f"the label could not be written ({error.strerror}): send it again") from error

    def _lost(self, product: str, problem: OSError) -> None:
        self.metrics.log_failures[(product,)] += 1
        print(f"{product}: a line was not logged: {problem}", file=sys.stderr, flush=True)
