"""How large a regression's losses are expected to be, by its prediction and the row's columns, as plain tables. Pure.

Direct loss estimation (as NannyML's DLE): a model of the loss, fitted on rows with labels. Here it is boosted by hand,
one column of bins at a time, so that what is kept is a handful of numbers for each column and nothing is unpickled.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.quality.levels import Levels, is_number, level_text, levels_of

__all__ = ["PREDICTION", "LossTable", "expected_losses", "fitted"]

Floats = NDArray[np.float64]
Column = Sequence[Any]
PREDICTION = "prediction of the model"  # a column beside those of the rows
BINS = 10
ROUNDS = 40
RATE = 0.3
PRIOR = 20  # rows: a bin of few changes little
MOST_COLUMNS = 6


@dataclass(frozen=True, kw_only=True)
class LossTable:
    """The expected loss: `base` and, for each column, what the bin of its value adds; the last one is for no bin."""

    base: float
    columns: dict[str, Levels]
    adds: dict[str, tuple[float, ...]]


def fitted(rows: Sequence[Mapping[str, Any]], predicted: Column, losses: Floats) -> LossTable:
    """The table for those rows. Columns that explain nothing of the losses are left out."""
    names = [*(rows[0] if rows else ()), PREDICTION]
    every = {name: _column(rows, predicted, name) for name in names}
    columns = {name: _bins(values) for name, values in every.items()}
    places = {name: np.array([_place(columns[name], value) for value in every[name]], dtype=int) for name in names}
    adds = {name: np.zeros(_count(columns[name])) for name in names}
    base = float(losses.mean())
    left = losses - base
    for _ in range(ROUNDS):
        used = {name for name, added in adds.items() if added.any()}
        allowed = names if len(used) < MOST_COLUMNS else sorted(used)
        steps = {name: _step(places[name], left, len(adds[name])) for name in allowed}
        best = max(allowed, key=lambda name: float((steps[name][places[name]] ** 2).sum()))
        adds[best] += RATE * steps[best]
        left = left - RATE * steps[best][places[best]]
    kept = [name for name in names if adds[name].any()]
    return LossTable(
        base=base,
        columns={name: columns[name] for name in kept},
        adds={name: tuple(adds[name].tolist()) for name in kept},
    )


def expected_losses(table: LossTable, rows: Sequence[Mapping[str, Any]], predicted: Column) -> Floats:
    """Each row's expected loss, never below 0."""
    total = np.full(len(predicted), table.base)
    for name, levels in table.columns.items():
        adds = np.asarray(table.adds[name])
        places = [_place(levels, value) for value in _column(rows, predicted, name)]
        total += adds[np.array(places, dtype=int)] if places else 0.0
    return np.asarray(np.maximum(total, 0.0))


def _column(rows: Sequence[Mapping[str, Any]], predicted: Column, name: str) -> Column:
    return predicted if name == PREDICTION else [row.get(name) for row in rows]


def _bins(values: Column) -> Levels:
    known = [float(value) for value in values if is_number(value)]
    if len(set(known)) <= BINS:
        return levels_of(values)
    edges = np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])
    return Levels(edges=tuple(sorted(set(edges.tolist()))))


def _count(levels: Levels) -> int:
    return len(levels.edges) + 2 if levels.edges else len(levels.values) + 1


def _place(levels: Levels, value: Any) -> int:
    if levels.edges:
        return bisect_right(levels.edges, float(value)) if is_number(value) else len(levels.edges) + 1
    text = level_text(value)
    return levels.values.index(text) if text in levels.values else len(levels.values)


def _step(places: NDArray[np.int_], left: Floats, bins: int) -> Floats:
    sums = np.bincount(places, weights=left, minlength=bins)
    return np.asarray(sums / (np.bincount(places, minlength=bins) + PRIOR))
