"""What an average is still off by, how far that is believed, and what one batch says of both."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from mlauto.errors import TrainingError
from mlauto.training.correcting import (
    NONE,
    Correction,
    Tried,
    corrected_by,
    corrects,
    first_belief,
    second_wins,
    threshold_of,
    tried,
)

Floats = NDArray[np.float64]
BETTER, WORSE, EVEN = Tried(1.0, 0.9, 2.0), Tried(0.9, 1.0, 2.0), Tried(1.0, 1.0, 2.0)


def rate(share: float, rows: int) -> Floats:
    """Truths of which that share is the second class."""
    return (np.arange(rows) < share * rows).astype(np.float64)


def asked_for(odds: float, share: float, rows: int) -> float:
    """The correction that a batch asks for in which all rows were given the same probability."""
    return tried("error_rate", np.full(rows, odds), rate(share, rows), 0.0).best


@pytest.mark.parametrize(
    ("metric", "without", "moved", "best"),
    [("mae", 4 / 3, 1.0, 1.0 * 3 / 103), ("rmse", 10 / 3, 5 / 3, 4 / 3 * 3 / 103)],
)
def test_numbers_are_tried_with_and_without_their_offset(
    metric: str, without: float, moved: float, best: float
) -> None:
    """Errors of -1, 0 and -3: the batch asks for their median or mean, less as a hundred rows of no error would."""
    found = tried(metric, np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 6.0]), 1.0)

    assert found == pytest.approx(Tried(without, moved, best))


@pytest.mark.parametrize("metric", ["mae", "rmse"])
@pytest.mark.parametrize(("rows", "share"), [(1, 1 / 101), (100, 0.5), (9900, 0.99)])
def test_what_a_batch_of_numbers_asks_for_grows_with_its_rows(metric: str, rows: int, share: float) -> None:
    """All are off by 10: a hundred rows ask for half of it."""
    found = tried(metric, np.zeros(rows), np.full(rows, 10.0), 0.0)

    assert found.best == pytest.approx(10 * share)
    assert found.without == found.moved


def test_labels_are_tried_with_and_without_their_offset() -> None:
    """Moved by log-odds of 1 the second class is predicted from 27 % on."""
    odds, truth = np.array([0.4, 0.6, 0.2]), np.array([1.0, 1.0, 0.0])

    found = tried("error_rate", odds, truth, 1.0)

    assert (found.without, found.moved) == (pytest.approx(1 / 3), 0.0)
    assert found.best > 0


@pytest.mark.parametrize(("odds", "share"), [(0.2, 0.6), (0.9, 0.5), (0.5, 0.05)])
def test_a_large_batch_asks_for_all_that_its_base_rate_has_moved(odds: float, share: float) -> None:
    """The difference in log-odds, in its own direction, but for a hundred rows' doubt."""
    assert asked_for(odds, share, 200_000) == pytest.approx(logit(share) - logit(odds), rel=0.02)


def test_few_rows_ask_for_little() -> None:
    """Ten rows beside a hundred's doubt; a right base rate asks for nothing."""
    few, some, many = (asked_for(0.2, 0.6, rows) for rows in (10, 100, 1000))

    assert 0 < few < some < many < logit(0.6) - logit(0.2)
    assert few == pytest.approx(10 * 0.4 / 100, rel=0.05)
    assert asked_for(0.2, 0.2, 1000) == pytest.approx(0.0, abs=1e-6)


def test_classes_are_treated_alike() -> None:
    """With the classes swapped a batch asks for the opposite, and loses the same."""
    random = np.random.default_rng(0)
    odds = random.random(300)
    truth = (random.random(300) < odds**2).astype(np.float64)

    one, other = tried("error_rate", odds, truth, -0.7), tried("error_rate", 1 - odds, 1 - truth, 0.7)

    assert one.best < -0.1
    assert (other.without, other.moved) == (one.without, one.moved)
    assert other.best == pytest.approx(-one.best, abs=1e-6)


def test_what_a_batch_asks_for_helps_that_batch() -> None:
    """Probabilities that are right but for the base rate are wrong less often once they are moved."""
    random = np.random.default_rng(1)
    scores = random.normal(0, 1.5, 5000)
    truth = (random.random(5000) < 1 / (1 + np.exp(-scores - 1.5))).astype(np.float64)
    odds = 1 / (1 + np.exp(-scores))

    best = tried("error_rate", odds, truth, 0.0).best
    found = tried("error_rate", odds, truth, best)

    assert 1.2 < best < 1.5
    assert found.moved < found.without - 0.05


def test_certain_answers_ask_for_something_finite() -> None:
    """Probabilities of 0 and 1 that were all wrong."""
    found = tried("error_rate", np.zeros(1000), np.ones(1000), 0.0)

    assert found.without == 1.0
    assert 2.0 < found.best < 10.0


@pytest.mark.parametrize("amount", [-3.0, -0.2, 1e-9, 0.2, 3.0])
def test_threshold_and_moved_odds_agree(amount: float) -> None:
    """To move the log-odds is to move the threshold, and what is exactly on it is the second class."""
    odds = np.random.default_rng(2).random(2000)
    threshold = threshold_of(amount)

    assert logit(threshold) == pytest.approx(-amount)
    assert np.array_equal(second_wins(odds, amount), logit(odds) + amount > 0)
    assert second_wins(
        np.array([np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1)]), amount
    ).tolist() == [
        False,
        True,
        True,
    ]


def test_the_first_class_wins_a_tie_that_is_not_moved() -> None:
    """As the average itself does it, which takes the first of the largest."""
    assert threshold_of(0.0) == 0.5
    assert second_wins(np.array([0.5, np.nextafter(0.5, 1)]), 0.0).tolist() == [False, True]


def test_before_the_first_batch_there_is_no_correction() -> None:
    """Neither an offset nor any belief in one."""
    assert corrected_by([]) == NONE == Correction(offset=0.0, belief=0.0)
    assert NONE.amount == 0.0


def test_little_is_believed_at_first() -> None:
    """A tenth where labels are late, while nothing was better with or without; losses count relative to themselves."""
    assert [first_belief(lag) for lag in (0, 1, 5)] == [0.3, 0.1, 0.1]
    assert corrected_by([EVEN], first_belief(0)).belief == pytest.approx(0.3)
    assert corrected_by([BETTER], 0.3).belief > corrected_by([BETTER], 0.1).belief > 0.1
    assert corrected_by([EVEN]).belief == pytest.approx(0.1)
    assert corrected_by([EVEN]).amount == pytest.approx(0.2)
    in_cents = [Tried(100 * without, 100 * moved, best) for without, moved, best in (BETTER, WORSE, BETTER)]
    assert corrected_by(in_cents).belief == pytest.approx(corrected_by([BETTER, WORSE, BETTER]).belief)


def test_belief_grows_with_what_helps() -> None:
    """Batch by batch, to nearly all of it."""
    beliefs = [corrected_by([BETTER] * count).belief for count in range(1, 31)]

    assert beliefs == sorted(beliefs)
    assert beliefs[0] > 0.1
    assert beliefs[-1] > 0.99


def test_belief_is_lost_for_good_where_it_hurts() -> None:
    """After forty batches that it spoiled, five that it helped change next to nothing."""
    beliefs = [corrected_by([WORSE] * count).belief for count in range(1, 41)]

    assert beliefs == sorted(beliefs, reverse=True)
    assert beliefs[-1] < 1e-4
    assert corrected_by([WORSE] * 40 + [BETTER] * 5).belief < 1e-4
    assert corrected_by([BETTER] * 5 + [WORSE] * 40).belief == pytest.approx(
        corrected_by([WORSE] * 40 + [BETTER] * 5).belief
    )


def test_the_offset_is_what_the_newest_batch_asks_for() -> None:
    """However much was asked for before."""
    found = corrected_by([Tried(1.0, 0.8, 50.0), Tried(1.0, 0.8, -3.0)])

    assert found.offset == -3.0
    assert found.amount == found.belief * -3.0
    assert 0.1 < found.belief < 1.0


def test_plain_rows_are_batches_too() -> None:
    """As a record has them."""
    assert corrected_by([(1.0, 0.9, 2.0)]) == corrected_by([BETTER])


@pytest.mark.parametrize(
    ("metric", "classes", "can"),
    [
        ("mae", (), True),
        ("rmse", np.empty(0), True),
        ("error_rate", ("no", "yes"), True),
        ("error_rate", np.array([False, True]), True),
        ("error_rate", ("only",), False),
        ("error_rate", ("a", "b", "c"), False),
        ("log_loss", ("no", "yes"), False),
        ("auc", ("no", "yes"), False),
    ],
)
def test_what_is_corrected(metric: str, classes: Sequence[Any], can: bool) -> None:
    """Numbers, and two classes that are judged by their labels."""
    assert corrects(metric, classes) is can


@pytest.mark.parametrize("metric", ["mae", "rmse", "error_rate"])
def test_answers_that_are_no_numbers_are_refused(metric: str) -> None:
    """One is enough."""
    with pytest.raises(TrainingError, match="answers to a labelled batch are not finite"):
        tried(metric, np.array([math.nan, 0.2, 0.3]), np.array([1.0, 0.0, 1.0]), 0.1)


@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_numbers_without_measure_are_refused(metric: str) -> None:
    """They would move every later answer."""
    with pytest.raises(TrainingError, match="not finite"):
        tried(metric, np.array([math.inf, 0.2, 0.3]), np.array([1.0, 0.0, 1.0]), 0.1)


def test_one_lucky_batch_decides_nothing_for_long() -> None:
    """Fifty rows without a single error beside one: what hurts by a quarter in twenty batches undoes it."""
    lucky, bad = Tried(0.02, 0.0, 1.0), Tried(0.2, 0.25, 1.0)

    assert corrected_by([lucky]).belief < 0.7
    assert corrected_by([lucky, *[bad] * 20]).belief < 1e-4
    assert corrected_by([Tried(0.0, 0.02, 1.0), *[Tried(0.25, 0.2, 1.0)] * 20]).belief > 0.99
