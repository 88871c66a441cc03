"""Figures of columns: equal to pandas', whatever the parts, and no verdict too near to a bound."""

import numpy as np
import pandas as pd
import pytest

from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.rows import Bounds
from mlauto.training.pregate.totals import FIGURES, MEASURES, Held, Sums, judged

OPEN: Bounds = (None, None, False, False)


def summed(values: np.ndarray, parts: int = 1) -> Sums:
    sums = Sums()
    for piece in np.array_split(values, parts):
        sums.add(Part(rows=len(piece), present=len(piece) - int(pd.isna(piece).sum()), values=piece))
    return sums


def held(*values: object, rows: tuple[int, ...] | None = None) -> Held:
    return Held(pd.Series(values), pd.Series(rows or (1,) * len(values)))


@pytest.mark.parametrize("parts", [1, 2, 7, 100])
def test_sums_are_those_of_pandas_however_they_are_cut(parts: int) -> None:
    """Mean, sum, deviation and extremes, with gaps, far from zero."""
    values = np.random.default_rng(0).normal(1e6, 3, 5000)
    values[::9] = np.nan
    column, sums = pd.Series(values), summed(values, parts)

    assert sums.total / sums.count == pytest.approx(column.mean(), rel=1e-13)
    assert sums.total == pytest.approx(column.sum(), rel=1e-13)
    assert np.sqrt(sums.squares / (sums.count - 1)) == pytest.approx(column.std(), rel=1e-10)
    assert (sums.low, sums.high, sums.count) == (column.min(), column.max(), column.count())


@pytest.mark.parametrize("figure", ["mean", "sum", "stdev"])
def test_a_bound_that_is_nearly_hit_is_not_judged(figure: str) -> None:
    """Which side it is on depends on the order of adding."""
    sums = summed(np.full(1000, 0.1), parts=3)
    value = {"mean": 0.1, "sum": 100.0, "stdev": 0.0}[figure]
    judge = FIGURES[f"expect_column_{figure}_to_be_between"]

    assert judge(sums, (value, None, False, False)) is None
    assert judge(sums, (None, value + 0.01, True, False)) is True
    assert judge(sums, (value + 0.01, None, False, False)) is False


def test_extremes_are_exact() -> None:
    """Nothing is added up for them: a bound that is hit is judged."""
    sums = summed(np.array([3, 1, 2]), parts=2)

    assert FIGURES["expect_column_min_to_be_between"](sums, (1, None, False, False)) is True
    assert FIGURES["expect_column_min_to_be_between"](sums, (1, None, True, False)) is False
    assert FIGURES["expect_column_max_to_be_between"](sums, (None, 3, False, False)) is True
    assert FIGURES["expect_column_max_to_be_between"](sums, (None, 3, False, True)) is False


@pytest.mark.parametrize("figure", ["mean", "stdev", "min", "max"])
def test_no_values_have_no_figure(figure: str) -> None:
    """It is within nothing, as Great Expectations has it; only their sum is 0."""
    sums = summed(np.array([np.nan, np.nan]))

    assert FIGURES[f"expect_column_{figure}_to_be_between"](sums, OPEN) is False
    assert FIGURES["expect_column_sum_to_be_between"](sums, (0, 0, False, False)) is True


def test_one_value_does_not_deviate() -> None:
    """A sample's deviation needs two."""
    assert FIGURES["expect_column_stdev_to_be_between"](summed(np.array([5.0])), OPEN) is False


@pytest.mark.parametrize("values", [[1e308, 1e308], [np.inf, 1.0], [-np.inf, np.inf], [1e200, -1e200]])
def test_what_overflows_is_not_finite(values: list[float]) -> None:
    """Without a warning; nobody judges such a column here."""
    assert not summed(np.array(values)).finite


def test_whole_numbers_that_floats_do_not_hold_are_not_judged() -> None:
    """By numpy and by Python they are compared with a float in two ways."""
    sums = summed(np.array([2**53 + 1, 2**62]))

    for figure in ("min", "max", "sum"):
        assert FIGURES[f"expect_column_{figure}_to_be_between"](sums, (0, None, False, False)) is None


def test_distinct_values_alone_and_repeated() -> None:
    """A text that comes in two parts, or twice in one, is not alone."""
    assert held(1, 2, 2, 3).alone() == 0.5
    assert held("a", "b", "a", rows=(1, 2, 1)).alone() == 0
    assert held("a", "b", "c", rows=(1, 2, 1)).alone() == 0.5
    assert Held(pd.Series([], dtype=object), pd.Series([], dtype="int64")).alone() == 1


def test_measures_of_values_that_are_held() -> None:
    """Median, number and share of distinct values."""
    measure = {kind.removeprefix("expect_column_").removesuffix("_to_be_between"): MEASURES[kind] for kind in MEASURES}

    assert measure["median"](held(1.0, 2.0, 10.0)) == 2
    assert measure["unique_value_count"](held("a", "b", "a", rows=(2, 1, 1))) == 2
    assert measure["proportion_of_unique_values"](held("a", "b", "a", rows=(2, 1, 1))) == 0.5
    assert measure["proportion_of_unique_values"](held()) == 0


def test_quantiles_may_be_just_outside() -> None:
    """By one ten-thousandth, as Great Expectations has it; no values have none."""
    values = held(*range(101))

    assert values.quantiles_within([0.1, 0.5], [(10, 10), (None, 49.996)])
    assert not values.quantiles_within([0.1, 0.5], [(10, 10), (None, 49.99)])
    assert not Held(pd.Series([], dtype="float64"), pd.Series([], dtype="int64")).quantiles_within(
        [0.5], [(None, None)]
    )


def test_a_figure_is_judged_by_its_bounds() -> None:
    """With no value, false; within the error of a bound, nothing."""
    assert judged(1, (1, 1, False, False)) is True
    assert judged(1, (1, None, True, False)) is False
    assert judged(None, OPEN) is judged(float("nan"), OPEN) is False
    assert judged(1, (1.05, None, False, False), error=0.1) is None
