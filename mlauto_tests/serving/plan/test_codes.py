"""What a table says of a value, listed or not."""

import math

import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.plan.codes import Codes
from mlauto.serving.plan.format import Table


def test_values_have_codes() -> None:
    """A code of None is what stands for nothing; unknown and missing values have their own."""
    codes = Codes(Table(0, ("a", "b"), (4.0, None), unknown=-1.0, missing=7.0), "kind", 9.0)

    assert [codes[value] for value in ("a", "b", "c", None)] == [4.0, 9.0, -1.0, 7.0]


def test_what_has_no_code_stands_for_nothing() -> None:
    """Where the table gives unknown and missing values none."""
    codes = Codes(Table(0, ("a",), (4.0,)), "kind", math.nan)

    assert all(math.isnan(codes[value]) for value in ("c", None))


def test_refused_values_are_named() -> None:
    """With the column, as the client's mistake."""
    codes = Codes(Table(0, ("a",), (4.0,), refuse_unknown=True, refuse_missing=True), "kind", 0.0)

    for value, words in (("z", "does not know 'z' in column 'kind'"), (None, "a missing value in column 'kind'")):
        with pytest.raises(RequestError, match=words) as caught:
            codes[value]
        assert caught.value.status == 422
