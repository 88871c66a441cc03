"""Rows that are broken at their source, found among the newest ones; rows that only moved are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlauto.monitoring.drift.fitting import fit_profile
from mlauto.monitoring.drift.profile import Pairs, Profile
from mlauto.monitoring.newest import broken_rows

RANDOM = np.random.default_rng(5)
KINDS = ["a", "b", "c"]


def rows(count: int, **shift: float) -> list[dict[str, Any]]:
    temp, speed = RANDOM.normal(20, 8, count), RANDOM.gamma(2.0, 5.0, count)
    kinds = RANDOM.integers(0, 3, count)
    return [
        {"temp": float(t) + shift.get("temp", 0.0), "speed": float(s), "kind": KINDS[k]}
        for t, s, k in zip(temp, speed, kinds, strict=True)
    ]


@pytest.fixture(scope="module")
def profile() -> Profile:
    known = rows(5000)
    return fit_profile({name: [row[name] for row in known] for name in ("temp", "speed", "kind")})


def changed(name: str, value: Callable[[Any], Any], *, newest: int, count: int = 1000) -> list[dict[str, Any]]:
    """Rows whose newest ones have another value."""
    return [{**row, name: value(row[name])} if at < newest else row for at, row in enumerate(rows(count))]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (rows(1000), ""),
        (rows(1000, temp=25.0), ""),  # a heat that was hardly ever known
        (changed("temp", lambda _: None, newest=50), "temp is missing in 100 % more"),
        (changed("temp", lambda _: None, newest=3), ""),
        (changed("temp", lambda t: t + 273.15, newest=60), "temp is far outside training's range in 100 %"),
        (changed("speed", lambda s: s / 1000, newest=1000), ""),  # what is small looks like a calm day
        (changed("speed", lambda s: s * 1000, newest=200), "speed is far outside"),
        (changed("speed", lambda s: s + 100.0, newest=1000), ""),  # three times what was ever seen is a storm
        (changed("temp", lambda _: "warm", newest=50), "temp is of another type"),
        (changed("kind", str.upper, newest=60), "kind has values never seen in training in 100 %"),
        (changed("kind", lambda k: "d" if k == "a" else k, newest=1000), ""),  # a new one, in a third of the rows
        ([{k: v for k, v in row.items() if k != "kind"} for row in rows(60)], "kind is missing"),
        (rows(49, temp=9999.0), ""),  # too few to say
    ],
)
def test_what_is_broken(profile: Profile, given: list[dict[str, Any]], words: str) -> None:
    """Named with the column and the share of the rows."""
    told = broken_rows(profile, given)

    assert words in told
    assert bool(told) == bool(words)


def test_a_part_of_the_rows_is_found_among_more_of_them(profile: Profile) -> None:
    """A fifth without a value shows within some hundred rows."""
    given = [{**row, "temp": None} if at % 5 == 0 else row for at, row in enumerate(rows(500))]

    assert "temp is missing in 20 % more" in broken_rows(profile, given)
    assert broken_rows(profile, given[:100]) == ""


def test_missing_values_that_training_knew_are_nothing(profile: Profile) -> None:
    """Only more of them."""
    known = [{**row, "temp": None} if at % 4 == 0 else row for at, row in enumerate(rows(5000))]
    gappy = fit_profile({"temp": [row["temp"] for row in known]})

    assert broken_rows(gappy, known[:1000]) == ""
    assert broken_rows(profile, known[:1000]) != ""


def test_without_a_reference_nothing_is_said() -> None:
    """A version that was trained before there were profiles has an empty one."""
    empty = Profile(rows=0, columns={}, pairs=Pairs(columns=[]))

    assert broken_rows(empty, rows(100, temp=9999.0)) == ""


def test_a_code_has_no_unit() -> None:
    """A model of a winter meets July, and a season that it never saw."""
    known = fit_profile({"month": [float(m) for m in RANDOM.integers(1, 4, 2000)], "season": [1.0] * 2000})

    assert broken_rows(known, [{"month": 7.0, "season": 3.0}] * 500) == ""
    assert "month is missing" in broken_rows(known, [{"season": 3.0}] * 500)
