"""The difference of two versions' losses: its value, its sign, and an interval that keeps its promise."""

import math

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.comparison import Outcome, paired_difference, unpaired_difference
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
