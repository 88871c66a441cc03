"""Whether the very newest rows are broken at their source, before the window of drift is full of them. Pure.

Quality suffers within some tens of rows; the window of drift has 20,000. A model must not be trained in between.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlauto.monitoring.cause import LIMITS, strange
from mlauto.monitoring.drift.bounds import rate_bounds
from mlauto.monitoring.drift.counting import Tally
from mlauto.monitoring.drift.counts import Counts
from mlauto.monitoring.drift.profile import PREDICTION, Levels, Numbers, Profile

__all__ = ["NEWEST_ROWS", "broken_rows"]

SIZES = (50, 200, 500, 1000)  # newest rows that are looked at: all at once are found at 50, a tenth of them at 1,000
NEWEST_ROWS = SIZES[-1]
BEYOND = 1.25  # of the width that is not far, some 3 of training's ranges: a price that doubles is a market's, no unit
UNITS = 20  # bins of the reference: a column with fewer values has codes, such as months or seasons, and no unit
EXPONENT = 22.0  # -log of the chance of an alarm without cause: one in a century of looks at 20 columns each minute


def broken_rows(profile: Profile, rows: Sequence[Mapping[str, Any]]) -> str:
    """In what way the newest rows are broken, `rows` newest first; "" where that is not proven, or they are too few."""
    if not profile.rows or len(rows) < SIZES[0]:
        return ""
    tally = Tally(profile)
    for size in (size for size in SIZES if size <= len(rows)):
        few = [dict(row) for row in rows[:size]]
        counts = tally.rows(few, [None] * size)
        if told := strange(_broken(profile, counts, few)):
            return told
    return ""


def _measures(reference: Numbers) -> bool:
    """Whether a column measures something: it has many values, and does not run with time."""
    return reference.still and len(reference.counts) >= UNITS


def _outlandish(reference: Numbers, values: Sequence[object]) -> int:
    """How many of the numbers lie several of training's ranges beyond its ends."""
    low, high = reference.far
    margin = BEYOND * (high - low)
    numbers = [value for value in values if isinstance(value, int | float) and not math.isnan(value)]
    return sum(not low - margin <= value <= high + margin for value in numbers)


def _broken(profile: Profile, counts: Counts, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, float]]:
    """Column, test and share of the rows of what is proven to be beyond its limit."""
    found = []
    for subject, reference in profile.subjects().items():
        if subject == PREDICTION:
            continue
        known = reference.nulls / max(1, reference.nulls + reference.filled)
        if isinstance(reference, Levels):
            levels = counts.levels[subject]
            strangers = {"unseen": levels.unseen}
            missing = levels.nulls
        else:
            numbers = counts.numbers[subject]
            strangers = {"type": numbers.alien}
            if _measures(reference):
                strangers["range"] = _outlandish(reference, [row.get(subject) for row in rows])
            missing = numbers.nulls
        shares = [("nulls", missing, known), *((test, count, 0.0) for test, count in strangers.items())]
        for test, count, usual in shares:
            if rate_bounds(count, counts.rows, EXPONENT)[0] - usual >= LIMITS[test]:
                found.append((subject, test, count / counts.rows - usual))
    return found
