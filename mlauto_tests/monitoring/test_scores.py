"""Metrics with their intervals: values against scikit-learn, intervals against simulation."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from mlauto.errors import MeasurementError
from mlauto.monitoring.scores import better, losses, mean_score, ranked, same_label, score, usable
from mlauto.records import Score
from mlauto.training import evaluate

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
    with pytest.raises(MeasurementError, match=r"'brier' is unknown: use mae, .* or auc"):
        score("brier", [1, 0], [1, 0])
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
    """Higher is better for r2 and auc alone."""
    assert better("mae", 1, 2)
    assert not better("mae", 2, 2)
    assert better("r2", 0.9, 0.8)
    assert better("auc", 0.9, 0.8)
    assert not better("auc", 0.8, 0.8)


def test_losses_give_the_score_of_their_answers() -> None:
    """A backtest keeps losses only."""
    truth, predicted = [0, 1, 1, 0] * 10, [0, 0, 1, 1] * 10

    assert mean_score("error_rate", losses("error_rate", truth, predicted)) == score("error_rate", truth, predicted)
    assert mean_score("mae", losses("mae", truth, predicted)) == score("mae", truth, predicted)
    assert mean_score("rmse", losses("rmse", truth, predicted)) == score("rmse", truth, predicted)


def ranked_rows(rows: int, apart: float = 1.0, share: float = 0.3) -> tuple[list[str], list[list[float]]]:
    """Labels and probabilities of two classes, whose logits are normal around two means."""
    positive = DICE.random(rows) < share
    said = 1 / (1 + np.exp(-DICE.normal(apart * positive, 1.0)))
    return ["yes" if one else "no" for one in positive], [[1 - p, p] for p in said.tolist()]


def test_auc_equals_scikit_learn_and_what_training_measures() -> None:
    """The second class is the positive one; labels may be written otherwise; the value is that of the holdout's."""
    truth, odds = ranked_rows(400)
    found = scored("auc", truth, truth, odds, ["no", "yes"])
    answers = evaluate.Answers(predictions=truth, probabilities=odds, classes=["no", "yes"])
    trained = evaluate.score("auc", truth, answers)
    numbers = [str(int(one == "yes")) for one in truth]

    assert found.value == pytest.approx(reference.roc_auc_score([one == "yes" for one in truth], [p for _, p in odds]))
    assert (found.metric, found.rows) == ("auc", 400)
    assert (found.value, found.rows) == (pytest.approx(trained.value), trained.rows)
    assert found.low <= trained.low + 0.005  # neighbours that err alike may only widen it
    assert found.high >= trained.high - 0.005
    assert score("auc", numbers, numbers, odds, [False, True]) == found
    assert 1 - losses("auc", truth, truth, odds, ["no", "yes"]).mean() == pytest.approx(found.value)


def test_intervals_of_an_auc_hold_what_they_promise() -> None:
    """The true value of a shift by one deviation is 0.7602: about 95 % of 500 intervals hold it."""
    inside = 0
    for _ in range(500):
        truth, odds = ranked_rows(300)
        found = scored("auc", truth, truth, odds, ["no", "yes"])
        inside += found.low <= 0.7602 <= found.high

    assert 0.93 <= inside / 500 <= 0.98


def test_a_perfect_order_is_no_certainty() -> None:
    """Ten positives without an error: the bound knows that they are ten, not that the rows are 200."""
    truth = ["yes"] * 10 + ["no"] * 190
    odds = [[0.1, 0.9]] * 10 + [[0.9, 0.1]] * 190
    found = scored("auc", truth, truth, odds, ["no", "yes"])

    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(10 / (10 + 1.96**2), abs=1e-4)


def test_an_auc_needs_rows_of_both_classes() -> None:
    """None without; rows whose truth is neither class, or that have other probabilities, are left out."""
    truth, odds = ranked_rows(60)
    strange = score("auc", [*truth, "maybe", "yes"], [*truth, "no", "no"], [*odds, [0.5, 0.5], [1.0]], ["no", "yes"])

    assert strange == score("auc", truth, truth, odds, ["no", "yes"])
    assert score("auc", ["no"] * 60, truth, odds, ["no", "yes"]) is None
    assert score("auc", ["maybe"] * 60, truth, odds, ["no", "yes"]) is None
    assert len(losses("auc", ["no"] * 60, truth, odds, ["no", "yes"])) == 0
    positive, scores = ranked(["yes", "maybe", "no"], [[0.2, 0.8], [0.5, 0.5], [0.7, 0.3]], ["no", "yes"])
    assert (positive.tolist(), scores.tolist()) == ([1.0, 0.0], [0.8, 0.3])


def test_what_has_no_auc_says_what_to_do() -> None:
    """Three classes, and probabilities that were not logged."""
    truth, odds = ranked_rows(5)

    for function in (score, losses):
        with pytest.raises(MeasurementError, match="the model has 3: use metric log_loss"):
            function("auc", truth, truth, odds, ["no", "yes", "maybe"])
        with pytest.raises(MeasurementError, match=r"auc needs the classes' probabilities .* use metric error_rate"):
            function("auc", truth, truth, None, ["no", "yes"])


def test_losses_of_pairs_give_an_auc_of_pairs() -> None:
    """Nine wrong of a hundred, and none of fifty, which is no proof of none."""
    some, none = mean_score("auc", DICE.permutation([0.0] * 91 + [1.0] * 9)), mean_score("auc", np.zeros(50))

    assert some.value == pytest.approx(0.91)
    assert some.low < 0.88 < 0.94 < some.high < 1
    assert (none.value, none.high, none.rows) == (1.0, 1.0, 50)
    assert 0.9 < none.low < 0.95
