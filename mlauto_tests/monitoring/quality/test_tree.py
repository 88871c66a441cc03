"""Segments are found where losses differ, and nowhere else."""

from typing import Any

import msgspec
import numpy as np
import pytest

from mlauto.monitoring.quality.tree import COLUMNS, Condition, Leaf, grown, leaf_name, leaf_of

RANDOM = np.random.default_rng(5)


def drawn(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    seasons = random.choice(["winter", "spring", "summer"], rows)
    return [
        {"temp": float(temp), "season": str(season), "noise": int(noise)}
        for temp, season, noise in zip(random.uniform(0, 40, rows), seasons, random.integers(0, 9, rows), strict=True)
    ]


def losses(rows: list[dict[str, Any]], seed: int = 1) -> Any:
    """Twice as large in the hot, there four times in summer."""
    means = [(1 + (row["temp"] >= 30)) * (1 + (row["temp"] >= 30 and row["season"] == "summer")) for row in rows]
    return np.random.default_rng(seed).exponential(means)


def test_the_segments_are_where_the_losses_differ() -> None:
    """The cut is near the true one, and the second question is asked on one side only."""
    rows = drawn(3000)
    leaves = grown(rows, losses(rows))

    hot = [leaf for leaf in leaves if leaf[0].low is not None]
    assert len(leaves) == 3
    assert len(hot) == 2
    assert hot[0][0].low == pytest.approx(30, abs=2.5)
    assert {leaf_name(leaf).split(" and ")[1] for leaf in hot} == {"season = summer", "season not summer"}


def test_each_row_is_in_one_leaf() -> None:
    """Values that were not seen are too; a gap is in none where a number is asked for."""
    rows = drawn(3000)
    leaves = grown(rows, losses(rows))
    fresh = drawn(500, seed=7)

    named = [[leaf_name(leaf) for leaf in leaves if all(one.holds(row) for one in leaf)] for row in fresh]
    assert {len(names) for names in named} == {1}
    assert [leaf_of(row, leaves) for row in fresh] == [names[0] for names in named]
    assert leaf_of({"temp": 39.0, "season": "monsoon"}, leaves) == leaf_of({"temp": 39.0, "season": "winter"}, leaves)
    assert leaf_of({"temp": None, "season": "summer"}, leaves) is None
    assert leaf_of({}, ()) is None


def test_losses_that_are_alike_make_no_segments() -> None:
    """In 200 products with nothing to find, whose neighbours err a little alike, one at most gets any."""
    found = 0
    for seed in range(200):
        noise = np.random.default_rng(seed).exponential(size=1001)
        found += bool(grown(drawn(1000, seed), noise[1:] + 0.3 * noise[:-1]))

    assert found <= 1


def test_few_rows_and_no_rows_make_none() -> None:
    """Whatever their losses."""
    rows = drawn(90)

    assert grown([], np.empty(0)) == ()
    assert grown([{}] * 200, np.ones(200)) == ()
    assert grown(rows, 10 * np.array([row["temp"] >= 30 for row in rows], dtype=float)) == ()
    assert grown(drawn(500), np.ones(500)) == ()


def test_a_column_is_asked_about_more_than_once() -> None:
    """Its conditions are put together: a range of numbers, or all but two values."""
    numbers = [{"x": at % 100} for at in range(2000)]
    inner = np.array([1.0 + 3 * (30 <= row["x"] < 60) for row in numbers]) + RANDOM.normal(0, 0.1, 2000)
    kinds = [{"kind": "abcd"[at % 4]} for at in range(2000)]
    steps = np.array([float("abcd".index(row["kind"])) for row in kinds]) + RANDOM.normal(0, 0.1, 2000)

    ranges, values = grown(numbers, inner), grown(kinds, steps)

    assert max(len(leaf) for leaf in (*ranges, *values)) == 1
    assert any(one.low is not None and one.high is not None for (one,) in ranges)
    assert {leaf_of(row, values) for row in kinds} >= {"kind = a", "kind = d"}
    assert len({leaf_of(row, values) for row in kinds}) == 4


def test_at_most_eight_leaves_of_a_bounded_number_of_columns() -> None:
    """However different the losses are, and however wide the rows."""
    rows = [{f"c{column}": (at >> column) & 1 for column in range(COLUMNS + 4)} for at in range(4096)]
    each = np.array([float(at % 64) for at in range(4096)])
    hidden = np.array([float(row[f"c{COLUMNS + 1}"]) for row in rows])

    assert len(grown(rows, each)) == 8
    assert grown(rows, hidden) == ()


@pytest.mark.parametrize(
    ("condition", "name", "holds", "does_not"),
    [
        (Condition(column="x", low=1.5), "x >= 1.5", [1.5, 9], [1, None, "9", True]),
        (Condition(column="x", high=2), "x < 2", [1, -3.0], [2, float("nan")]),
        (Condition(column="x", low=0, high=2), "0 <= x < 2", [0, 1.9], [2, -1]),
        (Condition(column="x", value="1"), "x = 1", [1, 1.0, "1"], [2, None]),
        (Condition(column="x", never=("a", "missing")), "x not a or missing", ["b", 3], ["a", None]),
    ],
)
def test_conditions(condition: Condition, name: str, holds: list[Any], does_not: list[Any]) -> None:
    """What they are called, and which values meet them."""
    assert condition.name == name
    assert [value for value in holds if not condition.holds({"x": value})] == []
    assert [value for value in does_not if condition.holds({"x": value})] == []


def test_leaves_survive_being_written() -> None:
    """As JSON, with whole numbers and texts as they are."""
    rows = drawn(3000)
    leaves = grown(rows, losses(rows))

    assert msgspec.json.decode(msgspec.json.encode(leaves), type=tuple[Leaf, ...]) == leaves
