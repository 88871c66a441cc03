"""Live traffic for demo, replay and tests: sent from a background thread, every single answer accounted for.

Nothing is retried, so that what is counted is what users would have met.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from mlauto.commands.client import GatewayClient, Outcome
from mlauto.errors import DeliveryError

__all__ = ["Answering", "Request", "Tally", "Traffic"]

KEPT = 10_000  # newest outcomes that a Traffic remembers; its counts cover all
LABELS_EVERY = 0.2


@dataclass(frozen=True, kw_only=True)
class Request:
    """Rows to be predicted in one request, and the truth about them, one label per row, where it is known."""

    rows: Sequence[Mapping[str, object]]
    labels: Sequence[Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Answering:
    """The version that gave the newest answer, and its unbroken series of answers: since when, how many."""

    version: str
    since: float
    requests: int


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts over all requests so far; latencies in milliseconds, over the newest ones."""

    requests: int
    rows: int
    failures: int
    labelled: int
    by_version: dict[str, int] = field(default_factory=dict)
    p50_ms: float | None = None
    p99_ms: float | None = None
    first_failure: str | None = None

    def require_no_failure(self) -> None:
        """Raises `DeliveryError` with the first failure unless there were requests and every one was answered."""
        if self.failures:
            raise DeliveryError(f"{self.failures} of {self.requests} requests failed, first: {self.first_failure}")
        if not self.requests:
            raise DeliveryError("no request was sent: nothing is proven")


class Traffic:
    """Sends a stream of requests from a background thread, at most `rate` a second, until it ends or is stopped.

    Labels are sent back `label_after` seconds after the answer. A `with` block stops the traffic when it is left;
    an error of the stream itself is raised by `stop`.
    """

    def __init__(
        self, client: GatewayClient, stream: Iterable[Request], *, rate: float, label_after: float = 0.0
    ) -> None:
        self._client = client
        self._stream = iter(stream)
        self._interval = 1 / rate
        self._label_after = label_after
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._outcomes: deque[Outcome] = deque(maxlen=KEPT)
        self._due: deque[tuple[float, str, Sequence[Any]]] = deque()
        self._requests = self._rows = self._failures = self._labelled = 0
        self._by_version: Counter[str] = Counter()
        self._first_failure: str | None = None
        self._answering: Answering | None = None
        self._labels_sent = 0.0
        self._thread: ThreadPoolExecutor | None = None
        self._work: Future[None] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Begin to send."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="traffic")
        self._work = self._thread.submit(self._run)
        return self

    def stop(self) -> Tally:
        """Send no further request, send the labels that are left, and return the final counts."""
        self._stopping.set()
        return self.join()

    def join(self) -> Tally:
        """Wait until the stream is exhausted (or stopped) and return the final counts."""
        if self._work is not None and self._thread is not None:
            self._thread.shutdown(wait=True)
            self._work.result()
        return self.tally()

    def tally(self) -> Tally:
        """The counts so far."""
        with self._lock:
            latencies = sorted(outcome.seconds * 1000 for outcome in self._outcomes if outcome.ok)
            return Tally(
                requests=self._requests,
                rows=self._rows,
                failures=self._failures,
                labelled=self._labelled,
                by_version=dict(self._by_version),
                p50_ms=_quantile(latencies, 0.50),
                p99_ms=_quantile(latencies, 0.99),
                first_failure=self._first_failure,
            )

    def outcomes(self) -> list[Outcome]:
        """The newest outcomes, oldest first; bounded."""
        with self._lock:
            return list(self._outcomes)

    @property
    def answering(self) -> Answering | None:
        """Who answers now; None before the first answer, and after a failure until the next answer."""
        return self._answering

    def _run(self) -> None:
        due = time.monotonic()
        for request in self._stream:
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                break
            self._note(request, self._client.ask(request.rows))
            self._send_labels(time.monotonic())
            # Never catch up with a burst: the rate is a bound, not an average.
            due = max(due + self._interval, time.monotonic())
        self._send_labels(math.inf)

    def _note(self, request: Request, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes.append(outcome)
            self._requests += 1
            self._rows += outcome.rows
            if outcome.ok and outcome.version is not None:
                self._by_version[outcome.version] += 1
                before = self._answering
                same = before is not None and before.version == outcome.version
                self._answering = Answering(
                    version=outcome.version,
                    since=before.since if before and same else outcome.sent,
                    requests=before.requests + 1 if before and same else 1,
                )
            else:
                self._fail(outcome.problem or "answer without a version")
                self._answering = None
        if outcome.prediction_id is not None and request.labels is not None:
            self._due.append((time.monotonic() + self._label_after, outcome.prediction_id, request.labels))

    def _send_labels(self, now: float) -> None:
        """Send all labels that are due by `now`, in few requests: at most every `LABELS_EVERY` seconds."""
        if now - self._labels_sent < LABELS_EVERY:
            return
        self._labels_sent = now
        ready: dict[str, Sequence[Any]] = {}
        while self._due and self._due[0][0] <= now:
            _, name, labels = self._due.popleft()
            ready[name] = labels
        try:
            self._client.label(ready)
        except DeliveryError as error:
            with self._lock:
                self._fail(str(error))
        else:
            with self._lock:
                self._labelled += sum(map(len, ready.values()))

    def _fail(self, problem: str) -> None:
        self._failures += 1
        self._first_failure = self._first_failure or problem


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile of sorted values; None for none."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else None
