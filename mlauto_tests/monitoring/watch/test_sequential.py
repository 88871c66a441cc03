"""The sequential test: what it proves from how many rows, that it hardly ever errs, and that it forgets nothing."""

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from mlauto.monitoring.watch.record import Tally
from mlauto.monitoring.watch.sequential import Evaluation, added, evaluated
from mlauto.proof import THRESHOLD

STEP = 20


def losses(random: np.random.Generator, rows: int, *, worse: float, alike: float = 0.0) -> tuple[Any, Any]:
    """Absolute errors of two versions on the same rows, the new one's larger by that share."""
    common, own, other = (
        lfilter([np.sqrt(1 - alike**2)], [1.0, -alike], random.normal(size=rows + 100))[100:] for _ in range(3)
    )
    return np.abs(0.8 * common + 0.6 * own) * (1 + worse), np.abs(0.8 * common + 0.6 * other)


def proven(new: Any, old: Any, metric: str = "mae") -> tuple[str, int]:
    """The first verdict when it is looked at after every 20 rows, and the rows that it took."""
    tally = Tally()
    for at in range(0, len(new), STEP):
        tally = added(tally, metric, new[at : at + STEP], old[at : at + STEP])
        found = evaluated(tally, metric)
        if found is not None and found.e_value >= THRESHOLD:
            return ("worse" if found.difference > found.allowed else "not worse"), tally.rows
    return "open", len(new)


def of(new: Any, old: Any, metric: str = "mae") -> Evaluation:
    found = evaluated(added(Tally(), metric, new, old), metric)
    assert found is not None
    return found


def test_a_large_loss_is_proven_from_few_rows() -> None:
    """Three times the errors, alternating: 60 labels are enough; so are they for what is much better."""
    truth = np.arange(60.0)
    bad, good = 3.0 + truth % 2, np.full(60, 0.1)

    assert proven(bad, good)[0] == "worse"
    assert proven(good, bad)[0] == "not worse"


@pytest.mark.parametrize(("alike", "worst"), [(0.0, 2), (0.5, 2), (0.9, 3)])
def test_looking_after_every_block_is_no_false_alarm(alike: float, worst: int) -> None:
    """Of 60 versions that are worse by just what is allowed hardly one is proven so; 2,000 rows, independent or not."""
    random = np.random.default_rng(11)
    verdicts = [proven(*losses(random, 2000, worse=0.02, alike=alike))[0] for _ in range(60)]

    assert verdicts.count("worse") + verdicts.count("not worse") <= worst


def test_a_loss_is_found() -> None:
    """30 % larger errors, in nearly every case within 1,500 labels."""
    random = np.random.default_rng(12)
    verdicts = [proven(*losses(random, 1500, worse=0.3)) for _ in range(20)]

    assert [verdict for verdict, _ in verdicts].count("worse") >= 19
    assert np.median([rows for _, rows in verdicts]) < 600


def test_a_trivial_loss_is_not_rolled_back_however_many_rows_prove_it() -> None:
    """0.2 percentage points of a million rows are certain, and allowed; it is even proven that they are."""
    random = np.random.default_rng(13)
    new, old = (random.random(1_000_000) < rate for rate in (0.102, 0.1))
    found = of(new, old, "error_rate")

    assert found.allowed == 0.005
    assert found.high is not None
    assert found.low is not None
    assert 0 < found.low < found.difference < found.high < 0.005
    assert found.e_value >= THRESHOLD


def test_a_proof_and_the_bounds_say_the_same() -> None:
    """The e-value reaches its threshold just when the confidence sequence leaves what is allowed."""
    random = np.random.default_rng(14)
    seen = set()
    for worse in (-0.5, -0.2, 0.0, 0.02, 0.1, 0.3, 0.6):
        for rows in (60, 100, 300, 1000):
            found = of(*losses(random, rows, worse=worse))
            excluded = found.low is not None and not found.low <= found.allowed <= (found.high or 0)
            seen.add(excluded)
            assert (found.e_value >= THRESHOLD) == excluded

    assert seen == {True, False}


def test_the_bounds_hold_the_truth_at_all_looks() -> None:
    """Of 60 streams hardly one leaves them ever."""
    random = np.random.default_rng(15)
    left = 0
    for _ in range(60):
        mine, theirs = losses(random, 1000, worse=0.0)
        truth = 0.25
        tally, outside = Tally(), False
        for at in range(0, 1000, STEP):
            tally = added(tally, "mae", mine[at : at + STEP] + truth, theirs[at : at + STEP])
            found = evaluated(tally, "mae")
            if found is not None and found.low is not None and found.high is not None:
                outside = outside or not found.low <= truth <= found.high
        left += outside

    assert left <= 2


def test_it_does_not_matter_in_which_portions_rows_come() -> None:
    """One by one, all at once, or in requests of several rows: the same tally, and so the same verdict."""
    random = np.random.default_rng(16)
    new, old = losses(random, 500, worse=0.1)
    whole, portions, at = added(Tally(), "mae", new, old), Tally(), 0
    while at < 500:
        size = int(random.integers(1, 40))
        portions = added(portions, "mae", new[at : at + size], old[at : at + size])
        at += size

    assert [rows for rows, _ in portions.blocks] == [rows for rows, _ in whole.blocks]
    assert portions.rows == whole.rows == 500
    assert [excess for _, excess in portions.blocks] == pytest.approx([excess for _, excess in whole.blocks])
    assert added(whole, "mae", [], []) is whole


def test_few_rows_and_no_errors_prove_nothing() -> None:
    """No errors in 100 rows are no proof of half a point; in 2,000 they are. Two perfect regressors prove nothing."""
    none = np.zeros(2000)

    assert evaluated(added(Tally(), "mae", [9.0] * 49, [1.0] * 49), "mae") is None
    assert evaluated(added(Tally(), "mae", none, none), "mae") is None
    assert proven(none[:100], none[:100], "error_rate")[0] == "open"
    assert proven(none, none, "error_rate")[0] == "not worse"


def test_a_few_rows_that_are_very_bad_are_not_taken_for_certain() -> None:
    """A version that is slightly better on most rows and rarely very much worse is not settled by the calm ones."""
    old = np.ones(200)
    new = np.full(200, 0.97)
    new[[3, 90]] = 40.0

    assert of(new, old).e_value < THRESHOLD


def test_what_is_allowed_is_in_units_of_the_compared_loss() -> None:
    """2 % of the old one's error; of its root, 4.04 % of the square."""
    new, old = np.full(100, 2.0), np.tile([1.0, 3.0], 50)

    assert of(new, old, "mae").allowed == pytest.approx(0.04)
    assert of(new, old, "rmse").allowed == pytest.approx(0.0808)
    assert of(new, old, "r2").allowed == of(new, old, "log_loss").allowed == pytest.approx(0.04)
    assert of(new, old).difference == pytest.approx(0.0)


def test_the_tally_stays_small() -> None:
    """A million rows are some 700 blocks."""
    tally = added(Tally(), "mae", np.ones(1_000_000), np.zeros(1_000_000))

    assert 500 < len(tally.blocks) < 1000
    assert tally.blocks[0] == (10, 10.0)


def pairs_of(random: np.random.Generator, rows: int, *, worse: float) -> tuple[Any, Any]:
    """Losses of pairs of unlike rows: one in ten is wrong by either version, by the new one so many more."""
    hard = random.random(rows) < 0.1
    return (hard ^ (random.random(rows) < 0.02) | (random.random(rows) < worse)).astype(float), hard.astype(float)


def test_an_auc_is_tested_by_the_losses_of_pairs() -> None:
    """Half a point is allowed; ten points are found, and no points are hardly ever."""
    random = np.random.default_rng(12)
    found = [proven(*pairs_of(random, 1500, worse=0.12), "auc")[0] for _ in range(20)]
    equal = [proven(*(random.random((2, 2000)) < 0.1).astype(float), "auc")[0] for _ in range(40)]

    assert found.count("worse") >= 19
    assert equal.count("worse") == 0
    assert of(*pairs_of(random, 500, worse=0.0), "auc").allowed == pytest.approx(0.005)


def test_pairs_without_an_error_are_no_certainty() -> None:
    """One may come of either version, though none has."""
    found = of(np.zeros(60), np.zeros(60), "auc")

    assert found.e_value < THRESHOLD
    assert found.difference == pytest.approx(0.0)
