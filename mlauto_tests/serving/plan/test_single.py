"""One row by itself becomes the same bits as among others."""

import random
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
    Numbers,
    OneHot,
    Plan,
    Recode,
    Step,
    Table,
    Take,
)
from mlauto.serving.plan.prepare import preparation, preparations
from mlauto.serving.plan.single import single, singles

KIND = Table(2, ("a", "b"), (1.0, 2.0), unknown=None, missing=0.0)
OPEN = Table(1, (False, True), (0.0, None), missing=2.0)
EVERY: tuple[Step, ...] = (
    Numbers((0, 1)),
    Impute(0, (0.1, None)),
    Arithmetic(1, "subtract", (0.3, 1e-3)),
    Arithmetic(2, "divide", (0.7, 3.0)),
    Arithmetic(3, "multiply", (1e300, -0.0)),
    Arithmetic(4, "add", (1e-300, 0.1)),
    OneHot((KIND, OPEN), 3),
    Lookup((KIND, OPEN)),
    Join((5, 6, 3, 7)),
)
NUMBERS: tuple[Any, ...] = (None, 0, -0.0, 0.1, 3, True, -1e308, 1e308, 5e-324, 2**53 + 1, 123456.789)


def plan(*steps: Step) -> Plan:
    return Plan(columns=("x", "open", "kind"), steps=steps, estimator=Linear(1, "identity"))


def rows() -> list[tuple[Any, ...]]:
    chance = random.Random(7)
    free = [(chance.gauss(0, 10), chance.choice((True, False, None)), chance.choice("abz")) for _ in range(300)]
    return [*free, *((number, True, None) for number in NUMBERS)]


@pytest.mark.parametrize("steps", [EVERY[: end + 1] for end in range(len(EVERY))])
def test_a_row_becomes_the_same_bits(steps: tuple[Step, ...]) -> None:
    """After each of the steps: as from numpy, with the same shape and strides, on which sums may depend."""
    one, many = single(plan(*steps)), preparation(plan(*steps))
    assert one is not None
    for row in rows():
        with np.errstate(over="ignore"):
            wanted = many([[value] for value in row], 1)
        found = one(row)
        assert (found.shape, found.strides, found.dtype) == (wanted.shape, wanted.strides, wanted.dtype)
        assert np.isnan(found).tolist() == np.isnan(wanted).tolist()
        assert np.nan_to_num(found).tobytes() == np.nan_to_num(wanted).tobytes()


def test_several_steps_cells_are_given_together() -> None:
    """One matrix for each step that is asked for, as `single` and `preparation` make it."""
    several, many = singles(plan(*EVERY), (0, 6, 6)), preparations(plan(*EVERY), (0, 6, 6))
    assert several is not None
    for row in rows()[:50]:
        wanted = [preparation(plan(*EVERY[: step + 1]))([[value] for value in row], 1) for step in (0, 6, 6)]
        with np.errstate(over="ignore"):
            together = many([[value] for value in row], 1)
        for found in (several(row), together):
            assert [cells.shape for cells in found] == [(1, 2), (1, 3), (1, 3)]
            assert all(np.array_equal(*pair, equal_nan=True) for pair in zip(found, wanted, strict=True))
    assert singles(plan(*EVERY, Clip(0, 0.0, 1.0)), (0,)) is None


@pytest.mark.parametrize(
    "step", [Clip(0, 0.0, 1.0), Take(0, (0,)), Recode(0, ()), Arithmetic(0, "divide", (0.0,))], ids=str
)
def test_other_steps_are_numpys(step: Step) -> None:
    """A division by zero too, which Python refuses."""
    assert single(plan(Numbers((0,)), step)) is None


def test_refused_values_are_named() -> None:
    """As among other rows."""
    one = single(plan(Lookup((Table(2, ("a",), (0.0,), refuse_unknown=True),))))
    assert one is not None

    with pytest.raises(RequestError, match="does not know 'z' in column 'kind'"):
        one((1.0, True, "z"))
