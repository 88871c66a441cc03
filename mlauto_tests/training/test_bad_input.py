"""Bad input on the live path: landing, ingest, training set, the training child. A clear word each, nothing lost."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import Batch, Commit, TrainedModel
from mlauto.runtime.warm import WarmProcess
from mlauto.runtime.workshop import environment_digest
from mlauto.store import Store
from mlauto.training.batches import quality
from mlauto.training.batches.ingest import ingest
from mlauto.training.batches.landing import FolderLanding, pending, plan
from mlauto.training.registry import FakeRegistry
from mlauto.training.train import train
from mlauto.training.training_set import accepted_batches, assemble, load_frame
from mlauto.training.weighting import members_of

NOW = 1_750_000_000.0
Rows = Callable[..., pd.DataFrame]
Make = Callable[..., ModelProduct]


class Loop:
    """The live path of one product: a file lands, becomes a batch by a real suite, and is trained on in a child."""

    def __init__(self, product: ModelProduct, store: Store, folder: Path, *, child: Any, commit: Commit, tree: Path):
        self.product, self.store = product, store
        self.child, self.commit, self.tree = child, commit, tree
        self.landing = FolderLanding(folder)
        self.landing.prepare()
        self.registry = FakeRegistry()
        self.clock = count(int(NOW))
        self.suite = folder.parent / "expectations.json"
        self.suite.write_text('{"name": "s", "expectations": [], "meta": {}}')
        self.champion: TrainedModel | None = None

    def land(self, frame: pd.DataFrame, name: str = "a.csv") -> Batch:
        """The outcome of a file with these rows."""
        path, moment = self.landing.folder / name, next(self.clock)
        path.write_text(frame.to_csv(index=False))
        os.utime(path, (moment - 100, moment - 100))
        plan(self.store, self.product.name, self.landing, float(moment))
        key = pending(self.store, self.product.name)[-1]
        return ingest(
            self.product,
            key,
            store=self.store,
            landing=self.landing,
            validate=lambda frame: quality.validate(frame, self.suite),
        )

    def train(self, **changes: Any) -> TrainedModel:
        """A model of all accepted batches, as the loop makes it."""
        return train(
            self.product,
            self.commit,
            self.tree,
            assemble(self.store, self.product.name, members_of(self.product.training)),
            store=self.store,
            registry=self.registry,
            run_python=self.child,
            environment=environment_digest(),
            champion_predict=None,
            champion=self.champion,
            reason="new batch",
            now=NOW,
            **changes,
        )

    def newest(self) -> TrainedModel | None:
        return self.store.read_record(self.product.name, "model", TrainedModel)

    def trainable(self) -> pd.DataFrame:
        """The rows that a model would be fitted on."""
        frame, _, _ = load_frame(self.store, assemble(self.store, self.product.name, members_of(self.product.training)))
        return frame

    def landed(self) -> list[str]:
        return sorted(path.name for path in self.landing.folder.iterdir())


@pytest.fixture
def loop(
    product: Make, store: Store, tmp_path: Path, warm_process: WarmProcess, commit: Commit, tree: Path
) -> Callable[..., Loop]:
    """`loop(estimator, **sections)`: a fresh live path of the product `tides`."""

    def made(estimator: str = "ridge", **sections: Any) -> Loop:
        folder = tmp_path / "landing"
        return Loop(
            product(estimator, **sections),
            store,
            folder,
            child=warm_process.run_python,
            commit=commit,
            tree=tree,
        )

    return made


def later(frame: pd.DataFrame, hours: int) -> pd.DataFrame:
    return frame.assign(timestamp=frame["timestamp"] + pd.Timedelta(hours=hours))


def test_a_partly_labelled_batch_trains_on_its_labels_and_on_each_later_one_once(
    loop: Callable[..., Loop], rows: Rows
) -> None:
    """NaN targets wait; the training goes on; the same file with more labels adds exactly these."""
    live, full = loop(), rows(200)
    partly = full.copy()
    partly.loc[150:, "target"] = np.nan

    first = live.land(partly)

    assert (first.outcome, first.rows, first.unlabelled) == ("accepted", 150, 50)
    assert first.warnings[-1].startswith("50 of 200 rows have no label in 'target': they wait")
    model = live.train()
    assert model.training_set.rows == 150
    assert live.landed() == ["a.csv"]

    second = live.land(full)

    assert (second.outcome, second.rows, second.unlabelled) == ("accepted", 50, 0)
    assert second.warnings[-1].startswith("150 rows were trained on before")
    trained_on = live.trainable()
    assert len(trained_on) == 200
    assert sorted(trained_on["target"]) == pytest.approx(sorted(full["target"]))
    assert live.train().training_set.rows == 200


def test_a_batch_without_any_label_waits(loop: Callable[..., Loop], rows: Rows) -> None:
    """Its verdict says so, its file stays, the model stays, and when the labels come it is trained on."""
    live, full = loop(), rows(100)
    live.land(rows(100, 5), "old.csv")
    champion = live.train()

    batch = live.land(later(full.assign(target=np.nan), 500))

    assert (batch.outcome, batch.accepted, batch.rows, batch.unlabelled) == ("waiting", False, 0, 100)
    assert batch.validation.problem == "no new row has a label yet: 100 wait, and nothing is trained on"
    assert live.landed() == ["a.csv", "old.csv"]
    assert len(accepted_batches(live.store, "tides").batches) == 1
    assert live.newest() == champion

    again = live.land(later(full, 500))

    assert (again.outcome, again.rows) == ("accepted", 100)
    assert live.train().training_set.rows == 200


def test_the_same_file_without_another_label_is_nothing_new(loop: Callable[..., Loop], rows: Rows) -> None:
    """Written anew in another order with the same labels: a duplicate, told as such, and its rows still wait."""
    live, partly = loop(), rows(100)
    partly.loc[:49, "target"] = np.nan
    live.land(partly)

    batch = live.land(partly.iloc[::-1])

    assert (batch.outcome, batch.rows, batch.unlabelled) == ("duplicate", 0, 50)
    assert batch.validation.problem == "nothing new: no row of a.csv got a label since it came last"
    assert live.land(rows(100)).rows == 50
    assert len(live.trainable()) == 100


def test_a_suite_that_demands_labels_has_its_say(loop: Callable[..., Loop], rows: Rows) -> None:
    """As proposed, a missing target is a failed expectation: quarantined whole, named, and welcome when complete."""
    live, full = loop(), rows(100)
    live.suite.write_text(
        '{"name": "s", "meta": {}, "expectations": [{"type": "expect_column_values_to_not_be_null",'
        ' "kwargs": {"column": "target"}}]}'
    )
    partly = full.copy()
    partly.loc[0, "target"] = np.nan

    batch = live.land(partly)

    assert batch.outcome == "quarantined"
    [failure] = batch.validation.failures
    assert (failure.column, failure.observed) == ("target", "1 of 100 rows (1.0 %)")
    assert (live.store.home / "products/tides/quarantine" / batch.key / "a.csv").exists()
    assert live.land(full).rows == 100


def test_a_file_without_rows_is_quarantined(loop: Callable[..., Loop], rows: Rows) -> None:
    """A header alone is no batch, whatever the suite thinks of it."""
    batch = loop().land(rows(5).head(0))

    assert (batch.outcome, batch.validation.problem) == ("quarantined", "there are no rows in it")


def test_one_class_in_all_rows_is_an_error_and_the_champion_stays(loop: Callable[..., Loop], rows: Rows) -> None:
    """The error names target and class. One class in the newest batch alone is fine."""
    live = loop("logistic", data={"task": "classification"})
    frame = rows(100)
    live.land(frame.assign(target="low"))

    with pytest.raises(TrainingError, match=r"target 'target' is 'low' in all 80 rows to fit on: there is nothing to"):
        live.train()
    assert live.newest() is None

    live.land(later(frame.assign(target=np.where(frame["hour"] > 11, "high", "low")), 100), "b.csv")
    model = live.train()
    assert model.signature.classes == ("high", "low")

    live.land(later(frame.assign(target="low"), 200), "c.csv")
    assert live.train().version == "2"


def test_a_constant_target_is_an_error_that_names_it(loop: Callable[..., Loop], rows: Rows) -> None:
    """Nothing is registered: a model of a constant is none."""
    live = loop()
    live.land(rows(100).assign(target=4.5))

    with pytest.raises(TrainingError, match=r"target 'target' is 4\.5 in all 80 rows to fit on"):
        live.train()
    assert live.newest() is None
    assert live.registry.registrations == {}


def test_a_batch_of_one_row(loop: Callable[..., Loop], rows: Rows) -> None:
    """Accepted, and trained on beside others; alone it is too little, which is said."""
    live = loop()
    first = live.land(rows(1), "one.csv")

    assert (first.outcome, first.rows) == ("accepted", 1)
    with pytest.raises(TrainingError, match=r"^1 rows are too few to train on: wait for more data$"):
        live.train()

    live.land(later(rows(100, 1), 10), "more.csv")
    live.champion = live.train()
    second = live.land(later(rows(1, 2), 200), "two.csv")
    assert second.rows == 1
    model = live.train()
    assert model.training_set.rows == 102
    assert model.checks[1].summary == "not compared: only 1 rows that the champion was not fitted on"


def test_time_that_goes_backwards(loop: Callable[..., Loop], rows: Rows) -> None:
    """In a file: put in order and said. From batch to batch: accepted and said, for what comes late is true as well."""
    live, frame = loop(), rows(100)

    inside = live.land(later(frame, 1000).sample(frac=1, random_state=1))
    assert inside.outcome == "accepted"
    assert "timestamp goes backwards" in inside.warnings[0]
    assert inside.digest is not None
    kept = pd.read_parquet(live.store.verified_file(inside.digest))
    assert kept["timestamp"].is_monotonic_increasing

    between = live.land(frame, "late.csv")
    assert (between.outcome, between.rows) == ("accepted", 100)
    [warning] = between.warnings
    assert warning.startswith("100 of 100 rows are older by timestamp than the newest that was accepted before")
    assert len(live.trainable()) == 200
    assert live.land(later(frame, 2000), "on.csv").warnings == ()


def test_a_batch_with_gaps_that_was_accepted_before_does_not_stop_training(
    loop: Callable[..., Loop], rows: Rows, training_set: Callable[..., Any]
) -> None:
    """What is in the store already may have gaps: the child leaves these rows out, and says so."""
    live, gaps = loop(), rows(200)
    gaps.loc[::10, "target"] = np.nan
    lines: list[str] = []

    model = train(
        live.product,
        live.commit,
        live.tree,
        training_set(gaps),
        store=live.store,
        registry=live.registry,
        run_python=live.child,
        environment=environment_digest(),
        champion_predict=None,
        champion=None,
        reason="new batch",
        now=NOW,
        on_line=lines.append,
    )

    assert model.passed
    assert "20 of 200 rows have no 'target': left out" in lines
