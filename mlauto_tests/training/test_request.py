"""What the child is asked for: rows, weights of each member, and where the live model's members can be tried."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.averaged import Averaged, Renewal
from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import TrainedModel, TrainingSet
from mlauto.store import Store
from mlauto.training.exchange import FitRequest, Unseen
from mlauto.training.request import fit_request
from mlauto.training.strange import Judges

Make = Callable[..., ModelProduct]
Live = Callable[..., TrainedModel]
Rows = Callable[..., pd.DataFrame]
Sets = Callable[..., TrainingSet]
PAIR = [{"window": 1}, {"half_life": 2}]
NAMES = ("last 1 batches", "half-life 2")


@pytest.fixture
def artifact(store: Store, tmp_path: Path) -> str:
    """A stored tree, for a model."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.skops").write_bytes(b"a model")
    return store.put_tree(folder)


@pytest.fixture
def live(live_model: Callable[..., TrainedModel], artifact: str) -> Callable[..., TrainedModel]:
    """The live model of such a training set, with its files in the store."""
    return lambda known, averaged: live_model(known, artifact=artifact, averaged=averaged)


@pytest.fixture
def asked(store: Store, tmp_path: Path) -> Callable[..., FitRequest]:
    def made(
        product: ModelProduct, training_set: TrainingSet, champion: TrainedModel | None = None, **more: Any
    ) -> FitRequest:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return fit_request(product, training_set, 5, store, scratch, tree=tmp_path, champion=champion, **more)

    return made


def test_one_history_is_one_row_of_weights(
    asked: Callable[..., FitRequest], product: Make, training_set: Sets, rows: Rows
) -> None:
    """As the training set has them."""
    request = asked(product(training={"retrain": "every_batch"}), training_set(rows(4), rows(6)))

    assert np.load(request.weights).tolist() == [0.5] * 4 + [1.0] * 6
    assert (request.members, request.member_weights, request.unseen) == ((), "", ())
    assert len(pd.read_parquet(request.frame)) == 10


def test_several_histories_have_weights_each(
    asked: Callable[..., FitRequest], product: Make, training_set: Sets, rows: Rows
) -> None:
    """Their names and first shares go along; without a live model nothing is known of them."""
    request = asked(product(training={"histories": PAIR}), training_set(rows(2), rows(3)))

    assert request.members == ((NAMES[0], 0.5), (NAMES[1], 0.5))
    assert np.load(request.member_weights).tolist() == [
        [0.0, 0.0, 1.0, 1.0, 1.0],
        [0.707107, 0.707107, 1.0, 1.0, 1.0],
    ]
    assert (request.learned, request.unseen) == (None, ())
    first, second = (batch.digest for batch in training_set(rows(2), rows(3)).batches)
    assert request.batches == ((first, 0, 2), (second, 2, 5))
    assert request.judges == Judges(longest=1, short=1)


def test_the_live_models_members_are_tried_on_what_it_never_saw(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    store: Store,
    artifact: str,
    live: Live,
) -> None:
    """Batch by batch, with what is known of them from before, and the correction that was live."""
    three = training_set(rows(2), rows(3, 1), rows(4, 2))
    tried = ((0.2, 0.3, 1.5),)
    averaged = Averaged(
        histories=NAMES, shares=(0.3, 0.7), losses=((0.2, 0.1),), batches=("before",), offset=1.5, tried=tried
    )
    known = TrainingSet(batches=three.batches[:1], digest="one")

    request = asked(product(training={"histories": PAIR}), three, live(known, averaged))

    assert request.learned == averaged
    folder = str(store.tree_path(artifact))
    _, second, third = (batch.digest for batch in three.batches)
    assert request.unseen == (
        Unseen(batch=second, first=2, end=5, model=folder, offset=1.5),
        Unseen(batch=third, first=5, end=9, model=folder, offset=1.5, ahead=2),
    )


def test_what_was_learned_from_may_be_held_out(
    asked: Callable[..., FitRequest], product: Make, training_set: Sets, rows: Rows, live: Live
) -> None:
    """New code is tried on the newest five rows, which are of two of the batches that are known."""
    known = training_set(rows(2), rows(3, 1), rows(4, 2))
    batches = ("gone", *(batch.digest for batch in known.batches))
    averaged = Averaged(histories=NAMES, shares=(0.3, 0.7), losses=((0.2, 0.1),) * 4, batches=batches)

    request = asked(product(training={"histories": PAIR}), known, live(known, averaged))

    assert (request.unseen, request.held) == ((), 2)


def test_late_labels_are_of_what_answered_then(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    store: Store,
    artifact: str,
    live: Live,
) -> None:
    """Two batches late: the model before the champion, the first one before that, and nothing that was known before."""
    six = training_set(*(rows(2, seed) for seed in range(6)))
    for version, known in ((4, 1), (5, 2), (6, 3), (7, 5)):
        batches, offset = (six.batches[3].digest,), float(version)
        averaged = Averaged(histories=NAMES, shares=(0.5, 0.5), losses=((1.0, 1.0),), batches=batches, offset=offset)
        model = live(TrainingSet(batches=six.batches[:known], digest=str(known)), averaged)
        store.write_record("tides", f"models/{version}", replace(model, version=str(version), reason=str(known)))
    champion = store.read_record("tides", "models/7", TrainedModel)

    request = asked(product(training={"histories": PAIR}), six, champion, lag=2)

    # batch 0: nobody; 1 and 2: the first; 3 is known; 4: fitted on two; 5: fitted on three
    assert [batch.batch for batch in request.unseen] == [six.batches[n].digest for n in (1, 2, 4, 5)]
    assert [(batch.first, batch.end) for batch in request.unseen] == [(2, 4), (4, 6), (8, 10), (10, 12)]
    assert [batch.offset for batch in request.unseen] == [4.0, 4.0, 5.0, 6.0]
    assert [batch.ahead for batch in request.unseen] == [1, 2, 3, 3]


@pytest.mark.parametrize(
    ("policy", "lag", "belief"),
    [("quality", 0, 0.3), ("quality", 2, 0.1), ("economy", 0, 0.3), ("economy", 2, 0.1), ("never", 0, 0.0)],
)
def test_a_correction_is_believed_by_how_late_labels_are(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    policy: str,
    lag: int,
    belief: float,
) -> None:
    """So are shares that are learned between trainings. Where the next batch makes no model nothing is corrected."""
    averaging = {"retrain": policy, "histories": PAIR}

    request = asked(product(training=averaging), training_set(rows(4), rows(6)), lag=lag)

    assert (request.belief, request.reliance) == (belief, 0.3 if lag else 1.0)
    assert request.leaps == (0 if policy == "quality" else None)


def test_a_renewed_champion_knows_what_it_learned_from(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    store: Store,
    artifact: str,
    live: Live,
) -> None:
    """It answered what came after that; to renew it again is to take its own files."""
    five = training_set(*(rows(20, seed) for seed in range(5)))
    digests = tuple(batch.digest for batch in five.batches)
    averaged = Averaged(
        histories=NAMES,
        shares=(0.5, 0.5),
        losses=((1.0, 1.0),),
        batches=digests[2:3],
        offset=2.0,
        kept=(0.6, 0.4),
        asked=(0.2, 0.8),
    )
    base = live(TrainingSet(batches=five.batches[:2], digest="two"), averaged)
    champion = replace(base, renewal=Renewal(line="6", training_set="three", attempted=digests[:2]))
    made = product(training={"histories": PAIR})

    request = asked(made, five, champion, renew=True)

    assert [(batch.batch, batch.offset) for batch in request.unseen] == [(digest, 2.0) for digest in digests[3:]]
    assert {(batch.kept, batch.asked) for batch in request.unseen} == {((0.6, 0.4), (0.2, 0.8))}
    assert request.renewed == request.unseen[0].model == str(store.tree_path(artifact))
    assert request.learned == averaged
    assert asked(made, five, champion).renewed == ""


@pytest.mark.parametrize(
    "averaged",
    [None, Averaged(histories=("all history", "half-life 2"), shares=(0.5, 0.5), losses=((1.0, 2.0),), batches=("b",))],
)
def test_other_histories_tell_nothing_of_these(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    artifact: str,
    averaged: Averaged | None,
    live: Live,
) -> None:
    """A live model that averages nothing, or other histories, is no evidence."""
    two = training_set(rows(2), rows(3, 1))
    known = TrainingSet(batches=two.batches[:1], digest="one")

    request = asked(product(training={"histories": PAIR}), two, live(known, averaged))

    assert (request.learned, request.unseen) == (None, ())


def test_a_changed_live_model_is_not_opened(
    asked: Callable[..., FitRequest],
    product: Make,
    training_set: Sets,
    rows: Rows,
    store: Store,
    artifact: str,
    live: Live,
) -> None:
    """What lies in the store under its digest must be what the digest says."""
    two = training_set(rows(2), rows(3, 1))
    path = store.tree_path(artifact) / "model.skops"
    path.chmod(0o600)
    path.write_bytes(b"another")
    averaged = Averaged(histories=NAMES, shares=(0.5, 0.5))
    champion = live(TrainingSet(batches=two.batches[:1], digest="one"), averaged)

    with pytest.raises(TrainingError, match="version 7 was changed in the store"):
        asked(product(training={"histories": PAIR}), two, champion)
