"""How far the inputs of live traffic are from those that a model was trained on, per column. It warns, it never alarms.

For numbers the distance is that between the two distributions (the mean absolute difference of their quantiles, the
Wasserstein-1 distance) in units of the reference's own spread; for text it is the total variation, the share of rows
that would have to change. Neither grows with the number of rows, as a p-value's significance does.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

__all__ = ["Profile", "distances", "profile"]

LEVELS = np.linspace(0.05, 0.95, 19)
CATEGORIES = 50  # the commonest; all others count as one
FEWEST_ROWS = 100  # the distances of fewer rows are mostly noise


class Profile(msgspec.Struct, frozen=True):
    """One column's distribution: 19 quantiles and their spread for numbers, shares for text; `missing` of all rows."""

    missing: float
    quantiles: list[float] = []
    spread: float = 1.0
    shares: dict[str, float] = {}


def profile(columns: Mapping[str, Sequence[object]]) -> dict[str, Profile]:
    """Profiles of columns (name -> values, None or NaN for missing); columns without any value are left out."""
    made = {name: _profile(values) for name, values in columns.items()}
    return {name: one for name, one in made.items() if one is not None}


def distances(reference: Mapping[str, Profile], rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Distance of each column of `rows` from its profile, 0 for none; empty for fewer than 100 rows."""
    if len(rows) < FEWEST_ROWS:
        return {}
    return {name: _distance(one, [row.get(name) for row in rows]) for name, one in reference.items()}


def _present(values: Iterable[object]) -> list[object]:
    return [v for v in values if v is not None and not (isinstance(v, float) and math.isnan(v))]


def _profile(values: Sequence[object]) -> Profile | None:
    present = _present(values)
    if not present:
        return None
    missing = 1 - len(present) / len(values)
    numbers = _numbers(present)
    if numbers is None:
        return Profile(missing=missing, shares=_shares(present))
    quantiles = np.quantile(numbers, LEVELS)
    # the interquartile range; a column that is mostly one value has none, so take what spread there is
    spread = float(quantiles[14] - quantiles[4]) or float(numbers.std()) or 1.0
    return Profile(missing=missing, quantiles=quantiles.tolist(), spread=spread)


def _numbers(values: Sequence[object]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The values as floats, or None when one of them is no finite number."""
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    return np.asarray(values, dtype=float)


def _shares(values: Sequence[object]) -> dict[str, float]:
    counts = Counter(map(str, values)).most_common(CATEGORIES)
    return {name: count / len(values) for name, count in counts}


def _distance(reference: Profile, values: Sequence[object]) -> float:
    present = _present(values)
    gone = abs(1 - len(present) / len(values) - reference.missing)
    if not present:
        return gone
    if not reference.quantiles:
        return max(gone, _total_variation(reference.shares, present))
    numbers = _numbers(present)
    if numbers is None:
        return max(gone, 1.0)  # a column of numbers that carries text now
    difference = np.abs(np.quantile(numbers, LEVELS) - np.asarray(reference.quantiles)).mean()
    return max(gone, float(difference) / reference.spread)


def _total_variation(shares: Mapping[str, float], values: Sequence[object]) -> float:
    """Half the summed differences of shares; categories that the reference does not name count as one."""
    counts = Counter(name if name in shares else None for name in map(str, values))
    named = sum(abs(share - counts[name] / len(values)) for name, share in shares.items())
    others = abs(max(0.0, 1 - sum(shares.values())) - counts[None] / len(values))
    return (named + others) / 2
