"""Each step of a preparation, on small columns."""

from typing import Any

import numpy as np
import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.plan.format import (
    Arithmetic,
    Clip,
    Impute,
    Join,
    Linear,
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
from mlauto.serving.plan.prepare import preparation, preparations

COLUMNS: list[list[Any]] = [[1.5, None, 3], [True, False, None], ["a", "b", None]]
NAN = None


def made(*steps: Step, columns: Any = None) -> list[list[float | None]]:
    """The prepared rows, NaN as None."""
    plan = Plan(columns=("x", "open", "kind"), steps=steps, estimator=Linear(1, "identity"))
    columns = COLUMNS if columns is None else columns
    found = preparation(plan)(columns, len(columns[0]))
    assert found.T.flags.c_contiguous
    assert found.dtype == np.float64
    return [[None if np.isnan(cell) else cell for cell in row] for row in found.tolist()]


def test_several_steps_cells_are_given_together() -> None:
    """One matrix for each step that is asked for, with a row for each row."""
    plan = Plan(columns=("x",), steps=(Numbers((0,)), Impute(0, (7.0,))), estimator=Linear(1, "identity"))

    found = preparations(plan, (1, 0, 1))([[1.0, None]], 2)

    assert [cells.shape for cells in found] == [(2, 1)] * 3
    assert found[0].tolist() == found[2].tolist() == [[1.0], [7.0]]
    assert np.isnan(found[1][1, 0])


def test_numbers_and_truth_values_become_cells() -> None:
    """What is missing becomes NaN."""
    assert made(Numbers((0, 1))) == [[1.5, 1.0], [NAN, 0.0], [3.0, NAN]]


def test_gaps_are_filled_cell_by_cell() -> None:
    """A cell without a filling keeps its gap; without gaps nothing is copied."""
    assert made(Numbers((0, 1)), Impute(0, (9.0, None))) == [[1.5, 1.0], [9.0, 0.0], [3.0, NAN]]
    assert made(Numbers((0,)), Impute(0, (9.0,)), columns=[[1, 2], [1, 1], ["", ""]]) == [[1.0], [2.0]]


def test_gaps_are_marked() -> None:
    """1 where a cell is missing."""
    assert made(Numbers((0, 1)), Missing(0, (1, 0))) == [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("operator", "wanted"), [("add", 3.5), ("subtract", -0.5), ("multiply", 3.0), ("divide", 0.75)]
)
def test_numbers_are_calculated_with(operator: str, wanted: float) -> None:
    """One operand for each cell."""
    assert made(Numbers((0,)), Arithmetic(0, operator, (2.0,)))[0] == [wanted]


def test_cells_are_limited_chosen_and_joined() -> None:
    """Clip, take and join."""
    steps = (Numbers((0, 1)), Clip(0, 1.0, 2.0), Take(1, (1, 0, 0)), Join((2, 0)))

    assert made(*steps) == [[1.0, 1.5, 1.5, 1.5, 1.0], [0.0 + 1.0, NAN, NAN, NAN, 0.0], [NAN, 2.0, 2.0, 3.0, NAN]]


def test_values_are_looked_up() -> None:
    """Listed ones have codes, others the unknown one, gaps their own."""
    table = Table(2, ("a",), (4.0,), unknown=-1.0, missing=None)

    assert made(Lookup((table,))) == [[4.0], [-1.0], [NAN]]
    assert made(Lookup((Table(1, (False, True), (0.0, 1.0), missing=5.0),))) == [[1.0], [0.0], [5.0]]


def test_values_become_ones() -> None:
    """A dropped category, an unknown one and a gap without a place leave zeros."""
    first = Table(2, ("a", "b"), (2.0, None))
    second = Table(1, (True, False), (0.0, 1.0), missing=1.0)

    assert made(OneHot((first, second), 3)) == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (Table(2, ("a",), (0.0,), refuse_unknown=True), "does not know 'b' in column 'kind'"),
        (Table(2, ("a", "b"), (0.0, 1.0), refuse_missing=True), "refuses a missing value in column 'kind'"),
    ],
)
@pytest.mark.parametrize("one_hot", [True, False])
def test_refused_values_are_named(table: Table, message: str, one_hot: bool) -> None:
    """As an encoder of the pipeline refuses them."""
    with pytest.raises(RequestError, match=message) as caught:
        made(OneHot((table,), 2) if one_hot else Lookup((table,)))

    assert caught.value.status == 422


def test_numbers_are_recoded() -> None:
    """Listed numbers have codes, others the unknown one, gaps their own."""
    step = Recode(0, (Recoding((0.0, 1.5), (7.0, 8.0), unknown=-1.0, missing=None),))

    assert made(Numbers((0,)), step) == [[8.0], [NAN], [-1.0]]
