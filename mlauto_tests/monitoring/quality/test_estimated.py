"""Quality without labels: near the truth while rows only become harder, and with an honest error."""

from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.monitoring.comparison import Outcome, outcome_losses, outcome_score
from mlauto.monitoring.quality.estimated import Answered, Estimator, estimate, estimator_of

CLASSES = ("no", "yes")


def classified(seed: int, rows: int, *, centre: float = 0.0, sharper: float = 1.0) -> list[Answered]:
    random = np.random.default_rng(seed)
    logits = random.normal(centre, 1.5, rows)
    truth = random.random(rows) < 1 / (1 + np.exp(-logits))
    said = 1 / (1 + np.exp(-sharper * logits))
    return [
        ({"x": float(x)}, Outcome(CLASSES[int(y)], CLASSES[int(p > 0.5)], [1 - float(p), float(p)]))
        for x, y, p in zip(logits, truth, said, strict=True)
    ]


def numbers(seed: int, rows: int, *, centre: float = 5.0) -> list[Answered]:
    random = np.random.default_rng(seed)
    x = np.abs(random.normal(centre, 2, rows))
    return [({"x": float(v)}, Outcome(3 * float(v) + float(random.normal(0, v)), 3 * float(v))) for v in x]


def realised(metric: str, rows: list[Answered]) -> float:
    return float(outcome_losses(metric, [outcome for _, outcome in rows], CLASSES).mean())


@pytest.mark.parametrize("metric", ["error_rate", "log_loss"])
@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_a_classifiers_own_probabilities_tell(metric: str, sharper: float) -> None:
    """Also where they are too sure, on rows that are easier and on rows that are harder than the holdout."""
    estimator = estimator_of(metric, classified(1, 3000, sharper=sharper), CLASSES)
    assert estimator is not None
    for centre in (0.0, 2.0):
        rows = classified(2, 4000, centre=centre, sharper=sharper)

        found = estimate(estimator, rows, CLASSES)

        assert found is not None
        assert (found.method, found.quality.metric, found.quality.rows) == ("CBPE", metric, 4000)
        assert found.quality.value == pytest.approx(realised(metric, rows), rel=0.15, abs=0.01)
        assert found.quality.low < found.quality.value < found.quality.high


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_a_regressions_losses_are_expected_by_its_rows(metric: str) -> None:
    """Larger values are harder, and more of them are expected to be worse."""
    estimator = estimator_of(metric, numbers(1, 3000), (), spread=50.0)
    assert estimator is not None
    usual, harder = (estimate(estimator, numbers(2, 2000, centre=centre), ()) for centre in (5.0, 7.0))

    assert usual is not None
    assert harder is not None
    sign = -1 if metric == "r2" else 1
    assert usual.method == "DLE"
    assert sign * (harder.quality.value - usual.quality.value) > 2 * usual.error
    if metric == "mae":
        assert harder.quality.value == pytest.approx(realised(metric, numbers(2, 2000, centre=7.0)), rel=0.1)
    if metric == "rmse":
        assert usual.quality.value == pytest.approx(realised(metric, numbers(2, 2000)) ** 0.5, rel=0.1)


def test_the_error_is_honest() -> None:
    """Of a hundred estimates of rows like the holdout's, about 95 are within 1.96 of their own errors."""
    within = []
    for seed in range(100):
        estimator = estimator_of("error_rate", classified(seed, 600), CLASSES)
        rows = classified(1000 + seed, 300)
        assert estimator is not None
        found = estimate(estimator, rows, CLASSES)
        assert found is not None
        within.append(abs(found.quality.value - realised("error_rate", rows)) <= 1.96 * found.error)

    assert 88 <= sum(within) <= 100


@pytest.mark.parametrize(
    ("metric", "rows", "classes", "spread"),
    [
        ("error_rate", classified(1, 99), CLASSES, None),
        ("error_rate", [(row, Outcome(one.truth, one.predicted)) for row, one in classified(1, 200)], CLASSES, None),
        ("log_loss", classified(1, 200), (), None),
        ("r2", numbers(1, 200), (), None),
    ],
)
def test_what_cannot_be_estimated(metric: str, rows: list[Answered], classes: Any, spread: float | None) -> None:
    """Few rows, no probabilities, no classes, r2 without the variance of the truth."""
    assert estimator_of(metric, rows, classes, spread) is None


def test_few_answers_are_no_estimate() -> None:
    """Nor are answers whose probabilities were not logged."""
    estimator = estimator_of("error_rate", classified(1, 300), CLASSES)
    assert estimator is not None

    assert estimate(estimator, classified(2, 19), CLASSES) is None
    assert estimate(estimator, [(row, Outcome(None, "no")) for row, _ in classified(2, 50)], CLASSES) is None
    assert msgspec.json.decode(msgspec.json.encode(estimator), type=Estimator) == estimator


def auc_of(rows: list[Answered]) -> float:
    found = outcome_score("auc", [outcome for _, outcome in rows], CLASSES)
    assert found is not None
    return found.value


def harder(rows: list[Answered], seed: int) -> list[Answered]:
    """Rows of which the model knows less, and knows it: all probabilities are closer to a half, and as calibrated."""
    random, made = np.random.default_rng(seed), list[Answered]()
    for row, one in rows:
        assert one.odds is not None
        p = 0.5 + 0.4 * (one.odds[1] - 0.5)
        made.append((row, Outcome(CLASSES[int(random.random() < p)], one.predicted, [1 - p, p])))
    return made


@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_an_auc_is_expected_by_the_probabilities(sharper: float) -> None:
    """Within its own error of the truth, also where probabilities are too sure, and on rows that are harder."""
    estimator = estimator_of("auc", classified(1, 3000, sharper=sharper), CLASSES)
    usual = classified(2, 4000, sharper=sharper)
    assert estimator is not None
    found = estimate(estimator, usual, CLASSES)
    assert found is not None

    assert (found.method, found.quality.metric, found.quality.rows) == ("CBPE", "auc", 4000)
    assert found.quality.value == pytest.approx(auc_of(usual), abs=2.5 * found.error)
    assert found.quality.low < found.quality.value < found.quality.high < 1
    assert 0 < found.error < 0.02
    if sharper == 1.0:
        hard = harder(usual, 3)
        after = estimate(estimator, hard, CLASSES)
        assert after is not None
        assert auc_of(hard) < auc_of(usual) - 0.1
        assert after.quality.value == pytest.approx(auc_of(hard), abs=3 * after.error)


def test_the_error_of_an_auc_is_honest() -> None:
    """Of a hundred estimates nearly all are within 1.96 of their own errors."""
    within = []
    for seed in range(100):
        estimator = estimator_of("auc", classified(seed, 600), CLASSES)
        rows = classified(1000 + seed, 300)
        assert estimator is not None
        found = estimate(estimator, rows, CLASSES)
        assert found is not None
        within.append(abs(found.quality.value - auc_of(rows)) <= 1.96 * found.error)

    assert 88 <= sum(within) <= 100


def test_what_an_auc_cannot_be_estimated_from() -> None:
    """Holdouts of one class or of other classes; strange labels among others are left out; a constant ranks nothing."""
    rows = classified(1, 300)
    one_class = [(row, Outcome("no", one.predicted, one.odds)) for row, one in rows]
    strange = [(row, Outcome("maybe", one.predicted, one.odds)) for row, one in rows]
    constant = [(row, Outcome(None, "no", [1.0, 0.0])) for row, _ in rows]
    estimator = estimator_of("auc", rows, CLASSES)
    assert estimator is not None

    assert estimator_of("auc", one_class, CLASSES) is None
    assert estimator_of("auc", strange, CLASSES) is None
    assert estimator_of("auc", [*rows, *strange], CLASSES) == estimator
    found = estimate(estimator, constant, CLASSES)
    assert found is not None
    assert found.quality.value == pytest.approx(0.5)
