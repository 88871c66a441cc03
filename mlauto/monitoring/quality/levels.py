"""Segments of rows by named columns: "season = winter", or a range of a number; a bounded number of them. Pure."""

import math
import statistics
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

__all__ = ["MOST", "Levels", "is_number", "level_text", "levels_of", "segments_of"]

MOST = 12  # of a column; the rarest values of more are no segments, numbers of more are cut into quarters
MISSING = "missing"
LARGEST = sys.float_info.max


@dataclass(frozen=True, kw_only=True)
class Levels:
    """How a column's values make segments: by the named ones, or by the ranges between edges."""

    values: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


def levels_of(values: Sequence[Any]) -> Levels:
    """The segments that a column's values make: each value, the most frequent twelve, or quarters of many numbers."""
    counts = Counter(map(level_text, values))
    if len(counts) <= MOST or not all(is_number(value) or value is None for value in values):
        return Levels(values=tuple(sorted(value for value, _ in counts.most_common(MOST))))
    known = [float(value) for value in values if is_number(value)]
    return Levels(edges=tuple(sorted(set(statistics.quantiles(known, n=4, method="inclusive")))))


def segments_of(row: Mapping[str, Any], columns: Mapping[str, Levels]) -> list[str]:
    """The names of the segments that a row is in, one at most for each column."""
    names = []
    for column, levels in columns.items():
        value = row.get(column)
        if levels.edges and is_number(value):
            names.append(_range(column, float(value), levels.edges))
        elif levels.edges or level_text(value) in levels.values:
            names.append(f"{column} = {level_text(value)}")
    return names


def _range(column: str, value: float, edges: Sequence[float]) -> str:
    at = bisect_right(edges, value)
    if at == 0:
        return f"{column} < {edges[0]:.4g}"
    if at == len(edges):
        return f"{column} >= {edges[-1]:.4g}"
    return f"{edges[at - 1]:.4g} <= {column} < {edges[at]:.4g}"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a finite number; a whole one that no float holds is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def level_text(value: Any) -> str:
    """A value as the segment's name has it: a whole number has no decimals, whatever its type."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
