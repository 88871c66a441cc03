"""The records that pass between the rooms."""

import dataclasses
from typing import Any

import msgspec
import pytest

from mlauto import records
from mlauto.records import (
    Action,
    Averaged,
    Batch,
    BatchWeight,
    CheckOutcome,
    CheckResult,
    CiReport,
    Commit,
    Deployment,
    ExpectationFailure,
    Image,
    Score,
    Signature,
    SourceFile,
    Status,
    TrainedModel,
    TrainingSet,
    Validation,
    Verdict,
    VerifiedCommit,
)

COMMIT = Commit(sha="a" * 40, tree="t" * 64, subject="s", author="Ada", time=1.5)
RED = CheckResult(
    kind="tests", command="pytest", passed=False, seconds=2.0, output="boom", exit_code=1, tests=3, failures=("x",)
)
GREEN = CheckResult(kind="lint", command="ruff check .", passed=True, seconds=0.1, output="")
SCORE = Score(metric="mae", value=1.0, low=0.5, high=1.5, rows=10)
FAILURE = ExpectationFailure(expectation="not null", column="a", observed="3", expected="0", examples=("1",))
VALIDATION = Validation(passed=False, evaluated=4, failures=(FAILURE,), problem="p")
SET = TrainingSet(batches=(BatchWeight(key="b", digest="d", rows=7, weight=0.5),), digest="x")
PASS = CheckOutcome(name="valid", passed=True, summary="fine", details={"n": 1})
FAIL = CheckOutcome(name="better", passed=False, summary="worse")
MODEL = TrainedModel(
    version="3",
    key="k",
    artifact="a",
    commit=COMMIT,
    training_set=SET,
    run_id="r",
    signature=Signature(columns={"x": "number"}, task="classification", classes=(0, 1)),
    reference=SCORE,
    scores=(SCORE,),
    checks=(PASS,),
    seed=0,
    reason="first",
    trained=9.0,
)
AVERAGED = Averaged(
    histories=("last 1 batches", "all history"),
    shares=(0.25, 0.75),
    losses=((0.1, 0.2),),
    batches=("d",),
    offset=2.0,
    amount=0.5,
    tried=((0.2, 0.1, 2.0),),
)
BATCH = Batch(
    key="b",
    files=(SourceFile(name="f.csv", digest="d", size=3),),
    rows=7,
    digest="d",
    validation=Validation(passed=True, evaluated=4),
    arrived=2.0,
)
EXAMPLES: list[Any] = [
    COMMIT,
    CiReport(commit=COMMIT, results=(RED, GREEN)),
    VerifiedCommit(commit=COMMIT, branch="main"),
    BATCH,
    dataclasses.replace(BATCH, validation=VALIDATION, digest=None),
    SET,
    MODEL,
    AVERAGED,
    dataclasses.replace(MODEL, averaged=AVERAGED),
    Image(kind="bundle", digest="d", reference="/x", version="3", key="k", checks=(PASS,)),
    Deployment(environment="test", version="3", image="d", since=1.0, checks=(FAIL,), fallback="2", events=("e",)),
    Verdict(status=Status.UNKNOWN, action=Action.ALERT, cause="no data", checks=(PASS, FAIL)),
]


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_every_record_survives_json(record: Any) -> None:
    """What is written to the store is equal when it is read back, nested records, tuples and enumerations included."""
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.parametrize("name", [name for name in records.__all__ if name not in ("Status", "Action", "Cause")])
def test_every_record_is_frozen_and_by_keyword(name: str) -> None:
    """Fields cannot be changed, and cannot be confused by position."""
    kind = getattr(records, name)

    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))
    with pytest.raises(TypeError):
        kind("positional")


@pytest.mark.parametrize(("results", "passed"), [((GREEN,), True), ((GREEN, RED), False), ((RED,), False), ((), True)])
def test_a_report_passes_when_every_command_does(results: tuple[CheckResult, ...], passed: bool) -> None:
    """One red command makes the commit red."""
    assert CiReport(commit=COMMIT, results=results).passed is passed


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, True),
        ({"validation": VALIDATION}, False),
        ({"digest": None}, False),
        ({"validation": VALIDATION, "digest": None}, False),
    ],
)
def test_a_batch_is_accepted_only_with_data_and_a_passed_validation(changes: dict[str, Any], accepted: bool) -> None:
    """Both are needed: neither a validation without data nor data without a validation may be trained on."""
    assert dataclasses.replace(BATCH, **changes).accepted is accepted


def test_a_training_set_counts_its_rows() -> None:
    """Over all batches; none has none."""
    weights = tuple(BatchWeight(key=str(rows), digest="d", rows=rows, weight=1.0) for rows in (3, 4, 5))

    assert TrainingSet(batches=weights, digest="x").rows == 12
    assert TrainingSet(batches=(), digest="x").rows == 0


def test_an_average_is_moved_by_what_is_believed() -> None:
    """One that was recorded before there were corrections has none."""
    earlier = b'{"histories":["all history"],"shares":[1.0],"losses":[[0.1]],"batches":["d"]}'

    assert AVERAGED.amount == 0.5
    assert msgspec.json.decode(earlier, type=Averaged).amount == 0.0


@pytest.mark.parametrize(("checks", "passed"), [((PASS,), True), ((PASS, FAIL), False), ((), True)])
def test_a_model_passes_when_every_check_does(checks: tuple[CheckOutcome, ...], passed: bool) -> None:
    """One failed check keeps it from delivery."""
    assert dataclasses.replace(MODEL, checks=checks).passed is passed


def test_the_words_of_verdicts_are_stable() -> None:
    """They are written to records and shown to programs: renaming one would break readers."""
    assert [status.value for status in Status] == ["healthy", "unknown", "error", "degraded"]
    assert {action.value for action in Action} == {
        "none",
        "alert",
        "wait_for_data",
        "cool_down",
        "retrain",
        "roll_back",
        "escalate",
    }


def test_an_unknown_word_is_refused() -> None:
    """A record of a newer version is not silently misread."""
    content = msgspec.json.encode(EXAMPLES[-1]).replace(b"unknown", b"splendid")

    with pytest.raises(msgspec.ValidationError, match="splendid"):
        msgspec.json.decode(content, type=Verdict)
