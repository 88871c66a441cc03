"""Background traffic: bounded rate, complete accounts, labels, and who answers since when."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mlauto.commands.traffic import Request, Tally, Traffic
from mlauto.errors import DeliveryError
from mlauto_tests.waiting import eventually


def stream(count: int, *, rows: int = 1) -> Iterator[Request]:
    """Requests whose labels are their own numbers."""
    for number in range(count):
        yield Request(rows=[{"a": number}] * rows, labels=[number] * rows)


def test_every_request_is_counted_and_labelled(gateway: Any) -> None:
    """After the stream's end all answers and all labels are accounted for."""
    tally = Traffic(gateway.client(), stream(30, rows=2), rate=5000).start().join()

    assert (tally.requests, tally.rows, tally.failures, tally.labelled) == (30, 60, 0, 60)
    assert tally.by_version == {"1": 30}
    assert tally.p50_ms is not None
    assert tally.p99_ms is not None
    assert 0 < tally.p50_ms <= tally.p99_ms
    assert gateway.labels["00000000-00000005-abcd"] == [4, 4]
    tally.require_no_failure()


def test_labels_share_requests(gateway: Any) -> None:
    """Many labels that are due together do not cost a request each."""
    Traffic(gateway.client(), stream(200), rate=100_000).start().join()

    assert len(gateway.labels) == 200
    assert gateway.feedback_requests < 50


def test_labels_wait_until_they_are_due(gateway: Any) -> None:
    """With a long delay nothing is sent while traffic runs; what is left goes out when it is stopped."""
    endless = (request for _ in iter(int, 1) for request in stream(10))

    with Traffic(gateway.client(), endless, rate=1000, label_after=3600) as traffic:
        eventually(lambda: traffic.tally().requests >= 20)
        before = dict(gateway.labels)
        tally = traffic.stop()

    assert before == {}
    assert tally.labelled == tally.requests == len(gateway.labels)


def test_the_rate_is_a_bound(gateway: Any) -> None:
    """Ten requests at 50 a second take at least nine intervals."""
    began = time.monotonic()

    Traffic(gateway.client(), stream(10), rate=50).start().join()

    assert time.monotonic() - began >= 9 / 50


def test_stopping_does_not_wait_for_the_next_request(gateway: Any) -> None:
    """At one request in 100 s, stop returns at once."""
    with Traffic(gateway.client(), stream(5), rate=0.01) as traffic:
        eventually(lambda: traffic.tally().requests == 1)
        began = time.monotonic()
        tally = traffic.stop()

    assert time.monotonic() - began < 5
    assert tally.requests == 1


def test_one_failure_among_many_is_found(gateway: Any) -> None:
    """A single 503 is counted, named, and makes the requirement fail."""

    def fault(request: httpx.Request) -> httpx.Response | None:
        if len(gateway.asked) == 7 and not hasattr(gateway, "failed"):
            gateway.failed = True
            return httpx.Response(503, json={"error": "no version is ready"})
        return None

    gateway.fault = fault

    tally = Traffic(gateway.client(), stream(20), rate=5000).start().join()

    assert (tally.requests, tally.failures) == (20, 1)
    assert sum(tally.by_version.values()) == 19
    with pytest.raises(DeliveryError, match=r"1 of 20 requests failed, first: 503: no version is ready"):
        tally.require_no_failure()


def test_refused_labels_are_failures_too(gateway: Any) -> None:
    """Feedback that the gateway does not take is not forgotten."""
    gateway.fault = lambda request: (
        httpx.Response(400, json={"error": "labels: expected numbers"}) if "feedback" in request.url.path else None
    )

    tally = Traffic(gateway.client(), stream(3), rate=5000).start().join()

    assert tally.failures >= 1
    assert tally.labelled == 0
    assert "expected numbers" in (tally.first_failure or "")


def test_no_request_proves_nothing() -> None:
    """Zero failures of zero requests is not a pass."""
    with pytest.raises(DeliveryError, match="nothing is proven"):
        Tally(requests=0, rows=0, failures=0, labelled=0).require_no_failure()


def test_who_answers_since_when(gateway: Any) -> None:
    """After a switch the series of the new version begins anew and counts its own requests."""
    proceed = threading.Event()

    def two_halves() -> Iterator[Request]:
        yield from stream(5)
        proceed.wait(10)
        gateway.version = "2"
        yield from stream(4)

    with Traffic(gateway.client(), two_halves(), rate=5000) as traffic:
        eventually(lambda: traffic.answering is not None and traffic.answering.requests == 5)
        first = traffic.answering
        proceed.set()
        traffic.join()
        second = traffic.answering

    assert first is not None
    assert second is not None
    assert (first.version, second.version, second.requests) == ("1", "2", 4)
    assert second.since >= first.since
    assert [outcome.version for outcome in traffic.outcomes()] == ["1"] * 5 + ["2"] * 4


def test_a_failure_breaks_the_series(gateway: Any) -> None:
    """A version that failed a request does not answer everything, so nobody does until the next answer."""
    gateway.fault = lambda request: httpx.Response(500) if len(gateway.asked) == 3 else None

    with Traffic(gateway.client(), stream(4), rate=5000) as traffic:
        traffic.join()

    assert traffic.answering is None


def test_a_broken_stream_is_reported(gateway: Any) -> None:
    """An error of the caller's own generator does not vanish with the thread."""

    def broken() -> Iterator[Request]:
        yield from stream(2)
        raise LookupError("no more rows")

    traffic = Traffic(gateway.client(), broken(), rate=5000).start()

    with pytest.raises(LookupError, match="no more rows"):
        traffic.join()
    assert traffic.tally().requests == 2
