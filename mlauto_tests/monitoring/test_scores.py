"""Metrics with their intervals: values against scikit-learn, intervals against simulation."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mlauto.errors import MeasurementError
from mlauto.monitoring.scores import better, losses, mean_score, same_label, score, usable
from mlauto.records import Score

DICE = np.random.default_rng(1)


def scored(metric: str, truth: object, predicted: object, *more: object) -> Score:
    found = score(metric, list(truth), list(predicted), *more)  # type: ignore[call-overload, arg-type]
    assert found is not None
    assert found.low <= found.value <= found.high
    return found


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        ("mae", reference.mean_absolute_error),
        ("rmse", reference.root_mean_squared_error),
        ("r2", reference.r2_score),
    ],
)
def test_regression_equals_scikit_learn(metric: str, function: object) -> None:
    """Value for value, on rows that are neither few nor tidy."""
    truth = DICE.normal(10, 5, 333)
    predicted = truth + DICE.normal(1, 2, 333)

    found = scored(metric, truth, predicted)

    assert found.value == pytest.approx(function(truth, predicted))  # type: ignore[operator]
    assert (found.metric, found.rows) == (metric, 333)


def test_error_rate_and_log_loss_equal_scikit_learn() -> None:
    """For labels that are text, and for more than two classes."""
    classes = ["a", "b", "c"]
    truth = DICE.choice(classes, 200)
    odds = DICE.dirichlet([1, 1, 1], 200)
    predicted = [classes[place] for place in odds.argmax(axis=1)]

    wrong = scored("error_rate", truth, predicted)
    loss = scored("log_loss", truth, predicted, odds.tolist(), classes)

    assert wrong.value == pytest.approx(1 - reference.accuracy_score(truth, predicted))
    assert loss.value == pytest.approx(reference.log_loss(truth, odds, labels=classes))


def test_a_certain_and_wrong_prediction_is_finite() -> None:
    """Odds of zero, and a label that the model never saw, cost much but not infinitely much."""
    found = scored("log_loss", ["a", "new"], ["b", "b"], [[0.0, 1.0], [0.5, 0.5]], ["a", "b"])

    assert found.value == pytest.approx(-math.log(np.finfo(float).eps))


@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.92), (0.5, 0.85)])
def test_intervals_hold_what_they_promise(correlation: float, least: float) -> None:
    """About 95 % of the intervals hold the true mean; nearly so when neighbouring errors are alike."""
    inside, trials, rows = 0, 400, 400
    for _ in range(trials):
        noise = DICE.normal(0, 1, rows)
        series = np.empty(rows)
        series[0] = noise[0]
        for row in range(1, rows):
            series[row] = correlation * series[row - 1] + math.sqrt(1 - correlation**2) * noise[row]
        found = scored("mae", np.zeros(rows), series + 10)  # the error is never negative: its mean is 10
        inside += found.low <= 10 <= found.high

    assert inside / trials >= least


def test_no_error_at_all_is_no_certainty() -> None:
    """Fifty right answers do not prove an error rate of zero."""
    found = scored("error_rate", [1] * 50, [1] * 50)

    assert found.value == 0
    assert found.low == pytest.approx(0, abs=1e-12)
    assert 0.05 < found.high < 0.1


def test_a_perfect_regression() -> None:
    """Zero loss has an interval of no width, and r2 is one."""
    truth = [float(n) for n in range(30)]

    assert scored("mae", truth, truth).high == 0
    assert scored("rmse", truth, truth).high == 0
    assert scored("r2", truth, truth).low == 1


def test_too_few_rows_and_constant_truths_have_no_score() -> None:
    """One row has no interval; r2 of a constant truth is undefined."""
    assert score("mae", [], []) is None
    assert score("mae", [1.0], [2.0]) is None
    assert score("r2", [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert score("mae", [1.0, 2.0], [2.0, 4.0]) is not None


def test_what_cannot_be_scored_says_why() -> None:
    """An unknown metric, probabilities that were not logged, and sums beyond any float."""
    with pytest.raises(MeasurementError, match="'auc' is unknown"):
        score("auc", [1, 0], [1, 0])
    with pytest.raises(MeasurementError, match="needs the classes' probabilities"):
        score("log_loss", [1, 0], [1, 0])
    with pytest.raises(MeasurementError, match="not finite"):
        score("rmse", [1e300, -1e300], [0.0, 0.0])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1, 1.0, True),
        (1, "1", True),
        ("1.0", 1, True),
        (True, 1, True),
        (True, "true", True),
        ("False", 0, True),
        (" yes ", "yes", True),
        ("yes", "Yes", False),
        (1, 2, False),
        ("1", "one", False),
        (0.5, "0.5", True),
        ("inf", "inf", True),
        ("nan", "nan", True),
    ],
)
def test_labels_mean_the_same_or_not(a: object, b: object, same: bool) -> None:
    """JSON and CSV write one class in several ways."""
    assert same_label(a, b) is same
    assert same_label(b, a) is same


@pytest.mark.parametrize(
    ("metric", "truth", "predicted", "expected"),
    [
        ("mae", 1, 2.0, True),
        ("mae", None, 2.0, False),
        ("mae", 1.0, None, False),
        ("mae", "1", 2.0, False),
        ("mae", float("nan"), 2.0, False),
        ("mae", 10**400, 2.0, False),
        ("error_rate", "a", "b", True),
        ("error_rate", None, "b", False),
    ],
)
def test_rows_that_can_be_scored(metric: str, truth: object, predicted: object, expected: bool) -> None:
    """Only complete rows, and only numbers where numbers are compared."""
    assert usable(metric, truth, predicted) is expected


def test_better_knows_the_direction() -> None:
    """Higher is better for r2 alone."""
    assert better("mae", 1, 2)
    assert not better("mae", 2, 2)
    assert better("r2", 0.9, 0.8)


def test_losses_give_the_score_of_their_answers() -> None:
    """A backtest keeps losses only."""
    truth, predicted = [0, 1, 1, 0] * 10, [0, 0, 1, 1] * 10

    assert mean_score("error_rate", losses("error_rate", truth, predicted)) == score("error_rate", truth, predicted)
    assert mean_score("mae", losses("mae", truth, predicted)) == score("mae", truth, predicted)
    assert mean_score("rmse", losses("rmse", truth, predicted)) == score("rmse", truth, predicted)
