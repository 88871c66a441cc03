"""AUC by rows: scikit-learn's value, DeLong's error against the spread of resampled data, and honest bounds."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mlauto.ranking import Z, least_auc, pseudo_values

DICE = np.random.default_rng(1)
Floats = NDArray[np.float64]


def drawn(rows: int, share: float = 0.3, apart: float = 1.2) -> tuple[Floats, Floats]:
    """Rows of both classes, whose scores are normal around two means."""
    positive = (DICE.random(rows) < share).astype(float)
    return positive, DICE.normal(apart * positive, 1.0)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_mean_is_scikit_learns_with_ties_or_without(levels: int) -> None:
    """Over a hundred draws of any balance, some of few rows; 1 - AUC, as of a loss."""
    for _ in range(100):
        positive = (DICE.random(DICE.integers(3, 200)) < DICE.uniform(0.05, 0.95)).astype(float)
        positive[:2] = 0.0, 1.0
        scores = DICE.integers(0, levels, len(positive)) / levels

        found = pseudo_values(positive, scores)

        assert len(found) == len(positive)
        assert found.mean() == pytest.approx(1 - roc_auc_score(positive, scores), abs=1e-12)


@pytest.mark.parametrize(("rows", "share", "apart"), [(300, 0.5, 1.2), (600, 0.1, 1.2), (300, 0.3, 0.0)])
def test_the_standard_error_is_the_spread_over_new_data(rows: int, share: float, apart: float) -> None:
    """Within 10 %: the deviation of 1,500 samples' AUCs, beside the mean error that each claims."""
    values, claimed = [], []
    for _ in range(1500):
        found = pseudo_values(*drawn(rows, share, apart))
        values.append(found.mean())
        claimed.append(found.std(ddof=1) / np.sqrt(rows))

    assert np.mean(claimed) == pytest.approx(np.std(values), rel=0.10)


def test_differences_are_the_paired_test_of_two_models() -> None:
    """Two scores of the same rows that have much in common: their difference varies as its pseudo-values say."""
    values, claimed = [], []
    for _ in range(1500):
        positive, first = drawn(300)
        found = pseudo_values(positive, first + DICE.normal(0, 0.4, 300)) - pseudo_values(positive, first)
        values.append(found.mean())
        claimed.append(found.std(ddof=1) / np.sqrt(300))

    assert np.mean(values) > 0
    assert np.mean(claimed) == pytest.approx(np.std(values), rel=0.10)


@pytest.mark.parametrize("positive", [np.zeros(5), np.ones(5), np.empty(0)])
def test_one_class_has_no_auc(positive: Floats) -> None:
    """Nor has nothing at all."""
    assert len(pseudo_values(positive, np.arange(float(len(positive))))) == 0


def test_probabilities_of_being_positive_give_the_auc_that_is_expected() -> None:
    """The mean over labels that are drawn by these probabilities; certain ones give the AUC itself."""
    odds = DICE.uniform(0, 1, 2000)
    scores = odds + DICE.normal(0, 0.3, 2000)
    drawn_aucs = [roc_auc_score(DICE.random(2000) < odds, scores) for _ in range(200)]

    assert 1 - pseudo_values(odds, scores).mean() == pytest.approx(np.mean(drawn_aucs), abs=0.002)


def test_nothing_depends_on_the_scale_of_scores() -> None:
    """Only their order counts."""
    positive, scores = drawn(200)

    assert pseudo_values(positive, np.exp(scores)).tolist() == pseudo_values(positive, scores).tolist()


def test_a_perfect_model_is_not_certain() -> None:
    """The bound is below 1, approaches it with rows, and is left alone where the rows say less already."""
    bounds = [least_auc(1.0, rows) for rows in (1, 10, 100, 10_000)]

    assert bounds == sorted(bounds)
    assert bounds[0] == pytest.approx(1 / (1 + Z**2))
    assert 0.7 < bounds[1] < bounds[2] < bounds[3] < 1
    assert bounds[3] > 0.999
    assert least_auc(0.6, 100) == 0.6
    assert least_auc(-0.2, 100) == 0.0
