"""What may be staked within a year is bounded, and a burst is not slowed down."""

import pytest

from mlauto.monitoring.quality.budget import OPENING, STAKE, YEAR_SECONDS, Budget, granted, opening

HOUR = 3600.0


@pytest.mark.parametrize(("rows", "every"), [(100, HOUR), (10_000, HOUR), (1_000, 60.0), (0, HOUR)])
def test_no_year_stakes_more_than_one(rows: int, every: float) -> None:
    """Whatever the labels' rate; at 100 labels an hour every row gets its full stake."""
    budget, staked = Budget(at=0.0), 0.0
    for look in range(1, int(YEAR_SECONDS / every) + 1 if every == HOUR else 20_000):
        stake, budget = granted(budget, rows, look * every)
        staked += stake * rows
        if rows == 100:
            assert stake == pytest.approx(STAKE)

    assert staked <= 1.0 + 1e-9
    assert staked == pytest.approx({100: 0.75, 10_000: 1.0}.get(rows, staked), abs=1e-3)


def test_a_burst_is_staked_in_full_until_the_store_is_empty() -> None:
    """Two hundred thousand rows within a second cost the store, and the next ones get what time adds."""
    stake, budget = granted(Budget(at=5.0), 200_000, 5.0)
    assert stake == STAKE

    stake, budget = granted(budget, 200_000, 6.0)
    assert 0 < stake < STAKE
    assert budget.left == pytest.approx(0.0, abs=1e-12)
    assert granted(budget, 100, 6.0)[0] == pytest.approx(0.0, abs=1e-12)


def test_any_number_of_versions_share_the_budget() -> None:
    """The first ones open with the same stake, and a thousand within an hour leave something for the rows."""
    budget = Budget(at=0.0)
    stakes = []
    for version in range(1000):
        stake, budget = opening(budget, 3.0 * version)
        stakes.append(stake)

    assert stakes[:10] == [OPENING] * 10
    assert stakes == sorted(stakes, reverse=True)
    assert sum(stakes) < 0.26
    assert budget.left > 0


def test_a_clock_that_was_set_back_adds_nothing() -> None:
    """And the time is not counted twice when it comes again."""
    empty = Budget(left=0.0, at=1000.0)

    stake, after = granted(empty, 1, 10.0)

    assert stake == 0.0
    assert after == empty
