"""How the training child fits one history or several, and how shares follow what the live model's members lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from mlauto.averaged import Averaged
from mlauto.training.averaging import average_in, averaged
from mlauto.training.correcting import NONE, corrected_by, threshold_of
from mlauto.training.exchange import FitRequest, Unseen
from mlauto.training.members import Recipe, recipe
from mlauto.training.strange import Judges
from mlauto.training.weighting import renewed_shares

ROWS = 60


def request(folder: Path, **changes: Any) -> FitRequest:
    """Three batches of twenty rows; the newest only, and all of them."""
    np.save(folder / "weights.npy", np.ones(ROWS))
    np.save(folder / "members.npy", np.stack([np.repeat([0.0, 0.0, 1.0], 20), np.ones(ROWS)]))
    given: dict[str, Any] = {
        "tree": "",
        "estimator": "",
        "frame": "",
        "weights": str(folder / "weights.npy"),
        "holdout": 10,
        "target": "y",
        "task": "regression",
        "metric": "mae",
        "output": "",
        "cache": "",
        "members": tuple((name, 0.5) for name in NAMES),
        "member_weights": str(folder / "members.npy"),
    }
    return FitRequest(**{**given, **changes})


NAMES = ("last 1 batches", "all history")


def stored(folder: Path, model: Any) -> Path:
    """A live model's files."""
    folder.mkdir()
    skops.io.dump(model, folder / "model.skops")
    (folder / "trusted.json").write_bytes(msgspec.json.encode([]))
    return folder


def champion(folder: Path, *says: float, amount: float = 0.0) -> Path:
    """A live model whose two members say one number each."""
    models = {(n,): DummyRegressor(strategy="constant", constant=v).fit([[0]], [v]) for n, v in enumerate(says)}
    return stored(folder, averaged(models, (0.5, 0.5), "regression", amount=amount))


def known(*losses: tuple[float, float], **more: Any) -> Averaged:
    """What the live model knows of its two histories, from as many batches."""
    batches = tuple("ab"[: len(losses)])
    return Averaged(histories=NAMES, shares=(0.5, 0.5), losses=losses, batches=batches, **more)


@pytest.fixture
def features() -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(float(ROWS))})


EVERY = np.ones(ROWS, dtype=bool)
LABELS = np.repeat([0.0, 1.0, 5.0], 20)


def asking(asked: FitRequest, estimator: Any, features: pd.DataFrame, there: Any = EVERY) -> Recipe:
    """The recipe for the rows that have a label."""
    return recipe(asked, estimator, features[there], LABELS[there], np.ones(ROWS)[there], there=there)


def test_each_member_is_fitted_on_its_own_history(tmp_path: Path, features: pd.DataFrame) -> None:
    """The newest batch says 5, all of it 2: half and half is 3.5."""
    how = asking(request(tmp_path), DummyRegressor(), features)

    model, said = how.fit(features, LABELS)

    assert model.predict(features[:1]) == pytest.approx([3.5])
    assert said == "not needed: all are 1"
    assert how.averaged == Averaged(histories=NAMES, shares=(0.5, 0.5))


def test_what_is_said_of_weights_is_true_of_a_member_that_needs_them(tmp_path: Path, features: pd.DataFrame) -> None:
    """Whatever comes after it: one that fades, and all history, whose weights are 1."""
    asked = request(tmp_path)
    np.save(asked.member_weights, np.stack([np.repeat([0.25, 0.5, 1.0], 20), np.ones(ROWS)]))

    _, said = asking(asked, DummyRegressor(), features).fit(features, LABELS)

    assert said == "passed as sample_weight"


def test_shares_follow_what_the_live_models_members_lost(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first member said 5 where it was 5: all is given to it, and the losses are handed on."""
    asked = request(
        tmp_path,
        unseen=(Unseen(batch="c", first=40, end=60, model=str(champion(tmp_path / "live", 5.0, 0.0))),),
        learned=known((1.0, 1.0)),
    )

    how = asking(asked, DummyRegressor(), features)

    assert how.averaged is not None
    assert how.averaged.losses == ((1.0, 1.0), (0.0, 5.0))
    assert how.averaged.batches == ("a", "c")
    assert how.averaged.shares[0] > 0.999
    mean = average_in(how.fit(features, LABELS)[0])
    assert mean.predict(features[:1]) == pytest.approx([5.0], abs=0.01)
    assert "averaging 2 histories: last 1 batches 100%, all history 0%" in capsys.readouterr().out


def test_rows_without_a_label_are_in_nobodys_history(tmp_path: Path, features: pd.DataFrame) -> None:
    """Weights and the batches' places move together; a batch without any label says nothing."""
    there = EVERY.copy()
    there[[0, *range(20, 40)]] = False
    live = str(champion(tmp_path / "live", 5.0, 4.0))
    unseen = [Unseen(batch=name, first=a, end=a + 20, model=live) for name, a in (("b", 20), ("c", 40))]
    asked = request(tmp_path, unseen=tuple(unseen))

    how = asking(asked, DummyRegressor(), features, there)

    assert how.weights.shape == (2, 39)
    assert how.averaged is not None
    assert how.averaged.losses == ((0.0, 1.0),)


def test_a_live_model_that_cannot_be_asked_changes_nothing(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was fitted on is no longer there: said, and the shares stay."""
    models = {(n,): DummyRegressor().fit(pd.DataFrame({"gone": [1.0, 2.0]}), [1.0, 2.0]) for n in range(2)}
    for model in models.values():
        model.n_outputs_ = "many"  # type: ignore[attr-defined]
    live = stored(tmp_path / "live", averaged(models, (0.5, 0.5), "regression"))

    unseen = (Unseen(batch="c", first=40, end=60, model=str(live)),)
    how = asking(request(tmp_path, unseen=unseen), DummyRegressor(), features)

    assert how.averaged is not None
    assert (how.averaged.losses, how.averaged.tried) == ((), ())
    assert "could not be compared on a new batch" in capsys.readouterr().out


def test_what_cannot_be_averaged_is_fitted_once(tmp_path: Path, features: pd.DataFrame) -> None:
    """On the mixture of the histories; so is a single history."""
    single = asking(request(tmp_path, members=()), DummyRegressor(), features)
    margins = asking(request(tmp_path, task="classification"), LinearSVC(), features)

    assert single.averaged is None
    assert margins.averaged is None
    assert single.fit(features, LABELS)[0].predict(features[:1]) == pytest.approx([2.0])
    assert single.part(slice(0, 40)).fit(features[:40], LABELS[:40])[0].predict(features[:1]) == pytest.approx([0.5])


def test_a_trial_leaves_out_members_that_hardly_count(tmp_path: Path, features: pd.DataFrame) -> None:
    """The model that is served has them all."""
    asked = request(tmp_path, learned=known((5.0, 1.0), (5.0, 1.0)))

    how = asking(asked, DummyRegressor(), features)

    assert list(how.part(slice(0, 50)).fit(features[:50], LABELS[:50])[0].named_estimators_) == ["history_1"]
    assert list(how.fit(features, LABELS)[0].named_estimators_) == ["history_0", "history_1"]


def test_members_of_an_auc_product_are_compared_by_log_loss(tmp_path: Path, features: pd.DataFrame) -> None:
    """A batch of one class has no AUC; who gave its label the higher probability gets the larger share."""
    labels = np.repeat(["a", "b", "b"], 20).astype(object)
    fits = ((["a", "b", "b", "b"], 0), (["a", "a", "a", "b"], 1))
    models = {(at,): DummyClassifier().fit(pd.DataFrame({"x": range(4)}), given) for given, at in fits}
    live = stored(tmp_path / "live", averaged(models, (0.5, 0.5), "classification"))
    unseen = (Unseen(batch="c", first=40, end=60, model=str(live)),)
    asked = request(tmp_path, task="classification", metric="auc", unseen=unseen)

    how = recipe(asked, DummyClassifier(), features, labels, np.ones(ROWS), there=EVERY)

    assert how.averaged is not None
    assert how.averaged.losses == (pytest.approx((0.1 - np.log(0.75), 0.1 - np.log(0.25))),)  # of twenty rows, two more
    assert how.averaged.shares[0] > 0.5


def test_a_correction_is_learnt_from_a_batch_and_applied(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """The live mean was 2 where 5 came, and 3 with the offset that it had: 20 rows ask for a sixth of what lacks."""
    live = str(champion(tmp_path / "live", 1.0, 3.0, amount=0.1))
    asked = request(tmp_path, unseen=(Unseen(batch="c", first=40, end=60, model=live, offset=1.0),))

    how = asking(asked, DummyRegressor(), features)
    model, _ = how.fit(features, LABELS)

    assert how.averaged is not None
    assert how.averaged.tried == (pytest.approx((3.0, 2.0, 3.0 * 20 / 120)),)
    amount = corrected_by([(3.0, 2.0, 0.5)]).amount
    assert (how.averaged.offset, how.averaged.amount) == (pytest.approx(0.5), pytest.approx(amount))
    assert amount > 0.3 * 0.5
    mean = average_in(model)
    assert isinstance(mean, VotingRegressor)
    assert model.predict(features[:1]) == pytest.approx(mean.predict(features[:1]) + amount)
    assert f"; corrected by {amount:.4g}" in capsys.readouterr().out


def test_what_was_tried_before_is_handed_on(tmp_path: Path, features: pd.DataFrame) -> None:
    """A lost belief stays lost; the newest batch says what is asked for, and the oldest of sixty is forgotten."""
    bad = tuple((1.0, 2.0, float(n)) for n in range(60))
    live = str(champion(tmp_path / "live", 4.0, 4.0))
    learned = known((1.0, 1.0), offset=9.0, amount=0.9, tried=bad)
    asked = request(tmp_path, learned=learned, unseen=(Unseen(batch="c", first=40, end=60, model=live, offset=1.0),))

    before = asking(request(tmp_path, learned=learned), DummyRegressor(), features).averaged
    after = asking(asked, DummyRegressor(), features).averaged

    assert before is not None
    assert after is not None
    assert (before.tried, before.offset) == (bad, 59.0)
    assert after.tried == (*bad[1:], pytest.approx((1.0, 0.0, 1 * 20 / 120)))
    assert after.offset == pytest.approx(1 / 6)
    assert max(before.amount / before.offset, after.amount / after.offset) < 1e-6
    assert len(after.batches) == len(after.losses) == 2


def test_a_trial_is_corrected_by_what_older_batches_asked_for(tmp_path: Path, features: pd.DataFrame) -> None:
    """The newest batch has held-out rows: what it shows moves the model that is served, not its trial."""
    before = ((2.0, 1.0, 10.0),) * 9
    live = str(champion(tmp_path / "live", 4.0, 4.0))
    unseen = [Unseen(batch=name, first=a, end=a + 20, model=live) for name, a in (("b", 20), ("c", 40))]
    asked = request(tmp_path, learned=known((1.0, 1.0), tried=before), unseen=tuple(unseen))

    how = asking(asked, DummyRegressor(), features)
    part, _ = how.part(slice(0, 50)).fit(features[:50], LABELS[:50])

    assert how.averaged is not None
    assert len(how.averaged.tried) == 11
    amounts = [corrected_by(how.averaged.tried[:end]).amount for end in (10, 11)]
    assert amounts[0] < 0 < amounts[1]
    for model, amount in zip((part, how.fit(features, LABELS)[0]), amounts, strict=True):
        found = model.predict(features[:1]) - average_in(model).predict(features[:1])
        assert found == pytest.approx([amount])


@pytest.mark.parametrize(("holdout", "count"), [(1, 10), (20, 10), (21, 9), (40, 9)])
def test_a_trial_leaves_out_every_batch_that_its_holdout_touches(
    tmp_path: Path, features: pd.DataFrame, holdout: int, count: int
) -> None:
    """One that ends where the holdout begins is known to it, as in the backtest; the last but one may be touched."""
    before = ((2.0, 1.0, 10.0),) * 9
    live = str(champion(tmp_path / "live", 4.0, 4.0))
    unseen = [Unseen(batch=name, first=a, end=a + 20, model=live) for name, a in (("b", 20), ("c", 40))]
    asked = request(tmp_path, holdout=holdout, learned=known((1.0, 1.0), tried=before), unseen=tuple(unseen))

    how = asking(asked, DummyRegressor(), features)

    assert how.averaged is not None
    amounts = [corrected_by(how.averaged.tried[:end]).amount for end in (9, 10, 11)]
    assert len(set(amounts)) == 3
    assert how.before_trial == amounts[count - 9]
    assert how.averaged.amount == amounts[-1]


def test_a_trial_on_rows_that_are_known_leaves_out_what_they_showed(tmp_path: Path, features: pd.DataFrame) -> None:
    """New code is tried on what the live model has learned from."""
    tried = tuple((2.0, 1.0, float(n)) for n in range(4))

    for held, amount in ((0, corrected_by(tried).amount), (3, corrected_by(tried[:1]).amount), (9, 0.0)):
        how = asking(request(tmp_path, learned=known((1.0, 1.0), tried=tried), held=held), DummyRegressor(), features)
        assert how.before_trial == amount


def test_a_policy_may_leave_an_average_as_it_is(tmp_path: Path, features: pd.DataFrame) -> None:
    """What was tried is handed on all the same, for one that does not."""
    learned = known((1.0, 1.0), tried=((2.0, 1.0, 10.0),) * 9)

    how = asking(request(tmp_path, learned=learned, belief=0.0), DummyRegressor(), features)

    assert how.averaged is not None
    assert (how.averaged.offset, how.averaged.amount, how.averaged.tried) == (0.0, 0.0, learned.tried)
    assert isinstance(how.fit(features, LABELS)[0], VotingRegressor)


def test_two_classes_are_corrected_by_their_threshold(tmp_path: Path, features: pd.DataFrame) -> None:
    """The live model gave "b" a third everywhere; all of a new batch was "b"."""
    labels = np.repeat(["a", "b", "b"], 20).astype(object)
    models = {(n,): DummyClassifier().fit(features[:3], ["a", "a", "b"]) for n in range(2)}
    live = str(stored(tmp_path / "live", averaged(models, (0.5, 0.5), "classification")))
    unseen = (Unseen(batch="c", first=40, end=60, model=live, offset=1.0),)
    asked = request(tmp_path, task="classification", metric="error_rate", unseen=unseen)
    np.save(asked.member_weights, np.ones((2, ROWS)))

    how = recipe(asked, LogisticRegression(), features, labels, np.ones(ROWS), there=EVERY)
    model, _ = how.fit(features, labels)

    assert how.averaged is not None
    [(without, moved, best)] = how.averaged.tried
    assert (without, moved, best > 0.1) == (1.0, 0.0, True)
    assert (how.averaged.offset, how.averaged.amount) == (best, corrected_by([(without, moved, best)]).amount)
    odds = average_in(model).predict_proba(features)
    assert np.array_equal(model.predict_proba(features), odds)
    wins = odds[:, 1] >= threshold_of(how.averaged.amount)
    assert model.predict(features).tolist() == np.where(wins, "b", "a").tolist()


@pytest.mark.parametrize(
    ("labels", "metric"), [("abc", "error_rate"), ("ab", "log_loss"), ("ab", "auc"), ("abc", "log_loss")]
)
def test_what_cannot_be_corrected_is_not(tmp_path: Path, features: pd.DataFrame, labels: str, metric: str) -> None:
    """More classes, or probabilities that count: whatever was tried when there were two."""
    truth = np.array(list(labels) * (ROWS // len(labels)), dtype=object)
    models = {(n,): DummyClassifier().fit(features, truth) for n in range(2)}
    live = str(stored(tmp_path / "live", averaged(models, (0.5, 0.5), "classification")))
    unseen = (Unseen(batch="c", first=40, end=60, model=live, offset=1.0),)
    learned = known((1.0, 1.0), tried=((1.0, 0.5, 2.0),))
    asked = request(tmp_path, task="classification", metric=metric, unseen=unseen, learned=learned)

    how = recipe(asked, DummyClassifier(), features, truth, np.ones(ROWS), there=EVERY)
    model, _ = how.fit(features, truth)

    assert how.averaged is not None
    assert (how.averaged.offset, how.averaged.amount) == (NONE.offset, NONE.amount)
    assert (how.averaged.batches, how.averaged.tried) == (("a", "c"), learned.tried)
    assert average_in(model) is model


def test_answers_that_are_no_numbers_do_not_stop_a_training(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """A live model that cannot be compared on a new batch is said, whatever it answers."""
    labels = np.repeat(["a", "b", "b"], 20).astype(object)
    models = {(n,): DummyClassifier().fit(features, labels) for n in range(2)}
    for model in models.values():
        model.class_prior_ = np.array([np.nan, np.nan])
    live = str(stored(tmp_path / "live", averaged(models, (0.5, 0.5), "classification")))
    unseen = (Unseen(batch="c", first=40, end=60, model=live),)
    asked = request(tmp_path, task="classification", metric="error_rate", unseen=unseen)

    how = recipe(asked, DummyClassifier(), features, labels, np.ones(ROWS), there=EVERY)

    assert how.averaged is not None
    assert how.averaged.tried == ()
    assert "could not be compared on a new batch" in capsys.readouterr().out


def test_what_is_ready_is_not_fitted_again(tmp_path: Path, features: pd.DataFrame) -> None:
    """An older average's members, with the shares that they have now; a trial keeps also those that hardly count."""
    live = str(champion(tmp_path / "live", 5.0, 4.0))
    asked = request(
        tmp_path, unseen=(Unseen(batch="c", first=40, end=60, model=live),), learned=known((1.0, 1.0)), renewed=live
    )

    how = asking(asked, DummyRegressor(), features)
    (model, said), (trial, _) = how.fit(features, LABELS), how.part(slice(50)).fit(features[:50], LABELS[:50])

    assert said == "fitted before"
    assert how.averaged is not None
    assert how.averaged.shares[0] > 0.999
    for one in (average_in(model), average_in(trial)):
        assert one.weights == list(how.averaged.shares)
        assert [fit.constant for fit in one.named_estimators_.values()] == [5.0, 4.0]


def test_late_labels_move_shares_as_far_as_that_has_helped(tmp_path: Path, features: pd.DataFrame) -> None:
    """The live model was renewed: where 5 came its old shares said 4.5, those asked for 4.9, and its own in between."""
    live = str(champion(tmp_path / "live", 5.0, 4.0))
    learned = known((1.0, 1.0), kept=(0.5, 0.5), asked=(0.9, 0.1), shown=((1.0, 1.0),))
    unseen = (Unseen(batch="c", first=40, end=60, model=live, kept=(0.5, 0.5), asked=(0.9, 0.1)),)
    renewed, trained = (
        asking(
            request(tmp_path, unseen=unseen, learned=learned, renewed=folder, reliance=0.3), DummyRegressor(), features
        ).averaged
        for folder in (live, "")
    )

    assert renewed is not None
    assert trained is not None
    assert renewed.shown == trained.shown == ((1.0, 1.0), pytest.approx((0.5, 0.1)))
    assert renewed.kept == (0.5, 0.5)
    assert renewed.asked == trained.shares
    assert trained.shares[0] > 0.999
    assert renewed.shares == renewed_shares((0.5, 0.5), trained.shares, renewed.shown, 0.3)
    assert 0.5 < renewed.shares[0] < renewed.asked[0]
    assert (trained.kept, trained.asked) == ((), ())


def test_the_first_renewal_starts_from_the_shares_of_the_training(tmp_path: Path, features: pd.DataFrame) -> None:
    """A trained model shows nothing of renewed shares, and its own are those that are kept."""
    live = str(champion(tmp_path / "live", 5.0, 4.0))
    unseen = (Unseen(batch="c", first=40, end=60, model=live),)
    asked = request(tmp_path, unseen=unseen, learned=known((1.0, 1.0)), renewed=live, reliance=0.3)

    found = asking(asked, DummyRegressor(), features).averaged

    assert found is not None
    assert (found.kept, found.shown) == ((0.5, 0.5), ())
    assert found.shares[0] == pytest.approx(0.7 * 0.5 + 0.3 * found.asked[0])


def test_a_sudden_change_gives_the_average_to_its_newest_fit(tmp_path: Path, features: pd.DataFrame) -> None:
    """Of the policies whose next batch makes a new one: the live members said 0, and 5 came for the second time."""
    live = str(champion(tmp_path / "live", 0.0, 0.0))
    learned = known(*[(0.5, 0.5)] * 4, (5.0, 5.0))
    asked = request(tmp_path, unseen=(Unseen(batch="c", first=40, end=60, model=live),), learned=learned)

    stays, leaps = (asking(replace(asked, leaps=to), DummyRegressor(), features).averaged for to in (None, 0))

    assert stays is not None
    assert leaps is not None
    assert stays.shares == pytest.approx((0.5, 0.5))
    assert leaps.shares == pytest.approx((0.95, 0.05))
    assert leaps.losses == stays.losses


def test_an_error_more_or_less_hardly_counts(tmp_path: Path, features: pd.DataFrame) -> None:
    """As if each member had been wrong twice more in the twenty rows."""
    labels = np.repeat(["a", "b", "b"], 20).astype(object)
    models = {
        (n,): DummyClassifier(strategy="constant", constant=name).fit(features, labels) for n, name in enumerate("ba")
    }
    live = str(stored(tmp_path / "live", averaged(models, (0.5, 0.5), "classification")))
    unseen = (Unseen(batch="c", first=40, end=60, model=live),)
    asked = request(tmp_path, task="classification", metric="error_rate", unseen=unseen)

    how = recipe(asked, LogisticRegression(), features, labels, np.ones(ROWS), there=EVERY)

    assert how.averaged is not None
    assert how.averaged.losses == (pytest.approx((0.1, 1.1)),)


def test_what_is_strange_is_left_out(
    tmp_path: Path, features: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found in what the live model and its members have shown; later trainings know it from the record."""
    live = str(champion(tmp_path / "live", 5.0, 5.0))
    losses = (*(((1.0, 1.0),) * 4), (9.0, 9.0), (9.0, 1.0))
    asked = request(
        tmp_path,
        judges=Judges(longest=1, short=0),
        batches=(("d", 0, 20), ("e", 20, 40), ("f", 40, 60)),
        unseen=(Unseen(batch="f", first=40, end=60, model=live, ahead=2),),
        learned=Averaged(histories=NAMES, shares=(0.5, 0.5), losses=losses, batches=tuple("abcxde"), ahead=(1,) * 6),
    )

    how = asking(asked, DummyRegressor(), features)

    assert how.averaged is not None
    assert (how.averaged.strange, how.averaged.ahead) == (("d",), (1, 1, 1, 1, 1, 1, 2))
    assert how.weights.tolist() == [[0.0] * 40 + [1.0] * 20, [0.0] * 20 + [1.0] * 40]
    assert "left out: the 20 rows of batch d, strange by themselves" in capsys.readouterr().out

    later = replace(asked, unseen=(), learned=replace(how.averaged, losses=(), batches=(), ahead=()))
    assert asking(later, DummyRegressor(), features).weights.tolist() == how.weights.tolist()
    older = replace(asked, unseen=(), learned=replace(asked.learned or how.averaged, ahead=()))
    known = asking(older, DummyRegressor(), features).averaged
    assert known is not None
    assert (known.strange, len(known.ahead)) == ((), 6)  # a record that does not say what the fits knew


def test_a_renewed_model_says_what_its_fits_learned_from(tmp_path: Path, features: pd.DataFrame) -> None:
    """The strange batches that were found since they were made; a training is made without them."""
    live = str(champion(tmp_path / "live", 5.0, 5.0))
    losses = (*(((1.0, 1.0),) * 4), (9.0, 9.0), (9.0, 1.0))
    before = Averaged(
        histories=NAMES, shares=(0.5, 0.5), losses=losses, batches=tuple("abcxde"), ahead=(1,) * 6, strange=("w",)
    )
    asked = request(tmp_path, judges=Judges(longest=1, short=0), learned=before, renewed=live)

    renewed = asking(asked, DummyRegressor(), features).averaged
    assert renewed is not None
    again, trained = (
        asking(replace(asked, learned=renewed, renewed=folder), DummyRegressor(), features).averaged
        for folder in (live, "")
    )

    assert again is not None
    assert trained is not None
    assert renewed.strange == again.strange == trained.strange == ("w", "d")
    assert (renewed.spoiled, again.spoiled, trained.spoiled) == (("d",), ("d",), ())
