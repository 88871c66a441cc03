"""What is known of a window: counts per column, in the profile's bins and levels. They add up, and fit into a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.correlations import Moments

__all__ = ["UNSEEN_NAMES", "Counts", "LevelCounts", "NumberCounts", "StoredCounts"]

UNSEEN_NAMES = 20  # unseen levels whose names are kept; all of them are counted


@dataclass(frozen=True)
class NumberCounts:
    """Rows of a column of numbers by bin, far outside the reference, without a value, with a value of another type."""

    bins: NDArray[np.int64]
    far: int = 0
    nulls: int = 0
    alien: int = 0

    def __add__(self, other: "NumberCounts") -> "NumberCounts":
        return NumberCounts(
            self.bins + other.bins, self.far + other.far, self.nulls + other.nulls, self.alien + other.alien
        )


@dataclass(frozen=True)
class LevelCounts:
    """Rows of a column of levels: by common level, of a rare one, of one never seen, without a value."""

    levels: NDArray[np.int64]
    rare: int = 0
    unseen: int = 0
    nulls: int = 0
    names: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "LevelCounts") -> "LevelCounts":
        names = dict(self.names)
        for name, count in other.names.items():
            names[name] = names.get(name, 0) + count
        kept = dict(sorted(names.items(), key=lambda pair: -pair[1])[:UNSEEN_NAMES])
        return LevelCounts(
            self.levels + other.levels,
            self.rare + other.rare,
            self.unseen + other.unseen,
            self.nulls + other.nulls,
            kept,
        )


class StoredCounts(msgspec.Struct, frozen=True):
    """`Counts` as bytes and numbers, for MessagePack."""

    rows: int
    numbers: dict[str, tuple[bytes, int, int, int]]
    levels: dict[str, tuple[bytes, int, int, int, dict[str, int]]]
    moments: bytes
    absent: dict[str, int] = {}


@dataclass(frozen=True)
class Counts:
    """Of `rows` rows: by subject of the profile, with the sums of its pairs; `absent`: rows without the key."""

    rows: int
    numbers: Mapping[str, NumberCounts]
    levels: Mapping[str, LevelCounts]
    moments: Moments
    absent: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Counts") -> "Counts":
        """Of both windows; they must be of the same profile."""
        absent = dict(self.absent)
        for name, count in other.absent.items():
            absent[name] = absent.get(name, 0) + count
        return Counts(
            self.rows + other.rows,
            {name: one + other.numbers[name] for name, one in self.numbers.items()},
            {name: one + other.levels[name] for name, one in self.levels.items()},
            self.moments + other.moments,
            absent,
        )

    def stored(self) -> StoredCounts:
        """The same for a file."""
        return StoredCounts(
            self.rows,
            {name: (_packed(one.bins), one.far, one.nulls, one.alien) for name, one in self.numbers.items()},
            {
                name: (_packed(one.levels), one.rare, one.unseen, one.nulls, dict(one.names))
                for name, one in self.levels.items()
            },
            np.stack([getattr(self.moments, name) for name in MOMENTS]).tobytes(),
            dict(self.absent),
        )

    @classmethod
    def restored(cls, stored: StoredCounts) -> "Counts":
        """What `stored` was made of."""
        sums = np.frombuffer(stored.moments).reshape(len(MOMENTS), -1)
        columns = round(sums.shape[1] ** 0.5)
        return cls(
            stored.rows,
            {name: NumberCounts(_unpacked(bins), *rest) for name, (bins, *rest) in stored.numbers.items()},
            {
                name: LevelCounts(_unpacked(levels), rare, unseen, nulls, names)
                for name, (levels, rare, unseen, nulls, names) in stored.levels.items()
            },
            Moments(*sums.reshape(len(MOMENTS), columns, columns)),
            stored.absent,
        )


MOMENTS = ("count", "first", "square", "product")


def _packed(counts: NDArray[np.int64]) -> bytes:
    return counts.astype("<u4").tobytes()


def _unpacked(content: bytes) -> NDArray[np.int64]:
    return np.frombuffer(content, dtype="<u4").astype(np.int64)
