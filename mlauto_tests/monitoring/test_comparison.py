"""The difference of two versions' losses: its value, its sign, and an interval that keeps its promise."""

import math

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.comparison import (
    Outcome,
    outcome_losses,
    outcome_score,
    paired_difference,
    unpaired_difference,
)
from mlauto.monitoring.scores import score
from mlauto.records import Score

RANDOM = np.random.default_rng(7)
Pairs = list[tuple[Outcome, Outcome]]


def numbers(rows: int, worse: float, noise: float = 0.2) -> Pairs:
    """Rows of very different difficulty; the first version's errors are `worse` times the second's."""
    truth = RANDOM.normal(0, 10, rows)
    second = RANDOM.normal(0, 1, rows) * RANDOM.choice([0.1, 5.0], rows)
    first = worse * second + RANDOM.normal(0, noise, rows)
    return [
        (Outcome(float(t), float(t + a)), Outcome(float(t), float(t + b)))
        for t, a, b in zip(truth, first, second, strict=True)
    ]


def of_side(metric: str, pairs: Pairs, side: int) -> Score:
    found = score(metric, [p[side].truth for p in pairs], [p[side].predicted for p in pairs])
    assert found is not None
    return found


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_the_difference_is_that_of_the_two_scores(metric: str) -> None:
    """In the metric's own units, and above 0 where the first is worse, also for r2."""
    pairs = numbers(400, worse=1.5)
    found = paired_difference(metric, pairs)
    sign = -1 if metric == "r2" else 1

    assert found is not None
    assert found.value == pytest.approx(sign * (of_side(metric, pairs, 0).value - of_side(metric, pairs, 1).value))
    assert 0 < found.low < found.value < found.high
    assert (found.metric, found.rows) == (metric, 400)


def test_pairs_prove_what_separate_rows_do_not() -> None:
    """What is hard about a row is hard for both: the paired interval is several times narrower."""
    pairs = numbers(400, worse=1.1)
    paired = paired_difference("mae", pairs)
    unpaired = unpaired_difference(of_side("mae", pairs, 0), of_side("mae", pairs, 1))

    assert paired is not None
    assert unpaired is not None
    assert unpaired.value == pytest.approx(paired.value)
    assert paired.low > 0 > unpaired.low
    assert unpaired.high - unpaired.low > 4 * (paired.high - paired.low)


def test_intervals_cover_the_truth() -> None:
    """Of 400 comparisons of equal versions, about one in twenty is wrongly significant, and no more than one in ten."""
    wrong = {"paired": 0, "unpaired": 0}
    for _ in range(400):
        truth = RANDOM.normal(0, 1, 60)
        first, second = (truth + RANDOM.normal(0, 1, 60) for _ in range(2))
        pairs = [
            (Outcome(float(t), float(a)), Outcome(float(t), float(b)))
            for t, a, b in zip(truth, first, second, strict=True)
        ]
        for name, found in (
            ("paired", paired_difference("rmse", pairs)),
            ("unpaired", unpaired_difference(of_side("rmse", pairs, 0), of_side("rmse", pairs, 1))),
        ):
            assert found is not None
            wrong[name] += not found.low <= 0 <= found.high

    assert all(count <= 40 for count in wrong.values()), wrong


def test_classes_of_any_writing() -> None:
    """Few disagreements prove nothing, also when all of them go one way; many do."""
    same, worse = (Outcome("1", 1), Outcome(1, "1")), (Outcome("a", "b"), Outcome("a", "a"))
    none = paired_difference("error_rate", [same] * 30)
    few = paired_difference("error_rate", [same] * 27 + [worse] * 3)
    many = paired_difference("error_rate", ([same] * 2 + [worse]) * 10)

    assert none is not None
    assert few is not None
    assert many is not None
    assert none.value == 0
    assert none.low < 0 < none.high
    assert few.low < 0 < few.value
    assert many.low > 0


def test_probabilities_by_class() -> None:
    """log_loss in the order of the classes; without the classes it is an error that says what to do."""
    pairs = [(Outcome("b", "b", [0.5, 0.5]), Outcome("b", "b", [0.25, 0.75]))] * 30
    found = paired_difference("log_loss", pairs, classes=("a", "b"))

    assert found is not None
    assert found.value == pytest.approx(math.log(0.75) - math.log(0.5))
    with pytest.raises(MeasurementError, match="log_loss needs"):
        paired_difference("log_loss", pairs)


def test_r2_of_separate_rows_has_its_sign_turned() -> None:
    """Higher is better there, and a difference above 0 is a loss all the same."""
    better = Score(metric="r2", value=0.9, low=0.85, high=0.92, rows=50)
    worse = Score(metric="r2", value=0.5, low=0.4, high=0.6, rows=40)
    found = unpaired_difference(worse, better)
    opposite = unpaired_difference(better, worse)

    assert found is not None
    assert opposite is not None
    assert found.value == pytest.approx(0.4)
    assert found.low == pytest.approx(0.4 - math.hypot(0.05, 0.1))
    assert (opposite.value, opposite.low, opposite.high) == (-found.value, -found.high, -found.low)
    assert found.rows == 40


def test_too_little_gives_no_verdict() -> None:
    """Fewer than 20 rows, a missing side, or a metric that is undefined on them."""
    pairs = numbers(19, worse=9.0)
    constant = [(Outcome(1.0, 2.0), Outcome(1.0, 1.5))] * 30

    assert paired_difference("mae", pairs) is None
    assert paired_difference("r2", constant) is None
    assert paired_difference("rmse", [(Outcome(1.0, 1.0), Outcome(1.0, 1.0))] * 30) is not None
    assert unpaired_difference(of_side("mae", pairs, 0), of_side("mae", pairs, 1)) is None
    assert unpaired_difference(None, of_side("mae", pairs, 1)) is None


def test_which_rows_can_be_compared() -> None:
    """Both values must be there, and probabilities where the metric needs them."""
    assert Outcome(1.0, 2.0).usable("mae")
    assert not Outcome("a", 2.0).usable("mae")
    assert not Outcome(None, "a").usable("error_rate")
    assert not Outcome("a", "a").usable("log_loss")
    assert Outcome("a", "a", [0.5, 0.5]).usable("log_loss")
    assert Outcome("a", "a", [0.5, 0.5]).usable("auc")
    assert not Outcome("a", "a").usable("auc")
    assert not Outcome("a", "a", [0.2, 0.3, 0.5]).usable("auc")
    assert not Outcome(None, "a", [0.5, 0.5]).usable("auc")


CLASSES = ("no", "yes")


def ranking(rows: int, noise: tuple[float, float], share: float = 0.3) -> Pairs:
    """Rows that both versions order by the same evidence, each with noise of its own."""
    positive = RANDOM.random(rows) < share
    evidence = RANDOM.normal(1.5 * positive, 1.0)
    odds = [1 / (1 + np.exp(-(evidence + RANDOM.normal(0, one, rows)))) for one in noise]
    return [
        (Outcome(CLASSES[int(y)], "no", [1 - a, a]), Outcome(CLASSES[int(y)], "no", [1 - b, b]))
        for y, a, b in zip(positive, *(one.tolist() for one in odds), strict=True)
    ]


def auc_of(pairs: Pairs, side: int) -> Score:
    found = outcome_score("auc", [pair[side] for pair in pairs], CLASSES)
    assert found is not None
    return found


def test_a_difference_of_aucs_is_a_loss_above_zero() -> None:
    """That of the two scores, turned so that the first is worse above 0; pairs prove what separate rows do not."""
    pairs = ranking(600, (0.8, 0.1))
    paired = paired_difference("auc", pairs, CLASSES)
    unpaired = unpaired_difference(auc_of(pairs, 0), auc_of(pairs, 1))

    assert paired is not None
    assert unpaired is not None
    assert paired.value == pytest.approx(auc_of(pairs, 1).value - auc_of(pairs, 0).value)
    assert unpaired.value == pytest.approx(paired.value)
    assert paired.low > 0
    assert (paired.metric, paired.rows) == ("auc", 600)
    assert unpaired.high - unpaired.low > 1.2 * (paired.high - paired.low)


def test_intervals_of_auc_differences_cover_the_truth() -> None:
    """Of 400 comparisons of equal versions no more than one in fifteen is wrongly significant."""
    found = [paired_difference("auc", ranking(200, (0.5, 0.5)), CLASSES) for _ in range(400)]

    assert sum(one is not None and not one.low <= 0 <= one.high for one in found) <= 27
    assert None not in found


def test_two_perfect_orders_prove_little() -> None:
    """No disagreement on three rows of the rarer class leaves much open, on three hundred little."""
    few, many = (
        paired_difference(
            "auc",
            [(Outcome("yes", "yes", [0.1, 0.9]),) * 2] * n + [(Outcome("no", "no", [0.9, 0.1]),) * 2] * n,
            CLASSES,
        )
        for n in (10, 300)
    )
    rare = paired_difference(
        "auc", [(Outcome("yes", "yes", [0, 1]),) * 2] * 3 + [(Outcome("no", "no", [1, 0]),) * 2] * 300, CLASSES
    )

    assert few is not None
    assert many is not None
    assert rare is not None
    assert few.value == many.value == rare.value == 0
    assert rare.high > 0.3 > few.high > 0.1 > 0.01 > many.high > 0


def test_rows_of_other_classes_are_in_no_comparison() -> None:
    """Nor in the count of rows; without both classes, or with too few of their rows, there is no verdict."""
    pairs = ranking(100, (0.5, 0.5))
    strange = (Outcome("maybe", "no", [0.5, 0.5]), Outcome("maybe", "no", [0.5, 0.5]))
    one_class = [pair for pair in pairs if pair[0].truth == "no"]

    assert paired_difference("auc", [*pairs, *[strange] * 9], CLASSES) == paired_difference("auc", pairs, CLASSES)
    assert len(one_class) > 40
    assert paired_difference("auc", one_class, CLASSES) is None
    assert paired_difference("auc", [*pairs[:15], *[strange] * 50], CLASSES) is None
    assert outcome_score("auc", [pair[0] for pair in one_class], CLASSES) is None
    assert len(outcome_losses("auc", [pair[0] for pair in one_class], CLASSES)) == 0
    with pytest.raises(MeasurementError, match="use metric log_loss"):
        paired_difference("auc", pairs, ("a", "b", "c"))
