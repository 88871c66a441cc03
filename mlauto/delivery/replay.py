"""Recent requests of users, asked again of a candidate before it may answer any of them."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Signature
from mlauto.runtime.base import Answer, Runtime

__all__ = ["LoggedRequest", "replay"]

SECONDS = 30.0  # requests that are not reached by then are not asked
SHOWN = 5


@dataclass(frozen=True)
class LoggedRequest:
    """A whole request as users sent it, and what they got: one prediction per row, from `version`."""

    rows: Sequence[Mapping[str, Any]]
    predictions: Sequence[Any]
    version: str


@dataclass
class _Replay:
    """Who is asked, and what became of the requests so far. `times`: of one-row requests by place, in milliseconds."""

    product: str
    version: str
    signature: Signature
    runtime: Runtime
    asked: list[LoggedRequest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    times: dict[int, float] = field(default_factory=dict)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    def ask(self, request: LoggedRequest) -> None:
        """One request, whole: its problem, or its time and its answers beside those that users got."""
        self.asked.append(request)
        try:
            answer = self._answer(request)
        except DeliveryError as error:
            self.problems.append(str(error))
            return
        if len(request.rows) == 1:
            self.times[len(self.asked) - 1] = answer.seconds * 1000
        self.pairs += zip(request.predictions, answer.predictions, strict=False)

    def ask_again(self, place: int) -> None:
        """A slow one once more: its better time counts, so that one hiccup of the machine decides nothing."""
        try:
            again = self._answer(self.asked[place]).seconds * 1000
        except DeliveryError as error:
            self.problems.append(str(error))
        else:
            self.times[place] = min(self.times[place], again)

    def p99(self) -> float | None:
        """Of the one-row requests; None when there were none."""
        times = sorted(self.times.values())
        return times[math.ceil(0.99 * len(times)) - 1] if times else None

    def _answer(self, request: LoggedRequest) -> Answer:
        """A sound answer. Raises `DeliveryError` for any other."""
        columns = self.signature.columns
        rows = [{name: v for name, v in row.items() if name in columns or v is not None} for row in request.rows]
        surplus = next((name for row in rows for name in row if name not in columns), None)
        if surplus is not None:
            raise DeliveryError(
                f"column {surplus!r}, which users send, is none of version {self.version}'s and would be refused: have"
                " users leave it out first, or switch this check off (delivery.replay: 0)"
            )
        answer = self.runtime.predict(self.product, self.version, rows)
        if len(answer.predictions) != len(rows):
            raise DeliveryError(f"a request of {len(rows)} rows got {len(answer.predictions)} predictions")
        for value in answer.predictions:
            if value is None or (isinstance(value, float) and not math.isfinite(value)):
                raise DeliveryError(f"a row was predicted as {value!r}")
        return answer


def replay(
    product: str,
    version: str,
    signature: Signature,
    requests: Sequence[LoggedRequest],
    runtime: Runtime,
    *,
    latency_ms: float,
    seconds: float = SECONDS,
) -> CheckOutcome:
    """The check `replay`: a running candidate is asked what users asked, in this order, for `seconds` and no longer.

    It fails when a request is refused, fails, or gets anything but one finite prediction per row, and when the p99 of
    one-row requests is above `latency_ms`. Rows are asked as they were sent: a column that has a value and is not in
    `signature` is a refusal, as it would be for users; one without a value counts as not sent. How far the answers are
    from what users got is reported, not judged.
    """
    if not requests:
        return CheckOutcome(name="replay", passed=True, summary="no request was logged yet", details={"requests": 0})
    seen = _Replay(product, version, signature, runtime)
    deadline = time.monotonic() + seconds
    for request in requests:
        seen.ask(request)
        if time.monotonic() > deadline:
            break
    for place in [place for place, took in seen.times.items() if took > latency_ms]:
        if time.monotonic() <= deadline:
            seen.ask_again(place)
    p99 = seen.p99()
    slow = p99 is not None and p99 > latency_ms
    return CheckOutcome(
        name="replay",
        passed=not seen.problems and not slow,
        summary=_summary(seen, p99 if slow else None, latency_ms),
        details=_details(seen, p99, left=len(requests) - len(seen.asked)),
    )


def _summary(seen: _Replay, slow: float | None, limit: float) -> str:
    if seen.problems:
        worst = "; ".join(problem for problem, _ in Counter(seen.problems).most_common(SHOWN))
        return f"{len(seen.problems)} of users' newest {len(seen.asked)} requests fail: {worst}"
    if slow is not None:
        return f"p99 {slow:.1f} ms over users' {len(seen.times)} newest one-row requests (limit {limit:g} ms)"
    return f"users' newest {len(seen.asked)} requests are answered"


def _details(seen: _Replay, p99: float | None, *, left: int) -> dict[str, Any]:
    sent = {name for request in seen.asked for row in request.rows for name, value in row.items() if value is not None}
    columns = seen.signature.columns.keys()
    disagreement = _disagreement(seen.pairs, seen.signature.task)
    return {
        "requests": len(seen.asked),
        "rows": sum(len(request.rows) for request in seen.asked),
        "failed": len(seen.problems),
        "problems": [problem for problem, _ in Counter(seen.problems).most_common(SHOWN)],
        "not_asked": left,
        "answered_by": dict(Counter(request.version for request in seen.asked)),
        "columns_refused": sorted(sent - columns),
        "columns_not_sent": sorted(columns - sent),
        **({} if p99 is None else {"p99_ms": p99}),
        **({} if disagreement is None else {"disagreement": disagreement}),
    }


def _disagreement(pairs: Sequence[tuple[Any, Any]], task: str) -> float | None:
    """Share of rows with another label; for regression the mean absolute difference in units of the answers' spread.

    None where there is nothing to compare, or no spread to compare with.
    """
    if task != "regression":
        return sum(type(got) is not type(said) or got != said for got, said in pairs) / len(pairs) if pairs else None
    numbers = [(float(got), float(said)) for got, said in pairs if isinstance(got, int | float)]
    spread = statistics.pstdev([got for got, _ in numbers]) if numbers else 0.0
    return statistics.fmean(abs(got - said) for got, said in numbers) / spread if spread else None
