"""What the sequential tests are given for an AUC: pairs of unlike rows, the same ones however the rows come."""

from collections.abc import Sequence

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.pairs import MOST_WAITING, losses_to_test
from mlauto.monitoring.watchrecord import Unpaired

CLASSES = ("no", "yes")
DICE = np.random.default_rng(5)


def drawn(rows: int, share: float = 0.3, apart: float = 1.0) -> list[Outcome]:
    """Rows whose logits are normal around two means."""
    positive = DICE.random(rows) < share
    scores = 1 / (1 + np.exp(-DICE.normal(apart * positive, 1.0)))
    return [row(bool(y), float(p)) for y, p in zip(positive, scores, strict=True)]


def row(positive: bool, score: float) -> Outcome:
    return Outcome(CLASSES[positive], CLASSES[score > 0.5], [1 - score, score])


def in_parts(outcomes: Sequence[Outcome], *edges: int) -> tuple[Unpaired, list[float]]:
    """All losses, of calls that begin at those rows."""
    unpaired, losses = Unpaired(), list[float]()
    for begin, end in zip((0, *edges), (*edges, len(outcomes)), strict=True):
        unpaired, found = losses_to_test("auc", unpaired, outcomes[begin:end], CLASSES)
        losses += found.tolist()
    return unpaired, losses


def test_the_mean_is_one_minus_the_auc() -> None:
    """Unbiased: over 300 draws of 200 rows the means' mean is the true value, the normal distribution's 0.7602."""
    means = [np.mean(in_parts(drawn(200))[1]) for _ in range(300)]

    assert np.mean(means) == pytest.approx(1 - 0.7602, abs=3 * float(np.std(means)) / np.sqrt(300))


def test_the_pairs_are_the_same_however_the_rows_come() -> None:
    """At once, in portions of any size, or one by one; with nothing in between."""
    outcomes = drawn(300)
    at_once = in_parts(outcomes)

    assert len(at_once[1]) > 80
    assert in_parts(outcomes, 7, 7, 150) == at_once
    assert in_parts(outcomes, *range(1, 300)) == at_once


def test_a_row_is_in_one_pair_with_the_newest_that_waits() -> None:
    """Losses are 1 for a wrong order, 1/2 for a tie; who is left over waits."""
    unpaired, losses = in_parts([row(True, 0.9), row(True, 0.2), row(False, 0.2), row(False, 0.95), row(False, 0.6)])

    assert losses == [0.5, 1.0]
    assert unpaired == Unpaired(positive=False, scores=(0.6,))
    assert in_parts([row(False, 0.1), row(True, 0.2)]) == (Unpaired(positive=False, scores=()), [0.0])


def test_each_row_is_in_one_pair_at_most() -> None:
    """Pairs and those that wait are all rows, while few enough wait."""
    for share in (0.3, 0.5, 0.7):
        outcomes = drawn(300, share)
        unpaired, losses = in_parts(outcomes)

        positives = sum(one.truth == "yes" for one in outcomes)
        assert len(losses) == min(positives, 300 - positives)
        assert 2 * len(losses) + len(unpaired.scores) == 300
        assert unpaired.positive == (positives > 150)


def test_of_those_that_wait_the_newest_are_remembered() -> None:
    """200: a class that is rare is paired with rows of its own time."""
    outcomes = [row(False, at / 1000) for at in range(1000)]
    unpaired, losses = in_parts(outcomes, 150, 900)

    assert losses == []
    assert unpaired.scores == tuple(at / 1000 for at in range(1000 - MOST_WAITING, 1000))
    assert in_parts([*outcomes, row(True, 0.9985)])[1] == [1.0]


def test_two_versions_have_the_same_pairs() -> None:
    """Whatever they say, as the labels alone decide: one that is right where the other is wrong differs by one."""
    truth = [one.truth == "yes" for one in drawn(100)]
    right, wrong = ([row(y, 0.9 if y == good else 0.1) for y in truth] for good in (True, False))
    (first, none), (second, every) = in_parts(right), in_parts(wrong)

    assert (set(none), set(every), len(none)) == ({0.0}, {1.0}, len(every))
    assert (first.positive, len(first.scores)) == (second.positive, len(second.scores))


def test_other_metrics_are_tested_row_by_row() -> None:
    """Their losses pass unchanged, and nobody waits."""
    outcomes, waiting = drawn(20), Unpaired(positive=True, scores=(0.5,))
    for metric in ("error_rate", "log_loss"):
        unpaired, found = losses_to_test(metric, waiting, outcomes, CLASSES)
        assert unpaired is waiting
        assert found.tolist() == outcome_losses(metric, outcomes, CLASSES).tolist()


@pytest.mark.parametrize("metric", ["auc", "mae", "log_loss"])
def test_no_rows_are_no_losses(metric: str) -> None:
    """Even where the classes are not known."""
    waiting = Unpaired(positive=True, scores=(0.5,))
    unpaired, found = losses_to_test(metric, waiting, [], ())

    assert (unpaired, len(found)) == (waiting, 0)


def test_what_has_other_than_two_classes_is_an_error() -> None:
    """Said with what to do; rows of an unknown class are in no pair."""
    with pytest.raises(MeasurementError, match="use metric log_loss"):
        losses_to_test("auc", Unpaired(), drawn(5), ("a", "b", "c"))
    other = Outcome("maybe", "yes", [0.5, 0.5])
    assert in_parts([row(True, 0.9), other, row(False, 0.1)])[1] == [0.0]
