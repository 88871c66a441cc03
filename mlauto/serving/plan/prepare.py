"""The steps of a plan: a request's columns in, the estimator's matrix out, as the pipeline's transformers made it.

Every operation is the one that scikit-learn does, in its order, in float64. In here a matrix has a row for each cell,
so that what is done to one column of the request is done to numbers that lie side by side.
"""

import math
import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.serving.plan.codes import Codes
from mlauto.serving.plan.format import (
    Arithmetic,
    Clip,
    Impute,
    Join,
    Lookup,
    Missing,
    Numbers,
    OneHot,
    Plan,
    Recode,
    Recoding,
    Step,
    Table,
    Take,
)

__all__ = ["Columns", "Matrix", "preparation", "preparations"]

Columns = Sequence[Sequence[Any]]  # in the signature's order, each with a value, or None, for every row
Matrix = NDArray[np.float64]
# the matrices made so far, and the request's columns and number of rows
Run = Callable[[list[Matrix], Columns, int], Matrix]
MANY_ROWS = 64
OPERATIONS = {"subtract": np.subtract, "divide": np.divide, "multiply": np.multiply, "add": np.add}


def preparation(plan: Plan) -> Callable[[Columns, int], Matrix]:
    """A function from a request's columns and number of rows to a matrix (rows, width), its columns contiguous.

    The function raises `RequestError` (422) for a value that the pipeline's encoder refuses.
    """
    make = _maker(plan)
    return lambda columns, rows: make(columns, rows)[-1].T


def preparations(plan: Plan, sources: Sequence[int]) -> Callable[[Columns, int], list[Matrix]]:
    """The same with a matrix for each of these steps."""
    make = _maker(plan)

    def prepare(columns: Columns, rows: int) -> list[Matrix]:
        made = make(columns, rows)
        return [made[source].T for source in sources]

    return prepare


def _maker(plan: Plan) -> Callable[[Columns, int], list[Matrix]]:
    runs = [_run(step, plan.columns) for step in plan.steps]

    def make(columns: Columns, rows: int) -> list[Matrix]:
        made: list[Matrix] = []
        for run in runs:
            made.append(run(made, columns, rows))
        return made

    return make


def _run(step: Step, names: Sequence[str]) -> Run:  # noqa: C901 - a case for each step
    match step:
        case Numbers(columns=wanted):
            return lambda _made, columns, rows: _numbers([columns[place] for place in wanted], rows)
        case Lookup():
            return _lookup(step, names)
        case OneHot():
            return _one_hot(step, names)
        case Join(sources=sources):
            return lambda made, _columns, _rows: np.concatenate([made[source] for source in sources])
        case Take(source=source, cells=cells):
            places = np.array(cells, dtype=np.intp)
            return lambda made, _columns, _rows: made[source][places]
        case Missing(source=source, cells=cells):
            places = np.array(cells, dtype=np.intp)
            return lambda made, _columns, _rows: np.isnan(made[source][places]).astype(np.float64)
        case Recode(source=source):
            codes = [_recoding(recoding) for recoding in step.recodings]
            return lambda made, _columns, _rows: np.stack([f(x) for f, x in zip(codes, made[source], strict=True)])
        case Impute():
            return _impute(step)
        case Arithmetic(source=source, operator=operator, values=values):
            operation, operand = OPERATIONS[operator], np.array(values, dtype=np.float64)[:, None]
            return lambda made, _columns, _rows: operation(made[source], operand)
        case Clip(source=source, low=low, high=high):
            return lambda made, _columns, _rows: np.clip(made[source], low, high)


def _numbers(columns: Columns, rows: int) -> Matrix:
    """None becomes NaN. For many rows `struct` takes half of numpy's time, for few the other way round."""
    if rows < MANY_ROWS or not columns:
        return np.array(columns, dtype=np.float64).reshape(len(columns), rows)
    form = f"{rows}d"
    packed = bytearray()
    for column in columns:
        try:
            packed += struct.pack(form, *column)
        except struct.error:
            packed += struct.pack(form, *[math.nan if value is None else value for value in column])
    return np.frombuffer(packed).reshape(len(columns), rows)


def _recoding(recoding: Recoding) -> Callable[[Matrix], Matrix]:
    values = np.array(recoding.values, dtype=np.float64)
    codes, unknown, missing = (
        np.array([np.nan if value is None else value for value in some], dtype=np.float64)
        for some in (recoding.codes, (recoding.unknown,), (recoding.missing,))
    )

    def run(cells: Matrix) -> Matrix:
        places = np.minimum(np.searchsorted(values, cells), len(values) - 1)
        found = np.where(values[places] == cells, codes[places], unknown)
        return np.where(np.isnan(cells), missing, found)

    return run


def _impute(step: Impute) -> Run:
    source = step.source
    fill = np.array([[np.nan if value is None else value] for value in step.fill], dtype=np.float64)

    def run(made: list[Matrix], _columns: Columns, _rows: int) -> Matrix:
        found = made[source]
        gaps = np.isnan(found)
        return np.where(gaps, fill, found) if gaps.any() else found

    return run


def _codes(tables: Sequence[Table], names: Sequence[str], nothing: float) -> Callable[[Columns, int], Matrix]:
    """A function from a request's columns to their codes, a row for each table."""
    known = [(table.column, Codes(table, names[table.column], nothing).__getitem__) for table in tables]

    def run(columns: Columns, rows: int) -> Matrix:
        found = chain.from_iterable([map(code, columns[column]) for column, code in known])
        return np.frombuffer(struct.pack(f"{len(known) * rows}d", *found)).reshape(len(known), rows)

    return run


def _lookup(step: Lookup, names: Sequence[str]) -> Run:
    codes = _codes(step.tables, names, math.nan)
    return lambda _made, columns, rows: codes(columns, rows)


def _one_hot(step: OneHot, names: Sequence[str]) -> Run:
    width = step.width
    # the place behind the last one takes the ones that belong nowhere
    codes = _codes(step.tables, names, float(width))

    def run(_made: list[Matrix], columns: Columns, rows: int) -> Matrix:
        found = np.zeros((width + 1, rows))
        found[codes(columns, rows).astype(np.intp), np.arange(rows)] = 1.0
        return found[:width]

    return run
