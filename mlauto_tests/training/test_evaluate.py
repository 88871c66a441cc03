import math

import numpy as np
import pytest

from mlauto.training.evaluate import (
    METRICS,
    NEEDS_ODDS,
    Answers,
    Comparison,
    batch_metric,
    compare,
    not_worse_than_champion,
    row_losses,
    score,
    score_of,
    valid,
)

BETTER = Comparison(difference=-1.0, standard_error=0.1, sigmas=-10.0, rows=100, worse=False)


def said(*predictions: object) -> Answers:
    return Answers(predictions=predictions)


def test_losses_of_each_metric_are_what_it_averages() -> None:
    """Absolute errors for mae, squared ones for rmse and r2, mistakes for error_rate."""
    assert row_losses("mae", [1.0, 2.0], said(2.0, 0.0)).tolist() == [1.0, 2.0]
    assert row_losses("rmse", [1.0, 2.0], said(2.0, 0.0)).tolist() == [1.0, 4.0]
    assert row_losses("r2", [1.0, 2.0], said(2.0, 0.0)).tolist() == [1.0, 4.0]
    assert row_losses("error_rate", ["a", "b", "b"], said("a", "a", "b")).tolist() == [0.0, 1.0, 0.0]


def test_log_loss_reads_the_true_class_and_survives_zero_and_unknown_classes() -> None:
    """The probability of the true label counts; 0, or a label that the model never saw, costs much but not infinity."""
    answers = Answers(predictions=["a"] * 3, probabilities=[[0.8, 0.2], [1.0, 0.0], [0.5, 0.5]], classes=["a", "b"])

    losses = row_losses("log_loss", ["a", "b", "new"], answers)

    assert losses[0] == pytest.approx(-math.log(0.8))
    assert losses[1] == losses[2] == pytest.approx(-math.log(1e-15))


def test_losses_refuse_what_cannot_be_paired_with_labels() -> None:
    """Other lengths, or no probabilities for log_loss, are an error and never a shorter result."""
    with pytest.raises(ValueError, match="1 predictions for 2 labels"):
        row_losses("mae", [1.0, 2.0], said(1.0))
    with pytest.raises(ValueError, match="predict_proba"):
        row_losses("log_loss", ["a"], said("a"))
    short = Answers(predictions=["a", "b"], probabilities=[[1.0, 0.0]], classes=["a", "b"])
    with pytest.raises(ValueError, match="1 rows of probabilities"):
        row_losses("log_loss", ["a", "b"], short)


def test_scores_equal_scikit_learns() -> None:
    """Each metric's value is the one that scikit-learn computes."""
    from sklearn import metrics

    random = np.random.default_rng(1)
    truth = random.normal(0, 3, 200)
    guess = truth + random.normal(0, 1, 200)
    answers = Answers(predictions=guess.tolist())

    assert score("mae", truth.tolist(), answers).value == pytest.approx(metrics.mean_absolute_error(truth, guess))
    assert score("rmse", truth.tolist(), answers).value == pytest.approx(metrics.root_mean_squared_error(truth, guess))
    assert score("r2", truth.tolist(), answers).value == pytest.approx(metrics.r2_score(truth, guess))

    labels = random.choice(["a", "b"], 200)
    given = random.uniform(0.05, 0.95, 200)
    classified = Answers(
        predictions=np.where(given > 0.5, "b", "a").tolist(),
        probabilities=np.column_stack([1 - given, given]).tolist(),
        classes=["a", "b"],
    )
    expected = metrics.log_loss(labels, np.column_stack([1 - given, given]), labels=["a", "b"])
    assert score("log_loss", labels.tolist(), classified).value == pytest.approx(expected)
    auc = score("auc", labels.tolist(), classified)
    assert auc.value == pytest.approx(metrics.roc_auc_score(labels == "b", given))
    assert auc.low < auc.value < auc.high
    rate = 1 - metrics.accuracy_score(labels, classified.predictions)
    assert score("error_rate", labels.tolist(), classified).value == pytest.approx(rate)


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2", "error_rate"])
def test_intervals_cover_the_true_value_about_95_times_in_100(metric: str) -> None:
    """Over 300 samples of 150 rows the 95 % interval holds the long-run value in 91 to 99 % of them."""
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 400_000) if metric == "error_rate" else random.normal(0, 2, 400_000)
    noise = random.random(400_000) < 0.2 if metric == "error_rate" else random.normal(0, 1, 400_000)
    guess = truth ^ noise if metric == "error_rate" else truth + noise
    long_run = {"mae": math.sqrt(2 / math.pi), "rmse": 1.0, "r2": 0.75, "error_rate": 0.2}[metric]

    held = 0
    for start in range(0, 300 * 150, 150):
        part = slice(start, start + 150)
        found = score(metric, truth[part].tolist(), Answers(predictions=guess[part].tolist()))
        held += found.low <= long_run <= found.high

    assert 0.91 <= held / 300 <= 0.99


def test_intervals_are_honest_where_nothing_went_wrong() -> None:
    """No mistake in 20 rows does not prove an error rate of 0: the interval reaches up to about 16 %."""
    found = score("error_rate", ["a"] * 20, said(*["a"] * 20))

    assert (found.value, found.low, found.rows) == (0.0, 0.0, 20)
    assert found.high == pytest.approx(0.161, abs=0.001)


def test_a_single_row_and_constant_labels_have_scores() -> None:
    """Degenerate holdouts give finite numbers; nothing at all is an error."""
    assert score("mae", [1.0], said(3.0)).low == score("mae", [1.0], said(3.0)).high == 2.0
    assert score("r2", [1.0, 1.0], said(1.0, 2.0)).value == 0.0
    with pytest.raises(ValueError, match="no rows"):
        score("mae", [], said())


def test_every_task_has_its_metrics() -> None:
    """All metrics that a product may name can be scored."""
    assert METRICS == {"regression": ("mae", "rmse", "r2"), "classification": ("error_rate", "log_loss", "auc")}
    assert set(METRICS["classification"]) >= NEEDS_ODDS


def test_comparison_is_paired() -> None:
    """A constant advantage is certain although the rows themselves differ a thousandfold."""
    champion = np.array([1.0, 1000.0, 50.0, 7.0])

    better, worse = compare(champion - 0.5, champion), compare(champion + 0.5, champion)

    assert (better.difference, better.sigmas, better.worse) == (-0.5, -math.inf, False)
    assert (worse.difference, worse.sigmas, worse.worse) == (0.5, math.inf, True)


def test_comparison_counts_standard_errors() -> None:
    """The ratio is the mean difference over its standard error, and the limit decides."""
    random = np.random.default_rng(3)
    champion = random.exponential(1, 400)
    candidate = champion + random.normal(0.2, 1, 400)

    found = compare(candidate, champion)

    expected = (candidate - champion).std(ddof=1) / 20
    assert found.standard_error == pytest.approx(expected)
    assert found.sigmas == pytest.approx(found.difference / expected)
    assert found.rows == 400
    assert compare(candidate, champion, limit=found.sigmas - 0.1).worse
    assert not compare(candidate, champion, limit=found.sigmas + 0.1).worse


def test_equal_models_are_never_worse() -> None:
    """Identical losses differ by 0 standard errors; rows that do not match are an error."""
    assert compare(np.ones(5), np.ones(5)).sigmas == 0.0
    with pytest.raises(ValueError, match="5 and 4 rows"):
        compare(np.ones(5), np.ones(4))
    with pytest.raises(ValueError, match="cannot be paired"):
        compare(np.ones(0), np.ones(0))


def test_valid_passes_a_usable_model() -> None:
    """Finite, reloaded, right columns, better than the constant: passed, with the margin in the summary."""
    outcome = valid(finite=True, reloads=True, mismatch=None, against_dummy=BETTER)

    assert (outcome.name, outcome.passed) == ("valid", True)
    assert "1 below" in outcome.summary
    assert outcome.details["rows"] == 100


def test_valid_names_every_fault() -> None:
    """All faults are in one summary; a tie with the constant prediction is a fault too."""
    tie = compare(np.ones(40), np.ones(40))

    outcome = valid(finite=False, reloads=False, mismatch="its signature takes leak", against_dummy=tie)

    assert not outcome.passed
    for part in ("not finite", "after saving", "takes leak", "constant prediction"):
        assert part in outcome.summary


def test_only_a_clearly_worse_candidate_is_blocked() -> None:
    """3 standard errors worse still pass, more do not; infinite certainty stays valid JSON."""
    outcomes = {
        sigmas: not_worse_than_champion(
            Comparison(difference=1.0, standard_error=0.1, sigmas=sigmas, rows=50, worse=sigmas > 3), limit=3.0
        )
        for sigmas in (-5.0, 3.0, 3.1, math.inf)
    }

    assert [outcome.passed for outcome in outcomes.values()] == [True, True, False, False]
    assert outcomes[math.inf].details["sigmas"] is None
    assert "50 rows" in outcomes[3.1].summary


def test_without_a_limit_nobody_is_blocked() -> None:
    """The comparison is told all the same."""
    worse = Comparison(difference=1.0, standard_error=0.1, sigmas=math.inf, rows=50, worse=True)

    outcome = not_worse_than_champion(worse, limit=None)

    assert outcome.passed
    assert outcome.summary.startswith("loss 1 above the champion's on the same 50 rows (+inf standard errors, no limit")


def test_without_evidence_the_candidate_passes_and_the_reason_is_said() -> None:
    """No champion, or fewer than 30 rows that it never saw, is no evidence against the candidate."""
    alone = not_worse_than_champion(None, limit=3.0, absent="there is no champion yet")
    few = not_worse_than_champion(
        Comparison(difference=9.0, standard_error=0.1, sigmas=90.0, rows=29, worse=True), limit=3.0
    )

    assert alone.passed
    assert alone.summary == "not compared: there is no champion yet"
    assert few.passed
    assert "only 29 rows" in few.summary


@pytest.mark.parametrize("metric", ["mae", "error_rate"])
def test_losses_alone_give_the_same_score(metric: str) -> None:
    """A backtest keeps nothing else; without rows there is none."""
    labels, answers = [0, 1, 1, 0], said(0, 0, 1, 1)

    assert score_of(metric, row_losses(metric, labels, answers)) == score(metric, labels, answers)
    with pytest.raises(ValueError, match="no rows"):
        score_of(metric, np.empty(0))


def ordered(rows: int, noise: float = 1.0, seed: int = 4) -> tuple[list[str], Answers]:
    """Labels, three in ten `late`, and a model that orders them by evidence with that much noise."""
    random = np.random.default_rng(seed)
    late = random.random(rows) < 0.3
    odds = 1 / (1 + np.exp(-random.normal(late.astype(float), 1.0) - random.normal(0, noise, rows)))
    labels = np.where(late, "late", "in time").tolist()
    answers = Answers(
        predictions=np.where(odds > 0.5, "late", "in time").tolist(),
        probabilities=np.column_stack([1 - odds, odds]).tolist(),
        classes=("in time", "late"),
    )
    return labels, answers


def test_an_auc_is_the_mean_of_its_rows_losses() -> None:
    """So that comparisons are those of all metrics: paired, and above 0 for the worse order."""
    (labels, good), (_, bad) = ordered(400, 0.0), ordered(400, 3.0)
    losses = row_losses("auc", labels, good)
    turned = Answers(
        predictions=good.predictions, probabilities=[row[::-1] for row in good.probabilities or ()],
        classes=("late", "in time"),
    )  # fmt: skip

    assert 1 - losses.mean() == pytest.approx(score("auc", labels, good).value)
    assert score_of("auc", losses, labels) == score("auc", labels, good)
    assert compare(row_losses("auc", labels, bad), losses).worse
    assert row_losses("auc", labels, turned).tolist() == pytest.approx(losses.tolist())  # whichever class is second


def test_intervals_of_an_auc_cover_the_true_value() -> None:
    """Over 300 samples of 150 rows in 92 to 98 % of them; a perfect order of few rows is no certainty."""
    held = 0
    for seed in range(300):
        labels, answers = ordered(150, 0.0, seed)
        found = score("auc", labels, answers)
        held += found.low <= 0.7602 <= found.high
    perfect = Answers(predictions=["a"] * 4 + ["b"] * 4, probabilities=[[1, 0]] * 4 + [[0, 1]] * 4, classes=("a", "b"))
    sure = score("auc", ["a"] * 4 + ["b"] * 4, perfect)

    assert 0.92 <= held / 300 <= 0.98
    assert (sure.value, sure.high) == (1.0, 1.0)
    assert 0.4 < sure.low < 0.6


def test_a_constant_has_an_auc_of_a_half() -> None:
    """Ties are half an error each."""
    labels, answers = ordered(50)
    constant = Answers(predictions=answers.predictions, probabilities=[[0.7, 0.3]] * 50, classes=answers.classes)
    found = score("auc", labels, constant)

    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("labels", "given", "said"),
    [
        (["a", "b"], None, "auc needs probabilities, and this model has no predict_proba"),
        (["a", "b"], ("a", "b", "c"), "auc is for two classes, and these are 3: use log_loss"),
        (["a", "c"], ("a", "b"), "auc is for two classes, and these are 3: use log_loss"),
        (["b", "b"], ("a", "b"), "auc needs rows of both classes, and all 2 are 'b': use log_loss"),
    ],
)
def test_what_has_no_auc_is_said(labels: list[str], given: tuple[str, ...] | None, said: str) -> None:
    """With what to use instead."""
    odds = None if given is None else [[1 / len(given)] * len(given)] * 2
    with pytest.raises(ValueError, match=said):
        score("auc", labels, Answers(predictions=labels, probabilities=odds, classes=given or ()))


@pytest.mark.parametrize(
    ("metric", "batches"), [("auc", "log_loss"), ("log_loss", "log_loss"), ("error_rate", "error_rate"), ("r2", "r2")]
)
def test_single_batches_are_judged_by_what_each_of_them_has(metric: str, batches: str) -> None:
    """One of one class has no AUC."""
    assert batch_metric(metric) == batches
