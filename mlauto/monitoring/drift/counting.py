"""Count a window against a profile, chunk by chunk of columns: nothing is sorted, no value is kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.correlations import Moments
from mlauto.monitoring.drift.counts import UNSEEN_NAMES, Counts, LevelCounts, NumberCounts
from mlauto.monitoring.drift.fitting import text_of
from mlauto.monitoring.drift.lookup import Lookup
from mlauto.monitoring.drift.profile import PREDICTION, Levels, Profile

__all__ = ["Tally"]

Floats = NDArray[np.float64]


class Tally:
    """Counts chunks of one profile's columns, as many as one likes. Cheap to call, some milliseconds to make."""

    def __init__(self, profile: Profile) -> None:
        subjects = profile.subjects()
        self.levels = {name: one for name, one in subjects.items() if isinstance(one, Levels)}
        self.lookups = {name: Lookup(one) for name, one in subjects.items() if not isinstance(one, Levels)}
        self._known = {name: frozenset(one.known) for name, one in self.levels.items()}
        # pairs are of columns, and a subject is named like its column but for one
        self._paired = [f"column {name}" if name == PREDICTION else name for name in profile.pairs.columns]
        self._pair_place = {name: place for place, name in enumerate(self._paired)}

    def none(self) -> Counts:
        """The counts of no rows."""
        return Counts(
            0,
            {name: NumberCounts(np.zeros(len(one.edges) + 1, np.int64)) for name, one in self.lookups.items()},
            {name: LevelCounts(np.zeros(len(one.counts), np.int64)) for name, one in self.levels.items()},
            Moments.none(len(self._paired)),
        )

    def chunk(
        self,
        rows: int,
        numbers: Mapping[str, tuple[Floats, int]],
        levels: Mapping[str, Mapping[str | None, int]],
        absent: Mapping[str, int],
    ) -> Counts:
        """Counts of one chunk of rows, best of tens of thousands.

        `numbers`: the values (NaN for missing) and how many of these are of another type; `levels`: rows by level (None
        for missing); `absent`: rows without the column at all. A subject that nothing is given of is missing.
        """
        scores = np.zeros((len(self._paired), rows), dtype=np.float32)
        gaps: dict[int, NDArray[np.bool_]] = {}
        found = {}
        for name, lookup in self.lookups.items():
            if name not in numbers:
                found[name] = NumberCounts(np.zeros(len(lookup.edges) + 1, np.int64), nulls=rows)
                if name in self._pair_place:
                    gaps[self._pair_place[name]] = np.zeros(rows, dtype=bool)
                continue
            values, alien = numbers[name]
            positions = lookup.positions(values)
            missing, bins = lookup.counted(positions)
            found[name] = NumberCounts(bins, lookup.outside(values), missing - alien, alien)
            place = self._pair_place.get(name)
            if place is not None:
                # clipping is by positions already; without it numpy would buffer what it takes
                np.take(lookup.scores, positions, out=scores[place], mode="clip")
                if missing:
                    gaps[place] = positions > 0
        present = None
        if gaps:
            present = np.ones(scores.shape, dtype=bool)
            for place, there in gaps.items():
                present[place] = there
        return Counts(
            rows,
            found,
            {name: self._level_counts(name, levels.get(name, {None: rows})) for name in self.levels},
            Moments.of(scores, present),
            absent,
        )

    def rows(self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Any] | None = None) -> Counts:
        """Counts of rows of JSON values; `answers` are the model's predictions for them."""
        given = {
            name: name.removeprefix("column ") if name == f"column {PREDICTION}" else name for name in self._names()
        }
        numbers: dict[str, tuple[Floats, int]] = {}
        levels: dict[str, Mapping[str | None, int]] = {}
        absent: dict[str, int] = {}
        for name, column in given.items():
            if name == PREDICTION:
                values: Sequence[Any] = answers if answers is not None else [None] * len(rows)
            else:
                values = [row.get(column) for row in rows]
                if gone := sum(value is None and column not in row for value, row in zip(values, rows, strict=True)):
                    absent[name] = gone
            if name in self.levels:
                levels[name] = Counter(map(text_of, values))
            else:
                numbers[name] = _numbers(values)
        return self.chunk(len(rows), numbers, levels, absent)

    def _names(self) -> list[str]:
        return [*self.lookups, *self.levels]

    def _level_counts(self, name: str, counted: Mapping[str | None, int]) -> LevelCounts:
        common, known = self.levels[name].counts, self._known[name]
        others = {level: count for level, count in counted.items() if level is not None and level not in common}
        unseen = {level: count for level, count in others.items() if level not in known}
        return LevelCounts(
            np.array([counted.get(level, 0) for level in common], dtype=np.int64),
            rare=sum(others.values()) - sum(unseen.values()),
            unseen=sum(unseen.values()),
            nulls=counted.get(None, 0),
            names=dict(sorted(unseen.items(), key=lambda pair: -pair[1])[:UNSEEN_NAMES]),
        )


def _numbers(values: Sequence[Any]) -> tuple[Floats, int]:
    """The values as floats, and how many of them are no numbers; those are missing then."""
    kinds = set(map(type, values))
    if kinds <= {float, int}:
        return np.array(values, dtype=np.float64), 0
    alien = 0
    floats = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        if isinstance(value, int | float) and not isinstance(value, bool):
            floats[place] = value
        elif value is not None:
            alien += 1
    return floats, alien
