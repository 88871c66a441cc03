"""Clients' values against the columns that a model takes."""

import math
from typing import Any

import pytest

from mlauto.serving.errors import RequestError
from mlauto.serving.wire.signature import (
    MOST_CELLS,
    Column,
    Signature,
    check_size,
    described,
    rows_from,
    unknown_column,
)

SIGNATURE = Signature(
    columns={"temp": "number", "hour": "integer", "holiday": "boolean", "sky": "string"}, task="regression"
)


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    count = len(next(iter(columns.values())))
    return rows_from({name: Column(values, f"place.{name}") for name, values in columns.items()}, count, SIGNATURE)


def test_rows_have_every_column_in_the_signatures_order() -> None:
    """Columns that were left out are missing values; the client's order does not matter."""
    found = rows(sky=["rain", None], temp=[1, 2.5])

    assert found == [
        {"temp": 1, "hour": None, "holiday": None, "sky": "rain"},
        {"temp": 2.5, "hour": None, "holiday": None, "sky": None},
    ]
    assert list(found[0]) == list(SIGNATURE.columns)


def test_whole_floats_and_zero_one_become_their_kind() -> None:
    """`3.0` is a whole number for clients whose JSON knows only floats, and 0 and 1 are truth values."""
    found = rows(hour=[3.0, None, 2**63 - 1], holiday=[1, False, None])

    assert [row["hour"] for row in found] == [3, None, 2**63 - 1]
    assert type(found[0]["hour"]) is int
    assert [row["holiday"] for row in found] == [True, False, None]
    assert type(found[0]["holiday"]) is bool


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("temp", "warm", "takes a number, not the text 'warm'"),
        ("temp", True, "takes a number, not true"),
        ("temp", [1.0], "takes a number, not a list"),
        ("temp", {"a": 1}, "takes a number, not an object"),
        ("temp", math.inf, "takes a number, not a number that is too large"),
        ("temp", 10**400, "takes a number, not a number that is too large"),
        ("hour", 2.5, "takes a whole number, not the number 2.5"),
        ("hour", 2**63, "takes a whole number"),
        ("hour", False, "takes a whole number, not false"),
        ("hour", math.nan, "takes a whole number"),
        ("holiday", 2, "takes true or false, not the number 2"),
        ("holiday", 1.0, "takes true or false"),
        ("holiday", "yes", "takes true or false, not the text 'yes'"),
        ("sky", 7, "takes text, not the number 7"),
        ("sky", False, "takes text, not false"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(column: str, value: object, words: str) -> None:
    """The message has the place, the column, what it takes and what came."""
    with pytest.raises(RequestError) as caught:
        rows(**{column: [None, value]})

    assert str(caught.value).startswith(f"place.{column}[1]: column {column!r} takes ")
    assert words in str(caught.value)
    assert caught.value.status == 400


def test_an_unknown_column_gets_a_hint() -> None:
    """A near miss is asked for, otherwise the columns are listed; a long name is cut."""
    with pytest.raises(RequestError, match=r"'tmp' is not one of the model's: did you mean 'temp'\?"):
        rows(tmp=[1])
    for far in ("x" * 5000, "timestamp"):
        assert "its columns are temp, hour, holiday, sky" in unknown_column(far, SIGNATURE)
    assert len(unknown_column("x" * 5000, SIGNATURE)) < 300


def test_a_request_without_rows_is_refused() -> None:
    """Nothing to predict is a mistake of the client's."""
    with pytest.raises(RequestError, match="no rows"):
        rows(temp=[])


def test_a_request_with_too_many_rows_is_refused_with_the_number_that_fits() -> None:
    """Memory is bounded by rows times columns, whatever the body's size."""
    with pytest.raises(RequestError, match=f"at most {MOST_CELLS // 4}") as caught:
        rows_from({}, MOST_CELLS // 4 + 1, SIGNATURE)
    assert caught.value.status == 413


def test_a_model_without_columns_takes_empty_rows() -> None:
    """The number of rows is kept."""
    assert rows_from({}, 2, Signature(columns={}, task="regression")) == [{}, {}]


def test_long_texts_are_cut_in_messages() -> None:
    """A message never repeats a whole body."""
    assert len(described("y" * 10_000)) < 60
    assert described(None) == "null"


LIMITED = Signature(
    columns=SIGNATURE.columns,
    task="regression",
    limits={"temp": (-0.5, 1.5), "hour": (0, None)},
    categories={"sky": ("clear", "rain")},
)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("temp", 1.6, "x[1]: column 'temp' takes values from -0.5 to 1.5, not the number 1.6"),
        ("temp", -1, "x[1]: column 'temp' takes values from -0.5 to 1.5, not the number -1"),
        ("hour", -1, "x[1]: column 'hour' takes values of at least 0, not the number -1"),
        ("hour", 0.5, "x[1]: column 'hour' takes a whole number"),
        ("sky", "fog", "x[1]: column 'sky' takes one of 'clear', 'rain', not the text 'fog'"),
    ],
)
def test_what_is_outside_limits_and_categories_is_refused(column: str, value: object, words: str) -> None:
    """The sentence says what is allowed; missing values always are."""
    with pytest.raises(RequestError) as caught:
        rows_from({column: Column([None, value], "x")}, 2, LIMITED)

    assert str(caught.value).startswith(words)
    assert not LIMITED.allows(column, value) or value == 0.5


def test_what_is_inside_is_taken() -> None:
    """Both ends belong to it; columns without limits take everything."""
    columns = {"temp": [-0.5, 1.5], "hour": [0, 2**60], "sky": ["rain", None], "holiday": [True, None]}
    found = rows_from({name: Column(values, "x") for name, values in columns.items()}, 2, LIMITED)

    assert [row["hour"] for row in found] == [0, 2**60]
    assert all(LIMITED.allows(name, value) for name, values in columns.items() for value in values)


def test_what_is_allowed_is_said_in_few_words() -> None:
    """Also of many categories, of numbers, and of a single limit."""
    signature = Signature(
        {}, "regression", limits={"low": (1.5, None), "high": (None, 2.0)}, categories={"many": tuple(range(25))}
    )

    assert signature.allowed("low") == "values of at least 1.5"
    assert signature.allowed("high") == "values of at most 2"
    assert signature.allowed("other") == ""
    assert signature.allowed("many").startswith("one of 0, 1, ")
    assert signature.allowed("many").endswith(", 19 and 5 more")


def test_sizes_are_bounded_by_cells() -> None:
    """Nothing, and more than fits into memory, are refused before anything is made of them."""
    check_size(MOST_CELLS // 4, SIGNATURE)
    with pytest.raises(RequestError, match="no rows"):
        check_size(0, SIGNATURE)
    with pytest.raises(RequestError, match="send at most"):
        check_size(MOST_CELLS // 4 + 1, SIGNATURE)
