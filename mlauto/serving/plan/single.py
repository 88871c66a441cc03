"""The steps of a plan for one row by itself, number by number: numpy needs longer to begin than Python to end.

Only steps of which Python's arithmetic makes the same bits as numpy's; a plan with others has no such way.
"""

import math
import operator
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.codes import Codes
from mlauto.serving.plan.format import Arithmetic, Impute, Join, Lookup, Numbers, OneHot, Plan, Step

__all__ = ["Row", "single", "singles"]

Row = Sequence[Any]  # in the signature's order
Cells = list[float]
Run = Callable[[list[Cells], Row], Cells]
OPERATIONS = {"subtract": operator.sub, "divide": operator.truediv, "multiply": operator.mul, "add": operator.add}


def single(plan: Plan) -> Callable[[Row], NDArray[np.float64]] | None:
    """A function from a row to the matrix (1, width) that `preparation` makes of it; None where a step is another.

    The function raises `RequestError` (422) for a value that the pipeline's encoder refuses.
    """
    make = _maker(plan)
    return None if make is None else lambda row: _matrix(make(row)[-1])


def singles(plan: Plan, sources: Sequence[int]) -> Callable[[Row], list[NDArray[np.float64]]] | None:
    """The same with a matrix for each of these steps."""
    make = _maker(plan)
    if make is None:
        return None

    def prepare(row: Row) -> list[NDArray[np.float64]]:
        made = make(row)
        return [_matrix(made[source]) for source in sources]

    return prepare


def _maker(plan: Plan) -> Callable[[Row], list[Cells]] | None:
    runs = []
    for step in plan.steps:
        run = _run(step, plan.columns)
        if run is None:
            return None
        runs.append(run)

    def make(row: Row) -> list[Cells]:
        made: list[Cells] = []
        for run in runs:
            made.append(run(made, row))
        return made

    return make


def _matrix(cells: Cells) -> NDArray[np.float64]:
    found = np.frombuffer(array("d", cells))
    return found.reshape(len(found), 1).T


def _run(step: Step, names: Sequence[str]) -> Run | None:
    match step:
        case Numbers(columns=wanted):
            places = list(wanted)
            return lambda _made, row: [math.nan if (value := row[place]) is None else value for place in places]
        case Lookup(tables=tables):
            known = [(table.column, Codes(table, names[table.column], math.nan)) for table in tables]
            return lambda _made, row: [codes[row[column]] for column, codes in known]
        case OneHot():
            return _one_hot(step, names)
        case Impute(source=source, fill=fill):
            given = [math.nan if value is None else value for value in fill]
            return lambda made, _row: [
                instead if cell != cell else cell  # noqa: PLR0124 -- only NaN does
                for cell, instead in zip(made[source], given, strict=True)
            ]
        case Arithmetic(source=source, operator=name, values=values) if name != "divide" or all(values):
            operation, operand = OPERATIONS[name], list(values)
            return lambda made, _row: list(map(operation, made[source], operand))
        case Join(sources=sources):
            return lambda made, _row: [cell for source in sources for cell in made[source]]
        case _:
            return None


def _one_hot(step: OneHot, names: Sequence[str]) -> Run:
    nothing = step.width  # the place behind the last one takes the ones that belong nowhere
    known = [(table.column, Codes(table, names[table.column], float(nothing))) for table in step.tables]
    zeros = [0.0] * (nothing + 1)

    def run(_made: list[Cells], row: Row) -> Cells:
        cells = zeros.copy()
        for column, codes in known:
            cells[int(codes[row[column]])] = 1.0
        del cells[nothing]
        return cells

    return run
