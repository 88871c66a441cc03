"""Counts add up, and survive a file."""

import msgspec
import numpy as np

from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import UNSEEN_NAMES, Counts, LevelCounts, NumberCounts, StoredCounts
from mlauto_tests.monitoring.drift.conftest import World, as_rows, columns


def same(one: Counts, other: Counts) -> bool:
    """Equal in every count, and in the sums but for rounding."""
    return (
        one.rows == other.rows
        and all((found.bins == other.numbers[name].bins).all() for name, found in one.numbers.items())
        and all((found.levels == other.levels[name].levels).all() for name, found in one.levels.items())
        and np.allclose(one.moments.product, other.moments.product, rtol=1e-4, atol=0.05)
        and one.absent == other.absent
    )


def test_a_window_in_parts_is_the_whole_window(drift_world: World) -> None:
    """Whatever the parts."""
    tally, rows = Tally(drift_world.profile), as_rows(columns(1000, 5))

    parts = sum((tally.rows(rows[start : start + 300]) for start in range(0, 1000, 300)), start=tally.none())

    assert same(parts, tally.rows(rows))


def test_counts_survive_a_file(drift_world: World) -> None:
    """MessagePack and back gives the same; it is small."""
    given = as_rows(columns(1000, 6))
    for row in given[:30]:
        row["level"] = "new"
        del row["x"]
    counts = Tally(drift_world.profile).rows(given)

    content = msgspec.msgpack.encode(counts.stored())
    back = Counts.restored(msgspec.msgpack.decode(content, type=StoredCounts))

    assert same(back, counts)
    assert (back.levels["level"].unseen, back.levels["level"].names, back.absent) == (30, {"new": 30}, {"x": 30})
    assert (back.moments.count == counts.moments.count).all()
    assert len(content) < 6000


def test_sums_of_a_column() -> None:
    """Every figure is added; of unseen names the commonest are kept."""
    one = NumberCounts(np.array([1, 2]), far=1, nulls=2, alien=3)
    both = one + NumberCounts(np.array([3, 4]), far=10, nulls=20, alien=30)
    assert (both.bins.tolist(), both.far, both.nulls, both.alien) == ([4, 6], 11, 22, 33)

    many = LevelCounts(np.array([1]), unseen=60, names={f"n{n}": n for n in range(30)})
    level = many + LevelCounts(np.array([2]), rare=1, unseen=100, nulls=3, names={"n1": 100})
    assert (level.levels.tolist(), level.rare, level.unseen, level.nulls) == ([3], 1, 160, 3)
    assert (len(level.names), level.names["n1"]) == (UNSEEN_NAMES, 101)
