"""A model made of an older one's fits: learnt from what came since, without a fit, and told from a training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from mlauto.commands.backtest_policy import LiveCheck
from mlauto.errors import TrainingError
from mlauto.product import ModelProduct
from mlauto.records import Commit, TrainedModel, TrainingSet
from mlauto.runtime.workshop import environment_digest
from mlauto.serving.trust import load_model
from mlauto.store import Store
from mlauto.training.averaging import average_in, fits_in
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Model, Trial
from mlauto.training.backtest.walk import simulate
from mlauto.training.correcting import corrected_by, first_belief
from mlauto.training.deciding import Choice
from mlauto.training.estimator import build, import_root
from mlauto.training.exchange import Evaluation
from mlauto.training.policy import model_key, renewed_key
from mlauto.training.weighting import members_of
from mlauto_tests.training.test_train import Counted, FakeRegistry, Train, child, registry, trained

__all__ = ["child", "registry", "trained"]  # fixtures
Make = Callable[..., ModelProduct]
Rows = Callable[..., pd.DataFrame]
Sets = Callable[..., TrainingSet]
# the newest batch only, and all of them: after a change the first does better
TWO = {"retrain": "economy", "histories": [{"window": 1}, {"window": 100}]}


class Noting(Fits):
    """A history's fits, and the models that were tried."""

    def __init__(self, *arguments: Any, **given: Any) -> None:
        super().__init__(*arguments, **given)
        self.tried: list[Model] = []

    def trial(self, model: Model, champion: Model | None) -> Trial:
        """As `Fits` does."""
        self.tried.append(model)
        return super().trial(model, champion)


@pytest.fixture
def changed(rows: Rows) -> list[pd.DataFrame]:
    """Five batches; from the third on the target is higher."""
    return [rows(200, seed, shift=0.0 if seed < 2 else 20.0) for seed in range(5)]


def saying(store: Store, model: TrainedModel, frame: pd.DataFrame) -> np.ndarray:
    """The mean of its fits, each with its share, and its correction."""
    stored = load_model(store.tree_path(model.artifact) / "model.skops", [])
    features = frame.drop(columns=["target", "timestamp", "leak"])
    averaged = model.averaged
    assert averaged is not None
    each = {group: one.predict(features) for group, one in fits_in(average_in(stored)).items()}
    mean = sum(averaged.shares[place] * said for group, said in each.items() for place in group)
    assert stored.predict(features) == pytest.approx(mean + averaged.amount)
    return np.asarray([each[group] for group in sorted(each)])


def test_fits_are_averaged_anew(
    trained: Train,
    product: Make,
    training_set: Sets,
    changed: list[pd.DataFrame],
    store: Store,
    commit: Commit,
    child: Counted,
) -> None:
    """The same fits with other shares, corrected; the next one goes on from there, and again from the same fits."""
    made = product(training=TWO)
    before, after = training_set(*changed[:3]), training_set(*changed[:4])
    first = trained(made, before)
    lines: list[str] = []
    second = trained(made, after, champion=first, renew=True, reason="1 new batch", on_line=lines.append)
    third = trained(made, training_set(*changed), champion=second, renew=True)

    assert first.averaged is not None
    assert second.averaged is not None
    assert third.averaged is not None
    assert second.passed
    assert second.averaged.shares[0] > first.averaged.shares[0] + 0.2
    assert second.averaged.offset > 1.0
    assert (len(second.averaged.batches), len(third.averaged.batches)) == (1, 2)
    fits = [saying(store, one, changed[4]) for one in (first, second, third)]
    assert fits[0].tolist() == fits[1].tolist() == fits[2].tolist()
    assert (second.version, third.version, second.line, third.line) == ("2", "3", "1", "1")
    assert (second.training_set, third.training_set, second.trainings) == (before, before, 0)
    fitted = model_key(commit.tree, before, made, environment_digest())
    assert second.key == renewed_key(fitted, after.digest)
    assert second.attempted == first.attempted == {batch.digest for batch in before.batches}
    assert store.read_record("tides", "models/2", TrainedModel) == second
    assert store.tree_path(first.artifact) in child.reads[1]
    assert [line for line in lines if "fit" in line] == ["averaging older fits of Pipeline with Ridge anew"]


def test_it_says_what_is_known_of_its_fits(
    trained: Train, product: Make, training_set: Sets, rows: Rows, store: Store, registry: FakeRegistry
) -> None:
    """Their rows and parameters, which a search found, whatever the code says now; nothing is searched again."""
    search = {"parameters": {"final__max_iter": [60, 80]}, "budget": 60}
    made = product("boosted", training={**TWO, "search": search})
    frames = [rows(400, seed) for seed in range(4)]
    first = trained(made, training_set(*frames[:3]))
    second = trained(made, training_set(*frames), champion=first, renew=True)

    older, newer = (
        msgspec.json.decode((store.tree_path(one.artifact) / "evaluation.json").read_bytes(), type=Evaluation)
        for one in (first, second)
    )
    assert older.parameters["final__max_iter"] in ("60", "80")
    assert (newer.parameters, newer.rows, newer.weights) == (older.parameters, 1200, older.weights)
    assert not (store.tree_path(second.artifact) / "search.json").exists()
    card = (store.tree_path(second.artifact) / "card.md").read_text()
    assert "its fits are those of version 1, on 1,200 older rows, averaged anew" in card
    assert registry.registrations["tides"][1].tags["mlauto.renews"] == "1"
    assert "mlauto.renews" not in registry.registrations["tides"][0].tags


def test_it_is_tried_on_rows_that_its_fits_never_saw(
    trained: Train, product: Make, training_set: Sets, changed: list[pd.DataFrame], store: Store
) -> None:
    """The newest 30 % of them; its own shares, but no correction that these rows asked for."""
    made = product(training=TWO)
    first = trained(made, training_set(*changed[:3]))
    second = trained(made, training_set(*changed[:4]), champion=first, renew=True)

    assert second.reference.rows == 60
    said = saying(store, second, changed[3].iloc[-60:])
    assert second.averaged is not None
    mean = second.averaged.shares @ said
    assert second.reference.value == pytest.approx(np.abs(mean - changed[3]["target"].iloc[-60:]).mean())


def test_a_training_after_it_is_one_more(
    trained: Train, product: Make, training_set: Sets, changed: list[pd.DataFrame]
) -> None:
    """A renewal costs nothing of what the policy may spend; what was attempted before it stays known."""
    made = product(training=TWO)
    first = trained(made, training_set(*changed[:2]))
    second = trained(made, training_set(*changed[:3]), champion=first)
    renewed = trained(made, training_set(*changed[:4]), champion=first, renew=True)
    third = trained(made, training_set(*changed), champion=renewed)

    assert [one.trainings for one in (first, second, renewed, third)] == [0, 1, 1, 2]
    assert renewed.training_set == first.training_set
    assert renewed.attempted == second.attempted
    assert (third.line, third.renewal) == ("4", None)


def test_without_an_average_there_is_nothing_to_renew(
    trained: Train, product: Make, training_set: Sets, rows: Rows, changed: list[pd.DataFrame]
) -> None:
    """A single fit, or too few rows that it never saw, or no live version at all."""
    one = trained(product(training={"retrain": "every_batch"}), training_set(*changed[:2]))
    made = product(training=TWO)
    two = trained(made, training_set(*changed[:2]))
    few = training_set(*changed[:2], rows(20, 7))
    for champion, known in ((None, few), (one, training_set(*changed)), (two, few)):
        with pytest.raises(TrainingError, match="cannot be averaged anew"):
            trained(made, known, champion=champion, renew=True)


def test_late_labels_give_what_a_backtest_foretells(
    trained: Train,
    product: Make,
    training_set: Sets,
    rows: Rows,
    tree: Path,
    tmp_path: Path,
) -> None:
    """Labels a batch late: the same shares, as far as they have helped, the same correction, and the same trial."""
    made = product(training=TWO)
    frames = [rows(200, seed, shift=0.0 if seed < 2 else 2.0) for seed in range(6)]
    stream = pd.concat(frames, ignore_index=True)
    fits = Noting(
        stream.drop(columns=["target", "timestamp", "leak"]),
        stream["target"].to_numpy(),
        edges=range(0, 1201, 200),
        metric="mae",
        estimator=build(made.code.estimator, import_root(tree)),
        cache=tmp_path,
        inputs="renewed",
    )
    late = Choice(
        train=False, renew=True, reason="", members=members_of(made.training), belief=first_belief(1), reliance=0.3
    )
    check = LiveCheck(made)
    simulate(fits, lambda _: late, metric="mae", batches=6, initial=2, delay=1, members=late.members, check=check)

    models = [trained(made, training_set(*frames[:2]))]
    for known in (3, 4, 5):
        models.append(trained(made, training_set(*frames[:known]), champion=models[-1], renew=True, lag=1))

    assert [model.passed for model in models] == [True] * 4
    assert [model.learned for model in fits.tried] == [None, 3, 4, 5]
    assert len(fits.tried[-1].tried) == 3
    for model, foretold in zip(models, tuple(fits.tried), strict=True):
        found = model.averaged
        assert found is not None
        assert found.shares == pytest.approx([one.share for one in foretold.members])
        assert (found.kept, found.asked) == (pytest.approx(foretold.kept), pytest.approx(foretold.asked))
        assert found.amount == pytest.approx(corrected_by(foretold.tried, foretold.belief).amount)
        assert model.reference.value == pytest.approx(
            fits.trial(foretold, foretold.learned and foretold).reference.value
        )
    assert models[-1].averaged is not None
    assert len(models[-1].averaged.shown) == 1
