"""Fits on parts of a history: weights, losses, holdouts as in training, and that each is done once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import RidgeClassifier

from mlauto.errors import TrainingError
from mlauto.training.backtest.fits import Fits
from mlauto.training.backtest.models import Model
from mlauto.training.correcting import Tried
from mlauto.training.weighting import History, Member

EDGES = tuple(range(0, 501, 100))


class Wordy(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn ships no types
    """A classifier that answers twice for each row."""

    def fit(self, features: pd.DataFrame, labels: Any) -> "Wordy":
        self.classes_ = np.unique(labels)
        return self

    def predict(self, features: pd.DataFrame) -> Any:
        return np.zeros(2 * len(features))


class Endless(DummyRegressor):  # type: ignore[misc]
    """A regressor without measure."""

    def predict(self, features: pd.DataFrame) -> Any:
        return np.full(len(features), np.inf)


def made(cache: Path, labels: Any, estimator: Any, metric: str = "mae", **given: Any) -> Fits:
    frame = pd.DataFrame({"x": np.arange(500.0)})
    return Fits(frame, np.asarray(labels), edges=EDGES, metric=metric, estimator=estimator, cache=cache, **given)


def fitted(batches: int, history: History) -> Model:
    """A model of one history."""
    return Model(batches=batches, members=(Member(history=history),))


def steps() -> Any:
    """Batch n has the target n in all its rows."""
    return np.repeat(np.arange(5.0), 100)


@pytest.fixture
def mean(tmp_path: Path) -> Fits:
    """A model that says the weighted mean of what it was fitted on."""
    return made(tmp_path, steps(), DummyRegressor(), inputs="one")


@pytest.mark.parametrize(
    ("history", "said"),
    [(History(), 1.0), (History(window=1), 2.0), (History(window=2), 1.5), (History(half_life=1.0), 2.5 / 1.75)],
)
def test_a_model_knows_its_part_of_the_history(mean: Fits, history: History, said: float) -> None:
    """Fitted on batches 0 to 2; each later batch's loss is its distance, and there are as many as are left."""
    fit = mean.fit(fitted(3, history))

    assert [part.tolist() for part in fit.later] == [
        pytest.approx([3 - said] * 100, abs=1e-5),
        pytest.approx([4 - said] * 100, abs=1e-5),
    ]
    assert fit.seconds > 0


def test_the_weights_are_those_of_the_live_loop(mean: Fits) -> None:
    """Batches that hardly count are left out there and here."""
    chosen = mean.training_set(fitted(5, History(half_life=0.5)))

    assert [batch.weight for batch in chosen.batches] == [0.015625, 0.0625, 0.25, 1.0]
    assert chosen.dropped == 1


def test_after_the_last_batch_there_is_nothing_to_lose(mean: Fits) -> None:
    """The fit is made for its cost only."""
    assert mean.fit(fitted(5, History())).later == ()


def test_each_fit_is_done_once(mean: Fits, tmp_path: Path) -> None:
    """Another object with the same inputs takes what is kept, with its seconds; other inputs do not."""
    model = fitted(3, History())
    first = mean.fit(model)
    again = made(tmp_path, steps(), None, inputs="one").fit(model)  # without an estimator nothing can be fitted

    assert again.seconds == first.seconds
    assert all(np.array_equal(a, b) for a, b in zip(again.later, first.later, strict=True))
    with pytest.raises(TrainingError, match="fitting NoneType"):
        made(tmp_path, steps(), None, inputs="two").fit(model)


def test_a_damaged_file_is_made_again(mean: Fits, tmp_path: Path) -> None:
    """Cut short, or not what it should be at all."""
    model = fitted(3, History())
    first = mean.fit(model)
    [path] = tmp_path.rglob("*.npz")
    whole = path.read_bytes()

    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert np.array_equal(mean.fit(model).later[0], first.later[0])
        assert path.stat().st_size > len(whole) // 2


def test_a_trial_scores_the_newest_rows_without_having_seen_them(mean: Fits) -> None:
    """The first candidate's newest fifth; a later one's 30 of the rows that the champion has not seen."""
    first = mean.trial(fitted(2, History(window=1)), None)
    later = mean.trial(fitted(3, History()), fitted(2, History()))

    assert (first.reference.rows, first.reference.value, first.passed) == (20, 0.0, True)
    assert "there is no champion yet" in first.summary
    assert later.reference.rows == 30
    assert later.reference.value == pytest.approx(2 - (0 * 100 + 1 * 100 + 2 * 70) / 270)
    assert later.passed
    assert later.seconds > 0


def test_a_candidate_that_is_worse_may_not_follow(tmp_path: Path) -> None:
    """Batch 2 jumps and ends where it began: what learns from the jump is worse at the end than the champion.

    Without a limit it follows all the same.
    """
    labels = np.zeros(500)
    labels[200:270] = np.linspace(8.0, 9.0, 70)
    labels[270:300] = np.linspace(0.0, 0.1, 30)
    candidate, champion = fitted(3, History(window=1)), fitted(2, History())

    free = made(tmp_path, labels, DummyRegressor(), inputs="jump").trial(candidate, champion)
    held = made(tmp_path, labels, DummyRegressor(), inputs="jump", sigmas=5.0).trial(candidate, champion)

    assert (free.passed, held.passed) == (True, False)
    assert "above the champion's on the same 30 rows" in held.summary
    assert free.reference == held.reference


def test_errors_of_a_classifier_are_zero_or_one(tmp_path: Path) -> None:
    """A class that was never seen counts as missed."""
    labels = ["a", "b"] * 50 + ["a"] * 200 + ["a", "c"] * 50 + ["c"] * 100
    fits = made(tmp_path, labels, DummyClassifier(strategy="most_frequent"), metric="error_rate", inputs="classes")

    fit = fits.fit(fitted(2, History()))

    assert [part.mean() for part in fit.later] == [0.0, 0.5, 1.0]
    assert fits.fit(fitted(2, History())).later[1].tolist() == [0.0, 1.0] * 50


def test_one_class_alone_cannot_be_learnt(tmp_path: Path) -> None:
    """The window holds only one: the sentence says which, and nothing is kept."""
    fits = made(tmp_path, ["a", "b"] * 50 + ["a"] * 400, DummyClassifier(), metric="error_rate", inputs="one class")

    with pytest.raises(TrainingError, match="all 200 rows to fit on are of the class 'a'"):
        fits.fit(fitted(3, History(window=2)))
    assert list(tmp_path.rglob("*.npz")) == []


@pytest.mark.parametrize(
    ("estimator", "metric", "said"),
    [
        (Wordy(), "error_rate", "800 values for 400 rows"),
        (Endless(), "mae", "not finite"),
    ],
)
def test_answers_that_are_none_are_refused(tmp_path: Path, estimator: Any, metric: str, said: str) -> None:
    """Other people's estimators are named for what they did."""
    fits = made(tmp_path, [0, 1] * 250, estimator, metric=metric, inputs="bad")

    with pytest.raises(TrainingError, match=said):
        fits.fit(fitted(1, History()))


def blend(batches: int, *shares: float, tried: tuple[Tried, ...] = ()) -> Model:
    """A model of the newest batch and of all history."""
    histories = (History(window=1), History())
    members = tuple(Member(history=one, share=share) for one, share in zip(histories, shares, strict=True))
    return Model(batches=batches, members=members, tried=tried)


def test_an_average_is_put_together_from_its_members(mean: Fits, tmp_path: Path) -> None:
    """Of batches 0 to 2 the newest says 2 and all say 1: each member's losses are told; other shares need no fit."""
    fit = mean.fit(blend(3, 0.25, 0.75))
    again = made(tmp_path, steps(), None, inputs="one").fit(blend(3, 0.5, 0.5))

    assert [part.mean() for part in fit.later] == pytest.approx([3 - 1.25, 4 - 1.25])
    assert [list(part) for part in fit.parts] == [pytest.approx([1.0, 2.0]), pytest.approx([2.0, 3.0])]
    assert [part.mean() for part in again.later] == pytest.approx([1.5, 2.5])


def test_one_batch_is_one_fit_for_all_members(mean: Fits, tmp_path: Path) -> None:
    """Their histories are the same rows with the same weights."""
    fit = mean.fit(blend(1, 0.25, 0.75))

    assert [list(part) for part in fit.parts] == 2 * [pytest.approx([1.0, 2.0, 3.0, 4.0])]
    assert len(list(tmp_path.rglob("*.npz"))) == 1


def test_a_trial_of_an_average_leaves_out_who_hardly_counts(mean: Fits) -> None:
    """With the newest batch at 4 % only all history is tried: 70 of batch 2 are known."""
    trial = mean.trial(blend(3, 0.04, 0.96), blend(2, 0.5, 0.5))

    assert trial.reference.value == pytest.approx(2 - (0 * 100 + 1 * 100 + 2 * 70) / 270)


def test_classes_are_averaged_by_probabilities(tmp_path: Path) -> None:
    """Half of all and all of the newest are "a"; who never saw "b" sits out, and counts as the worst."""
    labels = ["a", "b"] * 50 + ["a", "a", "a", "b"] * 25 + ["a"] * 100 + ["b"] * 200
    fits = made(tmp_path, labels, DummyClassifier(strategy="prior"), metric="error_rate", inputs="odds")

    both, one = fits.fit(blend(2, 0.5, 0.5)), fits.fit(blend(3, 0.5, 0.5))

    assert [part.mean() for part in both.later] == [0.0, 1.0, 1.0]
    assert both.parts == ((0.0, 1.0, 1.0), (0.0, 1.0, 1.0))
    assert one.parts == ((1.0, 1.0), (1.0, 1.0))
    assert fits.said(blend(3, 0.5, 0.5)).groups == ((1,),)


def test_squares_are_what_a_root_is_taken_of(tmp_path: Path) -> None:
    """The reference is the root of their mean, as in training."""
    fits = made(tmp_path, steps(), DummyRegressor(), metric="rmse", inputs="squares")
    model = fitted(2, History(window=1))

    assert [part.mean() for part in fits.fit(model).later] == pytest.approx([1.0, 4.0, 9.0])
    assert fits.trial(fitted(3, History(window=1)), model).reference.metric == "rmse"
    assert fits.said(fitted(2, History()), 20).losses == pytest.approx([(1 - 80 / 180) ** 2] * 20)


def test_log_loss_is_of_the_true_labels_probability(tmp_path: Path) -> None:
    """A label that was never seen has next to none; without probabilities there is no such loss."""
    labels = ["a", "b"] * 50 + ["a"] * 300 + ["c"] * 100
    fits = made(tmp_path, labels, DummyClassifier(strategy="prior"), metric="log_loss", inputs="odds")
    bare = made(tmp_path, ["a", "b"] * 250, RidgeClassifier(), metric="log_loss", inputs="bare")

    later = fits.fit(fitted(1, History())).later
    assert later[0] == pytest.approx([np.log(2)] * 100)
    assert later[-1] == pytest.approx([-np.log(1e-15)] * 100)
    with pytest.raises(TrainingError, match="no predict_proba"):
        bare.fit(fitted(1, History()))


def test_histories_that_weigh_alike_are_fitted_once(mean: Fits, tmp_path: Path) -> None:
    """All of it, a window that holds all of it, and one whose weights are 1 to six places."""
    alike = [fitted(3, one) for one in (History(), History(window=3), History(window=100), History(half_life=1e9))]
    other = fitted(3, History(window=2))

    fits = [mean.fit(model) for model in alike]

    assert len(list(tmp_path.rglob("*.npz"))) == 1
    assert {fit.seconds for fit in fits} == {fits[0].seconds}
    assert {mean.path_of(model) for model in alike} == {mean.path_of(alike[0])}
    assert mean.path_of(alike[0], 20) != mean.path_of(alike[0]) != mean.path_of(fitted(4, History()))
    assert mean.fit(other).later[0].mean() == pytest.approx(1.5)
    assert len(list(tmp_path.rglob("*.npz"))) == 2


def test_strange_batches_are_left_out_of_every_history(mean: Fits) -> None:
    """Batches 0, 1 and 2 say 0, 1 and 2; a history that never had the strange one is the same fit."""
    both = (Member(history=History(window=1), share=0.5), Member(history=History(), share=0.5))
    model = Model(batches=3, members=both, strange=(1,))

    assert [float(part[0]) for part in mean.fit(model).parts] == [1.0, 2.0]  # of batch 3: 2, and the mean of 0 and 2
    newest = replace(model, members=both[:1])
    assert mean.path_of(newest) == mean.path_of(replace(newest, strange=()))
    every = replace(model, members=both[1:])
    assert mean.path_of(every) != mean.path_of(replace(every, strange=()))
    assert mean.fit(every).later[0].tolist() == [2.0] * 100
