"""What the sequential tests are given for an AUC: pairs of unlike rows, the same ones however the rows come."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlauto.errors import MeasurementError
from mlauto.monitoring.comparison import Outcome, outcome_losses
from mlauto.monitoring.watch.pairs import MOST_WAITING, losses_to_test
from mlauto.monitoring.watch.record import Unpaired

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


def test_a_pair_is_a_row_and_one_that_waits_for_its_class() -> None:
    """Losses are 1 for a wrong order, 1/2 for a tie; who is left over waits."""
    unpaired, losses = in_parts([row(True, 0.9), row(True, 0.2), row(False, 0.2), row(False, 0.95), row(False, 0.6)])

    assert losses == [0.0, 1.0]
    assert unpaired == Unpaired(positive=False, scores=(0.6,), pairs=2)
    assert in_parts([row(False, 0.4), row(True, 0.4)]) == (Unpaired(pairs=1), [0.5])
    assert in_parts([row(False, 0.4), row(True, 0.3)]) == (Unpaired(pairs=1), [1.0])


def test_partners_are_of_all_that_wait() -> None:
    """Near and far alike: the first hundred of two hundred that wait are as many of the newer as of the older ones."""
    unpaired, _ = losses_to_test("auc", Unpaired(), [row(False, at / 1000) for at in range(200)], CLASSES)
    left, losses = losses_to_test("auc", unpaired, [row(True, 0.9)] * 100, CLASSES)

    assert set(losses.tolist()) == {0.0}
    assert len(left.scores) == 100
    assert 40 <= sum(score < 0.1 for score in left.scores) <= 60
    assert np.mean(left.scores) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("cycle", [(1.0, 100.0), (3.0, 2400.0), (2.0, 240.0)])
def test_what_changes_by_the_hour_is_in_pairs_as_in_the_auc(cycle: tuple[float, float]) -> None:
    """Much of an AUC may be that it tells times apart: pairs of neighbours would have another one, by up to 0.05."""
    reach, period = cycle
    logits = -1 + reach * np.sin(2 * np.pi * np.arange(12_000) / period) + DICE.normal(0, 1.0, 12_000)
    odds = 1 / (1 + np.exp(-logits))
    positive = DICE.random(12_000) < odds
    losses = in_parts([row(bool(y), float(p)) for y, p in zip(positive, odds, strict=True)])[1]
    windows = [roc_auc_score(positive[at : at + 2400], odds[at : at + 2400]) for at in range(0, 12_000, 2400)]

    assert 1 - np.mean(losses) == pytest.approx(np.mean(windows), abs=0.015)


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
    assert in_parts([*outcomes, row(True, 0.7995)])[1] == [1.0]  # 0.8 and above wait


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
