"""Probabilities that mean what they say: calibrated on rows with labels where they are not. Pure.

A class's probabilities are left alone while ten equal groups of rows do not contradict them at the 1 % level (Hosmer
and Lemeshow 1980). Else they are mapped by an isotonic regression (pool adjacent violators) over groups of 25 rows or
more, with straight lines between: steps of single rows would only learn the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "applied", "calibrated"]

Floats = NDArray[np.float64]
GROUPS = 10
CRITICAL = 23.21  # chi-square with ten degrees of freedom, 99 % quantile
SMALLEST_GROUP = 25
MOST_GROUPS = 40


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A map of probabilities by straight lines between points; without points they are left alone."""

    given: tuple[float, ...] = ()
    meant: tuple[float, ...] = ()


def calibrated(odds: Floats, hits: Floats) -> Curve:
    """The map for one class: `odds` are its probabilities, `hits` 1 where it was the truth."""
    if not _contradicted(odds, hits):
        return Curve()
    order = np.argsort(odds, kind="stable")
    groups = np.array_split(order, max(1, min(MOST_GROUPS, len(odds) // SMALLEST_GROUP)))
    given = [float(odds[group].mean()) for group in groups]
    meant = _increasing([float(hits[group].mean()) for group in groups], [len(group) for group in groups])
    return Curve(given=tuple(given), meant=tuple(meant))


def applied(curves: Sequence[Curve], odds: Floats) -> Floats:
    """Rows of probabilities (rows x classes) after their classes' maps, each summing to 1."""
    if not any(curve.given for curve in curves):
        return odds
    mapped = [
        np.interp(odds[:, at], curve.given, curve.meant) if curve.given else odds[:, at]
        for at, curve in enumerate(curves)
    ]
    table = np.clip(np.column_stack(mapped), 1e-9, None)
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def _contradicted(odds: Floats, hits: Floats) -> bool:
    far = 0.0
    for group in np.array_split(np.argsort(odds, kind="stable"), GROUPS):
        if not len(group):
            continue
        expected = float(odds[group].sum())
        variance = float((odds[group] * (1 - odds[group])).sum())
        far += (float(hits[group].sum()) - expected) ** 2 / max(variance, 1e-9)
    return far > CRITICAL


def _increasing(values: Sequence[float], weights: Sequence[int]) -> list[float]:
    """The closest series that never falls."""
    pooled: list[tuple[float, int, int]] = []  # value, weight, how many
    for value, weight in zip(values, weights, strict=True):
        pooled.append((value, weight, 1))
        while len(pooled) > 1 and pooled[-2][0] > pooled[-1][0]:
            (a, first, many), (b, second, more) = pooled[-2:]
            pooled[-2:] = [((a * first + b * second) / (first + second), first + second, many + more)]
    return [value for value, _, many in pooled for _ in range(many)]
