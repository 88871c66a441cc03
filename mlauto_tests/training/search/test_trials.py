"""One rung's trials."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from mlauto.training.search.candidates import Candidate
from mlauto.training.search.trials import Past, Rung, tried


class Telling(RegressorMixin, BaseEstimator):
    """Predicts what it was fitted with: the sum of weights, or the newest label."""

    def __init__(self, what: str = "weights") -> None:
        self.what = what

    def fit(self, rows: Any, y: Any, sample_weight: Any = None) -> "Telling":
        self.answers_ = {"weights": float(np.sum(sample_weight)), "newest": float(y[-1]), "rows": float(len(y))}
        return self

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), self.answers_.get(self.what, np.inf))


def candidate(number: int = 1, **parameters: Any) -> Candidate:
    return Candidate(number=number, origin="drawn", parameters=parameters)


def rows(count: int = 100) -> Past:
    """Labels count the rows; the newest 40 weigh twice as much."""
    return Past(
        pd.DataFrame({"x": np.arange(count)}), np.arange(float(count)), np.where(np.arange(count) < 60, 1.0, 2.0)
    )


def test_a_part_is_predicted_by_what_is_older() -> None:
    """Three fits on the newest 20 rows before each part of ten; the losses are of the 30 newest rows, in order."""
    rung = Rung(number=2, rows=20, scored=30, task="regression", metric="mae")
    [newest, counted], losses = tried(
        [candidate(1, what="newest"), candidate(2, what="rows")], Telling(), rows(), rung, deadline=np.inf
    )

    assert losses[1].tolist() == [*range(1, 11)] * 3
    assert losses[2].tolist() == [value - 20.0 for value in range(70, 100)]
    assert (newest.loss, newest.rung, newest.rows, newest.candidate) == (5.5, 2, 20, 1)
    assert counted.parameters == {"what": "rows"}


def test_sample_weights_go_along() -> None:
    """Those of the very rows that are fitted on."""
    rung = Rung(number=1, rows=20, scored=10, task="regression", metric="mae")
    _, losses = tried([candidate(what="weights")], Telling(), rows(), rung, deadline=np.inf)

    assert losses[1].tolist() == [value - 40.0 for value in range(90, 100)]


def test_answers_that_are_not_finite_have_lost() -> None:
    """And say so."""
    rung = Rung(number=1, rows=20, scored=10, task="regression", metric="mae")
    [trial], _ = tried([candidate(what="nothing")], Telling(), rows(), rung, deadline=np.inf)

    assert (trial.loss, trial.problem) == (None, "its answers are not finite")


def test_what_is_no_parameter_has_lost() -> None:
    """The estimator's own words."""
    rung = Rung(number=1, rows=20, scored=10, task="regression", metric="mae")
    [trial], _ = tried([candidate(when=1)], Telling(), rows(), rung, deadline=np.inf)

    assert trial.loss is None
    assert "Invalid parameter 'when'" in trial.problem


def test_nothing_begins_after_the_deadline() -> None:
    """Fewer trials than candidates, none of them half done."""
    rung = Rung(number=1, rows=20, scored=10, task="regression", metric="mae")

    assert tried([candidate()], Telling(), rows(), rung, deadline=time.monotonic() - 1) == ([], {})


@pytest.mark.parametrize(
    ("estimator", "said"),
    [(LogisticRegression(), ""), (LinearSVC(), "log_loss needs probabilities, and this model has no predict_proba")],
)
def test_log_loss_needs_probabilities(estimator: Any, said: str) -> None:
    """As in training itself."""
    past = rows()
    labels = np.where(past.labels % 2 > 0, "odd", "even").astype(object)
    rung = Rung(number=1, rows=50, scored=30, task="classification", metric="log_loss")
    [trial], _ = tried([candidate()], estimator, Past(past.features, labels, past.weights), rung, deadline=np.inf)

    assert said in trial.problem
    assert (trial.loss is None) == bool(said)


def by_auc(labels: Any, estimator: Any = None) -> tuple[Any, Any]:
    random = np.random.default_rng(1)
    past = Past(
        pd.DataFrame({"x": (labels == "rare") + random.normal(0, 0.7, len(labels))}), labels, np.ones(len(labels))
    )
    rung = Rung(number=1, rows=60, scored=60, task="classification", metric="auc")
    [trial], losses = tried([candidate()], estimator or LogisticRegression(), past, rung, deadline=np.inf)
    return trial, losses[1]


def test_an_auc_is_that_of_each_part() -> None:
    """Scores of different fits are not compared: what orders nothing has a half, however often each class came."""
    labels = np.array(["rare", "usual"] * 30 + ["rare"] * 5 + ["usual"] * 15 + ["rare", "usual"] * 20, dtype=object)
    trial, losses = by_auc(labels, DummyClassifier())

    assert (trial.problem, trial.loss) == ("", 0.5)
    assert losses.tolist() == [0.5] * 60


def test_an_auc_is_that_of_all_parts_where_one_is_of_one_class() -> None:
    """The loss of the trial is 1 - AUC of the scored rows together."""
    labels = np.array((["rare"] + ["usual"] * 3) * 15 + ["usual"] * 40 + ["rare"] * 5 + ["usual"] * 15, dtype=object)
    trial, losses = by_auc(labels)

    assert (trial.problem, len(losses)) == ("", 60)
    assert trial.loss == pytest.approx(losses.mean())
    assert 0 < trial.loss < 0.4


def test_a_trial_without_an_auc_has_lost() -> None:
    """No probabilities, one class only, or a fit that knows other classes than the next: said with what to do."""
    usual = np.array(["rare", "usual"] * 30 + ["usual"] * 60, dtype=object)
    third = np.array(["rare", "usual"] * 35 + ["third"] * 10 + ["rare", "usual"] * 20, dtype=object)

    assert "auc needs rows of both classes, and all 60 are 'usual': use log_loss" in by_auc(usual)[0].problem
    margins = by_auc(np.array(["rare", "usual"] * 60, dtype=object), LinearSVC())[0]
    assert "auc needs probabilities, and this model has no predict_proba" in margins.problem
    single = by_auc(np.array(["rare", "usual"] * 40 + ["usual"] * 40, dtype=object), LinearSVC())[0]
    assert "a fit has no predict_proba, or lacks rows of a class: use log_loss" in single.problem
    assert "use log_loss" in by_auc(third)[0].problem
    assert by_auc(third)[0].loss is None
