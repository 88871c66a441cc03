"""One model of several fits: who may take part, what it answers, and what its members lose by themselves."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from mlauto.serving.trust import load_model, untrusted_types
from mlauto.training.averaging import (
    Group,
    able,
    answers_in,
    average_in,
    averaged,
    averages,
    filled,
    fits_in,
    mean_answer,
    mean_loss,
    member_losses,
    tried_on,
    weighty,
)
from mlauto.training.correcting import threshold_of, tried
from mlauto.training.estimator import answers_of, classes_of
from mlauto.training.evaluate import Answers

SHARES = (0.1, 0.2, 0.7)


@pytest.fixture
def features() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["a", "b"])


def parts(features: pd.DataFrame, labels: Any, estimator: Any) -> dict[Group, Any]:
    """The estimator on three parts of the rows."""
    truth = np.asarray(labels)
    cuts = (slice(0, 40), slice(20, 90), slice(None))
    return {(place,): clone(estimator).fit(features.iloc[cut], truth[cut]) for place, cut in enumerate(cuts)}


def numbers(features: pd.DataFrame, amount: float = 0.0) -> Any:
    """An average of regressors."""
    labels = features["a"] * 3 + np.sin(features["b"])
    return averaged(parts(features, labels, Ridge()), SHARES, "regression", amount=amount)


def labelled(features: pd.DataFrame, classes: Any, amount: float = 0.0) -> Any:
    """An average of classifiers; with noise, so that probabilities are all there are."""
    noisy = features["a"] + np.random.default_rng(1).normal(size=len(features))
    place = np.digitize(noisy, np.linspace(-1, 1, len(classes) - 1) if len(classes) > 2 else [0.0])
    models = parts(features, np.asarray(classes)[place], LogisticRegression())
    return averaged(models, SHARES, "classification", amount=amount)


def test_numbers_are_averaged_by_shares(features: pd.DataFrame) -> None:
    """To the last bit what `mean_answer` makes of the members' own answers."""
    labels = features["a"] * 3 + np.sin(features["b"])
    models = parts(features, labels, Ridge())

    model = averaged(models, SHARES, "regression")

    answers = [one.predict(features) for one in models.values()]
    assert np.array_equal(model.predict(features), mean_answer(answers, SHARES))
    assert model.predict(features) == pytest.approx(sum(s * a for s, a in zip(SHARES, answers, strict=True)))
    assert list(model.feature_names_in_) == ["a", "b"]


def test_classes_are_chosen_by_averaged_probabilities(features: pd.DataFrame) -> None:
    """Labels may be anything; the order of classes is the members'."""
    labels = np.where(features["a"] > 0, "yes", np.where(features["b"] > 0, "maybe", "no"))
    models = parts(features, labels, LogisticRegression())

    model = averaged(models, SHARES, "classification")

    odds = mean_answer([one.predict_proba(features) for one in models.values()], SHARES)
    assert list(model.classes_) == ["maybe", "no", "yes"]
    assert np.array_equal(model.predict_proba(features), odds)
    assert model.predict(features).tolist() == model.classes_[odds.argmax(axis=1)].tolist()


def test_shares_of_those_left_out_are_shared_out(features: pd.DataFrame) -> None:
    """Without the second member the others' shares keep their proportion."""
    models = parts(features, features["a"], Ridge())
    del models[1,]

    model = averaged(models, SHARES, "regression")

    first, last = (one.predict(features) for one in models.values())
    assert model.predict(features) == pytest.approx((0.1 * first + 0.7 * last) / 0.8)


@pytest.mark.parametrize("amount", [2.5, -1e-3, 1e6])
def test_a_corrected_mean_is_the_mean_and_the_amount(features: pd.DataFrame, amount: float) -> None:
    """To the last bit, for a frame with names and without a word about them."""
    plain, model = numbers(features), numbers(features, amount)

    assert np.array_equal(model.predict(features), plain.predict(features) + amount)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert answers_of(model, features, "regression").probabilities is None


@pytest.mark.parametrize("classes", [("no", "yes"), (False, True), (3, 7), np.array(["no", "yes"], dtype=object)])
@pytest.mark.parametrize("amount", [0.8, -1.5])
def test_corrected_classes_are_chosen_from_another_threshold_on(
    features: pd.DataFrame, classes: Any, amount: float
) -> None:
    """Probabilities and classes stay what they are; more rows, or fewer, get the second class."""
    plain, model = labelled(features, classes), labelled(features, classes, amount)

    odds = plain.predict_proba(features)
    wanted = np.asarray(classes)[(odds[:, 1] >= threshold_of(amount)).astype(int)]
    assert model.predict(features).tolist() == wanted.tolist()
    assert np.array_equal(model.predict_proba(features), odds)
    assert classes_of(model) == classes_of(plain) == tuple(classes)
    moved = (model.predict(features) == classes[1]).sum() - (plain.predict(features) == classes[1]).sum()
    assert moved > 5 if amount > 0 else moved < -5


def test_the_average_is_found_behind_its_correction(features: pd.DataFrame) -> None:
    """So are its members; what is not corrected, or averages nothing, is itself."""
    classes = ("no", "yes")
    plain, single = numbers(features), Ridge()

    for model, bare in (
        (numbers(features, 2.5), plain),
        (labelled(features, classes, 1.0), labelled(features, classes)),
    ):
        found = average_in(model)
        assert type(found) is type(bare)
        assert list(found.named_estimators_) == ["history_0", "history_1", "history_2"]
        assert np.array_equal(found.predict(features), bare.predict(features))
    assert average_in(plain) is plain
    assert average_in(single) is single


@pytest.mark.parametrize("kind", ["numbers", "words", "truths"])
def test_a_corrected_average_is_stored_without_anything_untrusted(
    features: pd.DataFrame, tmp_path: Path, kind: str
) -> None:
    """It comes back as it was, and its average can still be asked."""
    made = {
        "numbers": lambda: numbers(features, 2.5),
        "words": lambda: labelled(features, ("no", "yes"), 0.8),
        "truths": lambda: labelled(features, (False, True), 0.8),
    }
    task, model, path = "regression" if kind == "numbers" else "classification", made[kind](), tmp_path / "model.skops"

    skops.io.dump(model, path)
    loaded = load_model(path, [])

    assert untrusted_types(path, []) == ()
    assert answers_of(loaded, features, task) == answers_of(model, features, task)
    assert answers_of(average_in(loaded), features, task) == answers_of(average_in(model), features, task)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_an_average_of_numbers_is_tried_on_new_rows(features: pd.DataFrame, metric: str) -> None:
    """Its own answers beside the truth, whole numbers among them."""
    model, truth = numbers(features), np.arange(120)

    said = answers_in(model, features, "regression")
    found = tried_on(said, model.weights, truth, offset=-0.5, metric=metric)

    assert found == tried(metric, model.predict(features), truth.astype(float), -0.5)


def test_an_average_of_two_classes_is_tried_on_new_rows(features: pd.DataFrame) -> None:
    """The second one's probabilities, where labels count."""
    model = labelled(features, ("no", "yes"))
    truth = np.array(["no", "yes", "yes"] * 40, dtype=object)

    said = answers_in(model, features, "classification")
    found = tried_on(said, model.weights, truth, offset=0.5, metric="error_rate")

    assert found == tried("error_rate", model.predict_proba(features)[:, 1], (truth == "yes").astype(float), 0.5)
    assert found is not None
    assert found.best > 0


@pytest.mark.parametrize(("classes", "metric"), [(("a", "b", "c"), "error_rate"), (("a", "b"), "log_loss")])
def test_what_is_not_corrected_is_not_tried(features: pd.DataFrame, classes: tuple[str, ...], metric: str) -> None:
    """Three classes, or probabilities that count themselves."""
    model, truth = labelled(features, classes), np.array(["a", "b"] * 60)

    said = answers_in(model, features, "classification")

    assert tried_on(said, model.weights, truth, offset=0.5, metric=metric) is None


def test_members_lose_apart_on_rows_they_never_saw(features: pd.DataFrame) -> None:
    """The mean loss of each; one that was left out counts as the worst of the others."""
    models = parts(features, features["a"] * 0.0, Ridge())
    models[2,] = Ridge().fit(features, features["a"] * 0.0 + 2.0)
    del models[1,]

    model = averaged(models, SHARES, "regression")

    said = answers_in(model, features, "regression")
    assert list(said) == [(0,), (2,)]
    assert member_losses(said, 3, [1.5] * 120, metric="mae") == pytest.approx((1.5, 1.5, 0.5))


def test_one_answer_is_its_own_mean() -> None:
    """Nothing is computed that could change a bit."""
    answer = np.array([0.1, 0.2])

    assert mean_answer([answer], [0.3]) is answer


def test_what_has_no_probabilities_cannot_be_averaged_for_classes() -> None:
    """Numbers always can."""
    assert averages(LogisticRegression(), "classification")
    assert not averages(LinearSVC(), "classification")
    assert averages(Ridge(), "regression")


def test_who_never_saw_a_class_is_left_out() -> None:
    """So is who has fewer than ten rows; somebody always stays."""
    labels = np.array(["a"] * 30 + ["b"] * 15 + ["a"] * 15)
    weights = np.ones((3, 60))
    weights[0, :50] = 0  # the newest ten: one class
    weights[1, :5] = 0

    assert able(labels, weights, "classification") == [(1,), (2,)]
    assert able(np.zeros(60), weights, "regression") == [(0,), (1,), (2,)]
    weights[0, :51] = 0
    assert able(np.zeros(60), weights, "regression") == [(1,), (2,)]
    assert able(labels[:4], np.array([[0.0, 0.0, 0.0, 1.0], [1.0] * 4]), "regression") == [(1,)]


def test_members_with_the_same_weights_need_one_fit(features: pd.DataFrame) -> None:
    """All of them while there is one batch: it counts for their shares together, and loses for each of them."""
    weights = np.ones((3, 120))
    weights[1, :60] = 0.5
    groups = able(np.zeros(120), weights, "regression")
    low, high = (Ridge().fit(features, features["a"] * 0.0 + level) for level in (1.0, 3.0))

    model = averaged({groups[0]: low, groups[1]: high}, (0.1, 0.2, 0.7), "regression")

    assert groups == [(0, 2), (1,)]
    assert model.predict(features)[:1] == pytest.approx([0.8 * 1.0 + 0.2 * 3.0])
    said = answers_in(model, features, "regression")
    assert member_losses(said, 3, [1.0] * 120, metric="mae") == pytest.approx((0, 2, 0))


def test_what_is_not_known_is_taken_for_the_worst() -> None:
    """Of those that are."""
    assert filled([0.2, None, 0.4]) == (0.2, 0.4, 0.4)


def test_who_hardly_counts_is_not_tried() -> None:
    """Below 5 %; somebody always is."""
    assert weighty([(0,), (2,), (3,)], [0.05, 0.9, 0.049, 0.001]) == [(0,)]
    assert weighty([(2,), (3,)], [0.05, 0.9, 0.049, 0.001]) == [(2,), (3,)]
    assert weighty([(1,), (2, 3)], [0.05, 0.9, 0.049, 0.001]) == [(1,), (2, 3)]


def test_an_averages_fits_are_found_by_their_places() -> None:
    """Also those that stand for several members, and within a correction."""
    fits = {
        place: DummyRegressor(strategy="constant", constant=by).fit([[0]], [by])
        for place, by in (((0, 2), 1.0), ((1,), 3.0))
    }

    assert fits_in(average_in(averaged(fits, (0.25, 0.5, 0.25), "regression", amount=1.0))) == fits


def test_the_same_fits_lose_by_other_shares(features: pd.DataFrame) -> None:
    """Numbers, and classes: the label counts, or its probability; the first class wins a tie."""
    fits = {
        place: DummyRegressor(strategy="constant", constant=by).fit([[0]], [by])
        for place, by in (((0, 2), 1.0), ((1,), 3.0))
    }
    said = answers_in(averaged(fits, (0.25, 0.5, 0.25), "regression"), features, "regression")
    shares = [(0.25, 0.5, 0.25), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)]

    assert [mean_loss(said, one, [3.0] * 120, metric="mae") for one in shares] == pytest.approx([1.0, 0.0, 2.0])
    assert mean_loss(said, shares[0], [3.0] * 120, metric="rmse") == pytest.approx(1.0)

    sure = {
        (place,): Answers(predictions=[name], probabilities=[odds], classes=["a", "b"])
        for place, name, odds in ((0, "b", [0.0, 1.0]), (1, "a", [1.0, 0.0]))
    }
    each = [(0.5, 0.5), (0.75, 0.25)]
    assert [mean_loss(sure, one, ["b"], metric="error_rate") for one in each] == [1.0, 0.0]
    odds = [mean_loss(sure, one, ["b"], metric="log_loss") for one in each]
    assert odds == pytest.approx([math.log(2), math.log(4 / 3)])
