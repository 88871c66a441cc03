"""Users' newest requests, asked again: what fails a candidate, what is only reported, and what is asked at all."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mlauto.delivery.replay import LoggedRequest, replay
from mlauto.errors import DeliveryError
from mlauto.records import CheckOutcome, Signature
from mlauto.runtime.base import Answer
from mlauto.runtime.fake import FakeRuntime

SIGNATURE = Signature(columns={"temp": "number", "sky": "string"}, task="regression")


@dataclasses.dataclass
class Scripted(FakeRuntime):
    """Answers each request with the next of `answers`: predictions, seconds in `times`, or an error to raise."""

    answers: list[Any] = dataclasses.field(default_factory=list)
    times: list[float] = dataclasses.field(default_factory=list)
    asked: list[list[dict[str, object]]] = dataclasses.field(default_factory=list)

    def predict(self, product: str, version: str, rows: Sequence[Mapping[str, object]]) -> Answer:
        self.asked.append([dict(row) for row in rows])
        said = self.answers.pop(0) if self.answers else [1.0] * len(rows)
        if isinstance(said, str):
            raise DeliveryError(said)
        return Answer(version, tuple(said), None, self.times.pop(0) if self.times else 0.001)


def request(*predictions: Any, version: str = "7", **more: Any) -> LoggedRequest:
    """A request with so many rows and the answers that users got."""
    return LoggedRequest([{"temp": 1.5, "sky": "clear", **more} for _ in predictions], list(predictions), version)


def ask(
    runtime: FakeRuntime, *requests: LoggedRequest, signature: Signature = SIGNATURE, seconds: float = 30.0
) -> CheckOutcome:
    """The check, with a budget of 100 ms."""
    return replay("bikes", "8", signature, requests, runtime, latency_ms=100.0, seconds=seconds)


def test_without_requests_there_is_nothing_to_fail() -> None:
    """A first version is not held up; the details say that nothing was asked."""
    outcome = ask(FakeRuntime())

    assert (outcome.name, outcome.passed, outcome.summary) == ("replay", True, "no request was logged yet")
    assert outcome.details == {"requests": 0}


def test_whole_requests_are_asked_as_they_were_sent() -> None:
    """Three rows together, one alone; what users got instead is reported and not judged."""
    runtime = Scripted(answers=[[1.0, 2.0, 3.0], [5.0]])
    outcome = ask(runtime, request(1.0, 3.0, 5.0), request(5.0, version="6"))

    assert outcome.passed
    assert outcome.summary == "users' newest 2 requests are answered"
    assert [len(rows) for rows in runtime.asked] == [3, 1]
    assert runtime.asked[1] == [{"temp": 1.5, "sky": "clear"}]
    assert outcome.details["requests"] == 2
    assert outcome.details["rows"] == 4
    assert outcome.details["answered_by"] == {"7": 1, "6": 1}
    assert outcome.details["disagreement"] == pytest.approx(0.75 / 2.75**0.5)
    assert outcome.details["p99_ms"] == 1.0


def test_labels_disagree_by_their_share() -> None:
    """One of four rows has another label; true is not 1."""
    signature = Signature(columns=SIGNATURE.columns, task="classification", classes=(0, 1))
    outcome = ask(Scripted(answers=[[1, 0, 1, 1]]), request(1, 0, 0, 1), signature=signature)
    other = ask(Scripted(answers=[[1]]), request(True), signature=signature)

    assert outcome.passed
    assert outcome.details["disagreement"] == 0.25
    assert other.details["disagreement"] == 1.0


def test_there_may_be_nothing_to_disagree_with() -> None:
    """Answers without a spread, or labels where there are numbers now, have no measure."""
    assert "disagreement" not in ask(Scripted(), request(2.0, 2.0)).details
    assert "disagreement" not in ask(Scripted(), request("high", "low")).details


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("column 'temp' takes no 1.5", "column 'temp' takes no 1.5"),
        ([1.0, 2.0], "a request of 1 rows got 2 predictions"),
        ([float("nan")], "a row was predicted as nan"),
        ([float("inf")], "a row was predicted as inf"),
        ([None], "a row was predicted as None"),
    ],
)
def test_a_request_that_fails_fails_the_check(said: Any, sentence: str) -> None:
    """One is enough: the live version answered it."""
    outcome = ask(Scripted(answers=[[1.0], said]), request(1.0), request(1.0), request(1.0))

    assert not outcome.passed
    assert outcome.summary == f"1 of users' newest 3 requests fail: {sentence}"
    assert outcome.details["failed"] == 1
    assert outcome.details["problems"] == [sentence]


def test_few_sentences_for_many_failures() -> None:
    """Equal ones are said once, and five at most."""
    outcome = ask(Scripted(answers=[f"problem {n % 7}" for n in range(30)]), *[request(1.0)] * 30)

    assert outcome.details["failed"] == 30
    assert len(outcome.details["problems"]) == 5
    assert outcome.summary.count("problem") == 5


def test_a_column_that_users_send_and_the_candidate_lacks() -> None:
    """It would refuse them, so it is not rolled out; the sentence says what to do. Sent without a value, it passes."""
    runtime = Scripted()
    outcome = ask(runtime, request(1.0, wind=3.0))
    without = ask(runtime, request(1.0, wind=None))

    assert not outcome.passed
    assert "column 'wind', which users send, is none of version 8's" in outcome.summary
    assert "delivery.replay: 0" in outcome.summary
    assert outcome.details["columns_refused"] == ["wind"]
    assert without.passed
    assert runtime.asked == [[{"temp": 1.5, "sky": "clear"}]]


def test_a_column_that_nobody_sends_yet() -> None:
    """It is missing in what the candidate is asked, as it would be; the details name it."""
    columns = {**SIGNATURE.columns, "wind": "number"}
    outcome = ask(Scripted(), request(1.0), signature=Signature(columns=columns, task="regression"))

    assert outcome.passed
    assert outcome.details["columns_not_sent"] == ["wind"]


@pytest.mark.parametrize(
    ("times", "passed", "p99"), [([0.5, 0.001, 0.05], True, 50.0), ([0.5, 0.001, 0.3], False, 300.0)]
)
def test_latency(times: list[float], passed: bool, p99: float) -> None:
    """What is slow is asked once more, and its better time counts."""
    outcome = ask(Scripted(times=times), request(1.0), request(1.0))

    assert outcome.passed is passed
    assert outcome.details["p99_ms"] == p99
    assert ("p99 300.0 ms over users' 2 newest one-row requests" in outcome.summary) is not passed


def test_many_rows_may_take_longer() -> None:
    """The budget is that of one row."""
    assert ask(Scripted(times=[9.0]), request(1.0, 1.0)).passed


def test_a_second_look_may_fail() -> None:
    """A slow answer that does not come the second time is a failure."""
    outcome = ask(Scripted(answers=[[1.0], "it hangs"], times=[0.5]), request(1.0))

    assert not outcome.passed
    assert "it hangs" in outcome.summary


def test_time_is_bounded() -> None:
    """Requests that are not reached are counted, not asked."""
    runtime = Scripted()
    outcome = ask(runtime, *[request(1.0)] * 5, seconds=-1.0)

    assert len(runtime.asked) == 1
    assert (outcome.details["requests"], outcome.details["not_asked"]) == (1, 4)
