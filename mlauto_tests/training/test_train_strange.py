"""A batch whose labels are wrong spoils one model, not those after it: what real trainings do, a backtest foretells."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mlauto.product import ModelProduct
from mlauto.records import TrainingSet
from mlauto.serving.trust import load_model
from mlauto.store import Store
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Fit, Model
from mlauto.training.backtest.walk import simulate
from mlauto.training.correcting import corrected_by, first_belief
from mlauto.training.deciding import Choice, Situation
from mlauto.training.estimator import build, import_root
from mlauto.training.policy import spoiled
from mlauto.training.weighting import members_of
from mlauto_tests.training.test_train import Train, child, registry, trained

__all__ = ["child", "registry", "trained"]  # fixtures
THREE = {"retrain": "quality", "histories": [{"window": 1}, {"half_life": 1}, {"window": 100}]}
STRANGE = 5


class Noting(Fits):
    """A history's fits, and the models that were fitted."""

    seen: list[Model]

    def fit(self, model: Model) -> Fit:
        """As `Fits` does."""
        self.seen.append(model)
        return super().fit(model)


@pytest.fixture
def frames(rows: Callable[..., pd.DataFrame]) -> list[pd.DataFrame]:
    """Ten batches, in one of which the labels are wrong."""
    made = [rows(200, seed) for seed in range(10)]
    made[STRANGE]["target"] = 200.0 - 5 * made[STRANGE]["target"]
    return made


def history(frames: list[pd.DataFrame], made: ModelProduct, tree: Path, cache: Path) -> Noting:
    """A backtest's fits of these batches."""
    stream = pd.concat(frames, ignore_index=True)
    fits = Noting(
        stream.drop(columns=["target", "timestamp", "leak"]),
        stream["target"].to_numpy(),
        edges=range(0, len(stream) + 1, 200),
        metric="mae",
        estimator=build(made.code.estimator, import_root(tree)),
        cache=cache,
        inputs="strange",
    )
    fits.seen = []
    return fits


def test_wrong_labels_spoil_one_model_as_a_backtest_foretells(
    trained: Train,
    product: Callable[..., ModelProduct],
    training_set: Callable[..., TrainingSet],
    frames: list[pd.DataFrame],
    store: Store,
    tree: Path,
    tmp_path: Path,
) -> None:
    """Fitted on six batches, then on seven: the same batch left out, shares, corrections and losses."""
    made = product(training=THREE)
    frames = frames[:8]
    fits = history(frames, made, tree, tmp_path)
    members = members_of(made.training)
    always = Choice(train=True, reason="", members=members, belief=first_belief(0), leaps=True)
    steps = simulate(fits, lambda _: always, metric="mae", batches=8, initial=2, delay=0, members=members).steps

    models = [trained(made, training_set(*frames[:2]))]
    for known in range(3, 8):
        models.append(trained(made, training_set(*frames[:known]), champion=models[-1]))

    assert [model.passed for model in models] == [True] * 6
    assert [one.strange for one in fits.seen[:6]] == [()] * 5 + [(STRANGE,)]
    usual, spoiled, mended = (steps[place].loss for place in (2, 4, 5))
    assert spoiled > 5 * usual
    assert mended < 2 * usual
    for place, (model, foretold) in enumerate(zip(models, fits.seen, strict=False)):
        found = model.averaged
        assert found is not None
        assert found.strange == tuple(models[-1].training_set.batches[one].digest for one in foretold.strange)
        assert found.shares == pytest.approx([one.share for one in foretold.members])
        assert found.amount == pytest.approx(corrected_by(foretold.tried, foretold.belief).amount)
        stored, following = load_model(store.tree_path(model.artifact) / "model.skops", []), frames[place + 2]
        off = stored.predict(following.drop(columns=["target", "timestamp", "leak"])) - following["target"]
        assert off.abs().mean() == pytest.approx(steps[place].loss)
    card = (store.tree_path(models[-1].artifact) / "card.md").read_text()
    key = models[-1].training_set.batches[STRANGE].key
    assert f"Strange by themselves, so left out of fits since this was found: `{key}`." in card


def test_fits_on_wrong_labels_are_replaced_as_a_backtest_foretells(
    trained: Train,
    product: Callable[..., ModelProduct],
    training_set: Callable[..., TrainingSet],
    frames: list[pd.DataFrame],
    tree: Path,
    tmp_path: Path,
) -> None:
    """Fitted on six batches, then averaged anew with each until that says so; what is made next is without it."""
    made = product(training={**THREE, "retrain": "economy"})
    members = members_of(made.training)
    told: list[bool] = []

    def decide(situation: Situation) -> Choice:
        told.append(situation.spoiled)
        train = situation.newest <= STRANGE or situation.spoiled
        return Choice(train=train, renew=not train, reason="", members=members, belief=first_belief(0))

    fits = history(frames, made, tree, tmp_path)
    steps = simulate(fits, decide, metric="mae", batches=10, initial=2, delay=0, members=members).steps

    models = [trained(made, training_set(*frames[:2]))]
    said = []
    for known in range(3, 11):
        live = models[-1]
        said.append(spoiled(live, live))
        train = known <= STRANGE + 1 or said[-1]
        models.append(trained(made, training_set(*frames[:known]), champion=live, renew=not train))

    assert said == told == [False] * 5 + [True, False, False]
    assert [bool(model.renewal) for model in models] == [False] * 5 + [True, False, True, True]
    key = training_set(*frames).batches[STRANGE].digest
    notes = [(one.averaged.strange, one.averaged.spoiled) for one in models if one.averaged]
    assert notes == [((), ())] * 5 + [((key,), (key,))] + [((key,), ())] * 3
    losses = [step.loss for step in steps]
    assert min(losses[4:6]) > 2 * max(*losses[:3], *losses[6:])
