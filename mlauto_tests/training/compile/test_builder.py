"""Features and the steps that make them."""

import numpy as np
import pytest

from mlauto.serving.plan.format import Impute, Join, Numbers, Take
from mlauto.training.compile.builder import Builder, Cell, Raw, UnsupportedError, filled, plain

COLUMNS = {"x": "number", "kind": "string", "open": "boolean"}


def test_untouched_numbers_become_one_matrix() -> None:
    """Also when only some of their gaps are filled."""
    builder = Builder(COLUMNS)

    last = builder.matrix([Raw(2), Raw(0, 1.5)], "Ridge")

    assert builder.steps[: last + 1] == [Numbers((2, 0)), Impute(0, (None, 1.5))]


def test_cells_are_taken_only_where_they_must_be() -> None:
    """All cells of a step, in order, are that step; others are taken; a mixture is joined; nothing is made twice."""
    builder = Builder(COLUMNS)
    cells = builder.add(Numbers((0, 2)))
    assert cells == [Cell(0, 0), Cell(0, 1)]

    assert builder.matrix(cells, "Ridge") == 0
    assert builder.matrix(cells[::-1], "Ridge") == 1
    assert builder.matrix(cells[::-1], "Ridge") == 1
    assert builder.matrix([*cells, Raw(0)], "Ridge") == 3
    assert builder.steps == [Numbers((0, 2)), Take(0, (1, 0)), Numbers((0,)), Join((0, 2))]


def test_merging_makes_nothing_twice() -> None:
    """Only while it is asked for: the plans of single models stay what they were."""
    builder = Builder(COLUMNS)
    builder.add(Numbers((0,)))
    assert builder.add(Numbers((0,))) == [Cell(1, 0)]
    builder.merges = True

    assert builder.add(Numbers((0,))) == [Cell(0, 0)]
    assert builder.add(Numbers((2,))) == [Cell(2, 0)]
    assert builder.steps == [Numbers((0,)), Numbers((0,)), Numbers((2,))]


def test_text_and_nothing_are_refused() -> None:
    """With the column, and who wanted it."""
    builder = Builder(COLUMNS)

    with pytest.raises(UnsupportedError, match="column 'kind' reaches Ridge as text"):
        builder.matrix([builder.start()[1]], "Ridge")
    with pytest.raises(UnsupportedError, match="Ridge gets no features"):
        builder.matrix([], "Ridge")


def test_only_the_first_filling_fills() -> None:
    """Behind it there are no gaps."""
    assert filled(filled(Raw(1), "a"), "b") == Raw(1, "a")


def test_values_become_plain() -> None:
    """Numpy's types become Python's, and every sign for a missing value None."""
    import pandas as pd

    values = [np.float64(1.5), np.int64(2), np.bool_(True), np.str_("a"), np.nan, None, pd.NA]

    assert [plain(value) for value in values] == [1.5, 2, True, "a", None, None, None]
    assert [type(plain(value)) for value in values[:4]] == [float, int, bool, str]
