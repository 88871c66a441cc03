"""Batches scored by the live model when they arrive: once each, before anything is fitted on them."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.averaged import Renewal
from mlauto.errors import DeliveryError, StoreError
from mlauto.product import ModelProduct
from mlauto.records import BatchWeight, Signature, TrainedModel, TrainingSet
from mlauto.runtime.base import Answer
from mlauto.store import Store
from mlauto.training import deciding
from mlauto.training.prequential import Prequential, score_arrivals, scores_of
from mlauto_tests.training.conftest import said

Make = Callable[..., ModelProduct]
Live = Callable[..., TrainedModel]


def given(store: Store, *frames: pd.DataFrame) -> TrainingSet:
    """A training set of these batches."""
    batches = []
    for number, frame in enumerate(frames):
        path = store.home / "batch.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(path, index=False)
        digest = store.put_file(path)
        batches.append(BatchWeight(key=f"{number:04d}", digest=digest, rows=len(frame), weight=1.0))
    return TrainingSet(batches=tuple(batches), digest="all")


def batch(start: float, rows: int = 4, **more: Any) -> pd.DataFrame:
    """Rows of a count, to be repeated by a model."""
    values = np.arange(start, start + rows)
    return pd.DataFrame({"temp": values, "count": values, **more})


@pytest.fixture
def live(live_model: Callable[..., TrainedModel]) -> Callable[..., TrainedModel]:
    """A champion fitted on the first batch of a training set; what else is given is its signature's."""

    def made(known: TrainingSet, version: str = "7", **more: Any) -> TrainedModel:
        signature = Signature(columns={"temp": "number"}, task="regression", **more)
        return live_model(replace(known, batches=known.batches[:1]), version=version, signature=signature)

    return made


class Answering:
    """A live model that says its only column, less `off`; it counts what it was asked."""

    def __init__(self, off: float = 0.0) -> None:
        self.off = off
        self.asked: list[int] = []

    def __call__(self, rows: list[dict[str, Any]]) -> Answer:
        self.asked.append(len(rows))
        return said(row["temp"] - self.off for row in rows)


@pytest.fixture
def counted(product: Make) -> ModelProduct:
    return product(data={"target": "count", "timestamp": None, "exclude": []})


def test_each_arrival_is_scored_once_by_who_was_live(store: Store, counted: ModelProduct, live: Live) -> None:
    """Not what it was fitted on; a later champion scores only what came later."""
    three = given(store, batch(0), batch(10), batch(20, rows=1))
    first, second = Answering(2.0), Answering(3.0)

    assert score_arrivals(store, counted, three, live(three), first) == ()
    assert score_arrivals(store, counted, three, live(three), first) == ()
    four = given(store, batch(0), batch(10), batch(20, rows=1), batch(30))
    assert score_arrivals(store, counted, four, live(four, "8"), second) == ()

    scores = scores_of(store, counted)
    assert first.asked == [4, 1]
    assert second.asked == [4]
    assert [(one.number, one.rows, one.loss, one.model) for one in scores] == [
        (0, 4, 2.0, "7"),
        (1, 1, 2.0, "7"),
        (2, 4, 3.0, "8"),
    ]
    assert scores[0].error == 0.0
    assert math.isnan(scores[1].error)


def test_late_labels_tell_of_who_answered_then(store: Store, counted: ModelProduct, live: Live) -> None:
    """Two batches late: the first after the champion's own says little of it; it answered the third and the fourth."""
    five = given(store, *(batch(10.0 * n) for n in range(5)))

    score_arrivals(store, counted, five, live(five), Answering(2.0), lag=2)

    assert [one.model for one in scores_of(store, counted)] == ["", "7", "7", "7"]


def test_a_renewed_champion_scores_for_its_line(store: Store, counted: ModelProduct, live: Live) -> None:
    """Versions that average the same fits are one model to the policy, also in batches that came before the newest."""
    two, four = (given(store, *(batch(10.0 * n) for n in range(count))) for count in (2, 4))
    renewal = Renewal(line="7", training_set="x", attempted=())

    score_arrivals(store, counted, two, live(two), Answering(1.0))
    renewed = replace(live(four, "9"), renewal=renewal)
    score_arrivals(store, counted, four, renewed, Answering(2.0))

    assert [(one.loss, one.model) for one in scores_of(store, counted)] == [(1.0, "7"), (2.0, "7"), (2.0, "7")]


def test_before_a_release_there_is_nothing_to_score(store: Store, counted: ModelProduct) -> None:
    """Nobody answers yet."""
    assert score_arrivals(store, counted, given(store, batch(0)), None, None) == ()
    assert scores_of(store, counted) == []


def test_a_champion_that_does_not_answer_is_asked_again_with_the_next_batch(
    store: Store, counted: ModelProduct, live: Live
) -> None:
    """What could not be scored is said; nothing is written down for it."""

    def silent(rows: list[dict[str, Any]]) -> Answer:
        raise DeliveryError("the server is gone")

    two = given(store, batch(0), batch(10))

    assert score_arrivals(store, counted, two, live(two), silent) == (
        "batch 0001 was not scored: the champion did not answer: the server is gone",
    )
    assert scores_of(store, counted) == []
    assert score_arrivals(store, counted, two, live(two), Answering()) == ()
    assert len(scores_of(store, counted)) == 1


def test_rows_that_cannot_be_scored_are_left_out(store: Store, counted: ModelProduct, live: Live) -> None:
    """Without a label, or beyond what the live model's server takes."""
    gaps = batch(10)
    gaps.loc[0, "count"] = np.nan
    two = given(store, batch(0), gaps)
    answering = Answering(1.0)

    assert score_arrivals(store, counted, two, live(two, limits={"temp": (None, 12.0)}), answering) == ()
    assert answering.asked == [2]
    none = given(store, batch(0), batch(90))
    assert score_arrivals(store, counted, none, live(none, limits={"temp": (None, 12.0)}), answering) == (
        "batch 0001 was not scored: none of its rows has a label and values that the live model takes",
    )


def test_infinite_answers_are_no_score(store: Store, counted: ModelProduct, live: Live) -> None:
    """They are said, and not averaged."""
    two = given(store, batch(0), batch(10))

    assert score_arrivals(store, counted, two, live(two), lambda rows: said([math.inf] * len(rows))) == (
        "batch 0001 was not scored: some of the live model's answers are not finite",
    )


def test_of_a_large_batch_some_rows_are_asked(
    store: Store, counted: ModelProduct, monkeypatch: pytest.MonkeyPatch, live: Live
) -> None:
    """Evenly spread from the first to the last."""
    monkeypatch.setattr(deciding, "SCORED_ROWS", 3)
    two = given(store, batch(0), batch(10, rows=9))
    answering = Answering(1.0)

    score_arrivals(store, counted, two, live(two), answering)

    assert answering.asked == [3]


def test_another_metric_begins_anew(store: Store, product: Make, counted: ModelProduct, live: Live) -> None:
    """Squares cannot be compared with absolute errors."""
    two = given(store, batch(0), batch(10))
    score_arrivals(store, counted, two, live(two), Answering(2.0))
    squared = counted.model_copy(update={"monitoring": counted.monitoring.model_copy(update={"metric": "rmse"})})

    assert scores_of(store, squared) == []
    score_arrivals(store, squared, two, live(two), Answering(2.0))
    assert [one.loss for one in scores_of(store, squared)] == [4.0]


def test_a_batch_that_is_gone_is_an_error(store: Store, counted: ModelProduct, live: Live) -> None:
    """The store says which."""
    two = given(store, batch(0), batch(10))
    store.object_path(two.batches[1].digest).unlink()

    with pytest.raises(StoreError, match="missing"):
        score_arrivals(store, counted, two, live(two), Answering())


def test_history_is_bounded_and_numbers_go_on(store: Store, counted: ModelProduct, live: Live) -> None:
    """The newest thousand are kept; their numbers count all that there ever were."""
    two = given(store, batch(0), batch(10))
    score_arrivals(store, counted, two, live(two), Answering())
    record = store.read_record(counted.name, "prequential", Prequential)
    assert record is not None
    many = tuple(replace(record.scores[0], digest=str(n)) for n in range(1000))
    store.write_record(counted.name, "prequential", replace(record, scores=many, total=5000))

    three = given(store, batch(0), batch(20))
    score_arrivals(store, counted, three, live(three), Answering())

    scores = scores_of(store, counted)
    assert len(scores) == 1000
    assert (scores[0].number, scores[-1].number) == (4001, 5000)


def test_batches_of_an_auc_product_are_scored_by_log_loss(
    store: Store, product: Make, live_model: Callable[..., TrainedModel]
) -> None:
    """A batch of one class has no AUC, and has a log loss; another product's record of that name is no other one."""
    made = product(
        data={"target": "kind", "timestamp": None, "exclude": [], "task": "classification"},
        monitoring={"metric": "auc"},
    )
    two = given(store, batch(0, kind="no"), batch(10, kind="yes"))
    signature = Signature(columns={"temp": "number"}, task="classification", classes=("no", "yes"))
    live = live_model(replace(two, batches=two.batches[:1]), signature=signature)

    assert (
        score_arrivals(store, made, two, live, lambda rows: said(["yes"] * len(rows), [(0.25, 0.75)] * len(rows))) == ()
    )
    assert [one.loss for one in scores_of(store, made)] == [pytest.approx(-math.log(0.75))]
    record = store.read_record(made.name, "prequential", Prequential)
    assert record is not None
    assert record.metric == "log_loss"

    three = given(store, batch(0, kind="no"), batch(10, kind="yes"), batch(20, kind="yes"))
    assert score_arrivals(store, made, three, live, lambda rows: said(["yes"] * len(rows))) == (
        "batch 0002 was not scored: the live model gives no probabilities",
    )
