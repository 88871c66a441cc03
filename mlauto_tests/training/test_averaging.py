"""One model of several fits: who may take part, what it answers, and what its members lose by themselves."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from mlauto.training.averaging import Group, able, averaged, averages, filled, mean_answer, member_losses, weighty

SHARES = (0.1, 0.2, 0.7)


@pytest.fixture
def features() -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).normal(size=(120, 2)), columns=["a", "b"])


def parts(features: pd.DataFrame, labels: object, estimator: object) -> dict[Group, object]:
    """The estimator on three parts of the rows."""
    truth = np.asarray(labels)
    cuts = (slice(0, 40), slice(20, 90), slice(None))
    return {
        (place,): clone(estimator).fit(features.iloc[cut], truth[cut])  # type: ignore[attr-defined]
        for place, cut in enumerate(cuts)
    }


def test_numbers_are_averaged_by_shares(features: pd.DataFrame) -> None:
    """To the last bit what `mean_answer` makes of the members' own answers."""
    labels = features["a"] * 3 + np.sin(features["b"])
    models = parts(features, labels, Ridge())

    model = averaged(models, SHARES, "regression")

    answers = [one.predict(features) for one in models.values()]  # type: ignore[attr-defined]
    assert np.array_equal(model.predict(features), mean_answer(answers, SHARES))
    assert model.predict(features) == pytest.approx(sum(s * a for s, a in zip(SHARES, answers, strict=True)))
    assert list(model.feature_names_in_) == ["a", "b"]


def test_classes_are_chosen_by_averaged_probabilities(features: pd.DataFrame) -> None:
    """Labels may be anything; the order of classes is the members'."""
    labels = np.where(features["a"] > 0, "yes", np.where(features["b"] > 0, "maybe", "no"))
    models = parts(features, labels, LogisticRegression())

    model = averaged(models, SHARES, "classification")

    odds = mean_answer([one.predict_proba(features) for one in models.values()], SHARES)  # type: ignore[attr-defined]
    assert list(model.classes_) == ["maybe", "no", "yes"]
    assert np.array_equal(model.predict_proba(features), odds)
    assert model.predict(features).tolist() == model.classes_[odds.argmax(axis=1)].tolist()


def test_shares_of_those_left_out_are_shared_out(features: pd.DataFrame) -> None:
    """Without the second member the others' shares keep their proportion."""
    models = parts(features, features["a"], Ridge())
    del models[1,]

    model = averaged(models, SHARES, "regression")

    first, last = (one.predict(features) for one in models.values())  # type: ignore[attr-defined]
    assert model.predict(features) == pytest.approx((0.1 * first + 0.7 * last) / 0.8)


def test_members_lose_apart_on_rows_they_never_saw(features: pd.DataFrame) -> None:
    """The mean loss of each; one that was left out counts as the worst of the others."""
    models = parts(features, features["a"] * 0.0, Ridge())
    models[2,] = Ridge().fit(features, features["a"] * 0.0 + 2.0)
    del models[1,]

    model = averaged(models, SHARES, "regression")

    assert member_losses(model, 3, features, [1.5] * 120, metric="mae", task="regression") == pytest.approx(
        (1.5, 1.5, 0.5)
    )


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
    assert member_losses(model, 3, features, [1.0] * 120, metric="mae", task="regression") == pytest.approx((0, 2, 0))


def test_what_is_not_known_is_taken_for_the_worst() -> None:
    """Of those that are."""
    assert filled([0.2, None, 0.4]) == (0.2, 0.4, 0.4)


def test_who_hardly_counts_is_not_tried() -> None:
    """Below 5 %; somebody always is."""
    assert weighty([(0,), (2,), (3,)], [0.05, 0.9, 0.049, 0.001]) == [(0,)]
    assert weighty([(2,), (3,)], [0.05, 0.9, 0.049, 0.001]) == [(2,), (3,)]
    assert weighty([(1,), (2, 3)], [0.05, 0.9, 0.049, 0.001]) == [(1,), (2, 3)]
