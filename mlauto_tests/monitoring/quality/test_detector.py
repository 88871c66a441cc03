"""Losses are found in few labels, nothing is found where nothing is, and looks make no difference."""

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import norm

from mlauto.monitoring.quality.budget import STAKE
from mlauto.monitoring.quality.detector import ALPHA, Detector, Terms, added, e_value, fresh, restarted

LIMIT = 0.10
TERMS = Terms(limit=LIMIT, stake=STAKE, threshold=1 / ALPHA, now=1.0)


def errors(rate: float, rows: int, seed: int, alike: float = 0.0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=rows) * np.sqrt(1 - alike**2)
    return np.asarray(lfilter([1.0], [1.0, -alike], noise) < norm.ppf(rate)).astype(float)


def seen(detector: Detector, losses: NDArray[np.float64], look: int = 100, **terms: Any) -> Detector:
    """The detector after looks at those losses; `alarmed_at` is the number of them."""
    for at in range(0, len(losses), look):
        part = losses[at : at + look]
        detector = added(detector, part, replace(TERMS, now=float(at + len(part)), **terms))
    return detector


def labels_until_alarm(rate: float, look: int, seed: int) -> float:
    after_good = seen(Detector(since=0.0), errors(LIMIT, 5_000, seed))
    return seen(after_good, errors(rate, 20_000, 1000 + seed), look).alarmed_at or np.inf


@pytest.mark.parametrize(("rate", "look", "most"), [(0.15, 100, 1500), (0.12, 100, 8000), (0.40, 10, 90)])
def test_a_loss_is_found_soon(rate: float, look: int, most: int) -> None:
    """Five points within 15 hours at 100 labels an hour, two within 80, and thirty within some dozens of labels."""
    labels = [labels_until_alarm(rate, look, seed) for seed in range(20)]

    assert np.median(labels) <= most


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_hardest_null_hardly_wins(alike: float) -> None:
    """A rate of just the limit, for 60,000 rows, independent or with errors that come in runs."""
    peaks = []
    for seed in range(8):
        detector, peak = Detector(since=0.0), 0.0
        losses = errors(LIMIT, 60_000, seed, alike)
        for at in range(0, len(losses), 500):
            detector = added(detector, losses[at : at + 500], TERMS)
            peak = max(peak, e_value(detector))
        assert detector.alarmed_at is None
        peaks.append(peak)

    assert np.median(peaks) < 1.0


def test_what_is_won_is_never_more_than_staked_on_average() -> None:
    """The mean over many streams at the limit: the guarantee itself."""
    won = [
        e_value(seen(Detector(since=0.0), errors(LIMIT, 200, seed), stake=1.0, threshold=1e9)) for seed in range(1500)
    ]

    assert np.mean(won) <= 200 * 1.1  # one for each row


def test_rows_that_err_alike_are_no_fresh_evidence() -> None:
    """The power falls as they are found to be alike, and stays at 1 for independent ones."""
    alike = seen(Detector(since=0.0), errors(LIMIT, 20_000, 1, alike=0.95))
    independent = seen(Detector(since=0.0), errors(LIMIT, 20_000, 1))

    assert alike.power < 0.4
    assert independent.power > 0.8


def test_a_sudden_loss_does_not_take_itself_for_dependence() -> None:
    """The power in force is of earlier rows."""
    good = seen(Detector(since=0.0), errors(LIMIT, 3_000, 5))
    bad = seen(good, errors(0.5, 200, 6), 10)

    assert bad.alarmed_at is not None
    assert bad.power >= 0.9 * good.power


@pytest.mark.parametrize("look", [1, 3, 5, 64, 999])
def test_looks_make_no_difference(look: int) -> None:
    """The same rows in other portions are the same evidence, so that a backtest decides as the live loop does."""
    losses = np.random.default_rng(2).uniform(0, 0.21, 999)
    whole = seen(Detector(since=0.0), losses, 999)

    parts = seen(Detector(since=0.0), losses, look)

    assert parts.won == pytest.approx(whole.won)
    assert (parts.rows, parts.blocks, parts.open_rows) == (999, 499, 1) == (whole.rows, whole.blocks, whole.open_rows)
    assert parts.open_loss == pytest.approx(losses[998:].sum())
    assert parts.looks == -(-999 // look)


def test_it_goes_on_after_a_restart() -> None:
    """Written as JSON and read again, it is the same to the last digit; and it stays small."""
    before = seen(Detector(since=0.0), errors(0.12, 1_234, 3))

    text = msgspec.json.encode(before)
    after = msgspec.json.decode(text, type=Detector)

    assert after == before
    assert len(text) < 4_000
    more = errors(0.12, 777, 4)
    assert seen(after, more) == seen(before, more)


def test_a_new_version_that_is_very_bad_is_found_at_once() -> None:
    """Within 34 labels, by what is staked on its first row."""
    detector = seen(fresh(0.0, 0.002), np.ones(40), 1, limit=0.2)

    assert detector.alarmed_at is not None
    assert detector.alarmed_at <= 34
    assert e_value(fresh(0.0, 0.002)) == pytest.approx(0.002)


def test_a_version_errs_as_alike_as_the_one_before() -> None:
    """What is known of the old one's rows is used from the new one's first row on."""
    before = seen(Detector(since=0.0), errors(LIMIT, 20_000, 1, alike=0.95))

    assert fresh(5.0, 0.0, before).power == pytest.approx(before.power, rel=0.2)
    assert fresh(5.0, 0.0).power == 0.5


def test_another_limit_does_not_make_rows_look_alike() -> None:
    """Losses of numbers are scaled by their limit: when that is halved they are twice as large, and no more alike."""
    losses = np.random.default_rng(3).uniform(0, 0.3, 2_000)
    detector = seen(Detector(since=0.0), losses, limit=0.2, unit=1.0)

    changed = seen(detector, 2 * losses, limit=0.2, unit=0.5)

    assert changed.upcoming > 0.75


def test_an_alarm_stays_until_it_is_restarted() -> None:
    """Good rows do not take back what was proven; a new beginning needs a new proof, and knows how alike rows are."""
    bad = seen(Detector(since=0.0), errors(0.4, 500, 1), 20)
    healed = seen(bad, errors(0.02, 2_000, 2))

    assert bad.alarmed_at == healed.alarmed_at is not None
    again = restarted(healed, 9.0)
    assert (again.alarmed_at, again.since, again.rows, e_value(again)) == (None, 9.0, 0, 0.0)
    assert again.power == healed.power
    assert seen(again, errors(0.02, 500, 3)).alarmed_at is None
    assert seen(again, errors(0.4, 500, 4), 20).alarmed_at is not None


@pytest.mark.parametrize("limit", [1e-3, 0.2, 1.0, 1.4])
def test_limits_at_the_edges(limit: float) -> None:
    """All losses at 1 and none at all give finite numbers; what cannot be exceeded is never proven."""
    worst = seen(Detector(since=0.0), np.ones(5_000), limit=limit)
    best = seen(Detector(since=0.0), np.zeros(5_000), limit=limit)

    assert np.isfinite(e_value(worst))
    assert (worst.alarmed_at is not None) is (limit < 1)
    assert 0 < e_value(best) < 1e-2
    assert added(best, np.empty(0), TERMS) is best
