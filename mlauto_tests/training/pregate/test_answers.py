"""Answers from parts: shares at their edge, gaps, pairs, and tables without rows."""

import numpy as np
import pytest

from mlauto.training.pregate.answers import Check, Figure, Gaps, Pair, PresentShare, Settled, Share, Whole
from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.totals import FIGURES

NAN = float("nan")


def part(*values: float) -> Part:
    array = np.array(values, dtype=float)
    return Part(rows=len(array), present=int((~np.isnan(array)).sum()), values=array)


def after(check: Check, *parts: Part) -> bool | None:
    for one in parts:
        check.add({"a": one})
    return check.verdict()


@pytest.mark.parametrize(("mostly", "holds"), [(0.75, True), (0.76, False), (3 / 4, True), (0, True), (1, False)])
def test_gaps_are_a_share_of_all_rows(mostly: float, holds: bool) -> None:
    """One of four is missing."""
    assert after(Gaps("a", mostly, present=True), part(1, NAN), part(1, 1)) is holds


def test_missing_values_may_be_what_is_wanted() -> None:
    """One of four is not enough for half."""
    assert after(Gaps("a", 0.25, present=False), part(1, NAN), part(1, 1)) is True
    assert after(Gaps("a", 0.5, present=False), part(1, NAN), part(1, 1)) is False


@pytest.mark.parametrize(("mostly", "holds"), [(2 / 3, True), (0.667, False), (1, False)])
def test_shares_are_of_the_values_that_are_there(mostly: float, holds: bool) -> None:
    """Two of three are positive; the missing one does not count."""
    question = Share("a", mostly, lambda one: one.count(one.values > 0))

    assert after(question, part(1, NAN), part(NAN), part(-1, 2)) is holds


def test_nothing_fails_without_rows() -> None:
    """As Great Expectations has it: vacuously true, but a figure is not there."""
    nothing = lambda one: 0  # noqa: E731 - a question

    assert after(Gaps("a", 1, present=True)) is after(Share("a", 1, nothing), part(NAN)) is True
    assert after(PresentShare("a", (0.1, None, False, False))) is False
    assert after(Figure("a", (0, None, False, False), FIGURES["expect_column_mean_to_be_between"])) is False


def test_a_figure_of_infinite_values_is_left_open() -> None:
    """What pandas says of them is asked of pandas."""
    figure = Figure("a", (0, None, False, False), FIGURES["expect_column_max_to_be_between"])

    assert after(figure, part(1, 2), part(float("inf")), part(3)) is None


def test_the_share_of_values_that_are_there() -> None:
    """Three of four, within limits that may be strict."""
    assert after(PresentShare("a", (0.75, 1, False, False)), part(1, 1, NAN, 1)) is True
    assert after(PresentShare("a", (0.75, 1, True, False)), part(1, 1, NAN, 1)) is False


def test_whole_columns_are_put_together() -> None:
    """Values that are alone in each part may not be alone in the column; missing ones are no values."""
    words = [Part(rows=2, present=2, values=np.array(["x", "y"], object), counts=np.array([1, 1]))] * 2

    assert after(Whole("a", "number", lambda held: held.alone() == 0.5), part(1, NAN, 2), part(1, 3, NAN)) is True
    assert after(Whole("a", "string", lambda held: held.alone() == 0), *words) is True
    assert after(Whole("a", "time", lambda held: len(held.values) == 0)) is True


def test_what_is_settled_stays() -> None:
    """Whatever is read."""
    assert after(Settled(("a",), False), part(1)) is False
    assert Settled((), True).columns == ()


@pytest.mark.parametrize(
    ("ignored", "or_equal", "rows", "good"),
    [
        ("both_values_are_missing", False, 5, 1),
        ("both_values_are_missing", True, 5, 2),
        ("either_value_is_missing", False, 3, 1),
        ("neither", True, 6, 2),
    ],
)
def test_pairs_are_compared_row_by_row(ignored: str, or_equal: bool, rows: int, good: int) -> None:
    """A comparison with a missing value does not hold, unless its row is left out."""
    first, second = part(3, 1, 1, NAN, 1, NAN), part(2, 1, 2, 1, NAN, NAN)
    for mostly, holds in ((good / rows, True), (good / rows + 0.001, False)):
        pair = Pair(("a", "b"), or_equal=or_equal, ignored=ignored, mostly=mostly)

        pair.add({"a": first, "b": second})

        assert pair.verdict() is holds
