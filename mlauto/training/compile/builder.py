"""What a pipeline's transformers have made so far, as features, and the plan's steps that make them.

A feature is a column of the request that nothing but an imputer has touched (`Raw`), or a cell of a step's matrix. So
text stays text until an encoder takes it, and numbers that are only passed on become one matrix at the end.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from mlauto.serving.plan.format import Impute, Join, Numbers, Step, Take, width_of

__all__ = ["Builder", "Cell", "Feature", "Raw", "UnsupportedError", "filled", "plain"]


class UnsupportedError(Exception):
    """A model cannot be compiled; the message says which part, and why."""


@dataclass(frozen=True)
class Raw:
    """A request's column; `fill` stands for a missing value, and is None where missing stays missing."""

    column: int
    fill: Any = None


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix that a step makes."""

    step: int
    place: int


Feature = Raw | Cell


class Builder:
    """Collects the steps of a plan for a signature's columns (name -> kind).

    While it `merges`, a step that is there already is not made again: for models that prepare some columns alike.
    """

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.merges = False
        self.names = list(columns)
        self.kinds = list(columns.values())
        self.steps: list[Step] = []

    def start(self) -> list[Feature]:
        """The request's columns."""
        return [Raw(column) for column in range(len(self.names))]

    def add(self, step: Step) -> list[Feature]:
        """One more step; the cells that it makes."""
        number = self._added(step) if self.merges else self._appended(step)
        return [Cell(number, place) for place in range(self._width(number))]

    def matrix(self, features: Sequence[Feature], wanted_by: str) -> int:
        """The number of a step whose cells are these features, in this order. Raises `UnsupportedError` for text."""
        if not features:
            raise UnsupportedError(f"{wanted_by} gets no features")
        parts = []
        for step, group in groupby(features, key=lambda feature: feature.step if isinstance(feature, Cell) else None):
            same = list(group)
            parts.append(self._raw(same, wanted_by) if step is None else self._cells(step, same))
        return parts[0] if len(parts) == 1 else self._added(Join(tuple(parts)))

    def _cells(self, step: int, features: Sequence[Feature]) -> int:
        places = tuple(feature.place for feature in features if isinstance(feature, Cell))
        if places == tuple(range(self._width(step))):
            return step
        return self._added(Take(step, places))

    def _raw(self, features: Sequence[Feature], wanted_by: str) -> int:
        raws = [feature for feature in features if isinstance(feature, Raw)]
        for raw in raws:
            if self.kinds[raw.column] == "string":
                raise UnsupportedError(f"column {self.names[raw.column]!r} reaches {wanted_by} as text")
        numbers = self._added(Numbers(tuple(raw.column for raw in raws)))
        if all(raw.fill is None for raw in raws):
            return numbers
        return self._added(Impute(numbers, tuple(None if raw.fill is None else float(raw.fill) for raw in raws)))

    def _added(self, step: Step) -> int:
        if step in self.steps:  # the same columns, wanted by two transformers
            return self.steps.index(step)
        return self._appended(step)

    def _appended(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _width(self, step: int) -> int:
        return width_of(self.steps[: step + 1], len(self.names))


def filled(feature: Raw, fill: Any) -> Raw:
    """The column with its gaps filled; a second filling finds none."""
    return feature if feature.fill is not None else replace(feature, fill=fill)


def plain(value: Any) -> Any:
    """A numpy value as a Python one; NaN and every other sign for a missing value as None."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return None
    return value
