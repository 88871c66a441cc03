"""What names, types and the number of rows decide."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.schema import TABLE, TYPES, accepted


class Header:
    """A table that cannot be read: nothing here may try."""

    kinds = {"a": "integer", "b": "number"}  # noqa: RUF012 - never changed
    names = ("a", "b")
    rows = 10

    def parts(self, names: Sequence[str]) -> Iterator[dict[str, Part]]:
        raise AssertionError(f"{names} were read")


@pytest.mark.parametrize(
    ("kind", "arguments", "holds"),
    [
        ("table_row_count_to_be_between", {"min_value": 10, "max_value": 10}, True),
        ("table_row_count_to_be_between", {"min_value": 10, "strict_min": True}, False),
        ("table_row_count_to_be_between", {"min_value": {"$PARAMETER": "x"}}, None),
        ("table_row_count_to_equal", {"value": 10}, True),
        ("table_row_count_to_equal", {"value": 9}, False),
        ("table_column_count_to_equal", {"value": 2}, True),
        ("table_columns_to_match_set", {"column_set": ["b", "a"]}, True),
        ("table_columns_to_match_set", {"column_set": ["a"]}, False),
        ("table_columns_to_match_set", {"column_set": ["a"], "exact_match": False}, True),
        ("table_columns_to_match_set", {"column_set": ["a", "c"], "exact_match": False}, False),
        ("table_columns_to_match_set", {"column_set": None}, None),
        ("table_columns_to_match_ordered_list", {"column_list": ["a", "b"]}, True),
        ("table_columns_to_match_ordered_list", {"column_list": ["b", "a"]}, False),
        ("column_to_exist", {"column": "a"}, True),
        ("column_to_exist", {"column": "c"}, False),
        ("column_to_exist", {"column": "a", "column_index": 1}, None),
    ],
)
def test_a_table_is_judged_by_its_header(kind: str, arguments: dict[str, Any], holds: bool | None) -> None:
    """Nothing is read; what is asked with more arguments than are known is not answered."""
    assert TABLE[f"expect_{kind}"](arguments, Header()) is holds


@pytest.mark.parametrize(
    ("kind", "types", "holds"),
    [
        ("integer", ["int64", "float64"], True),
        ("integer", ["int"], True),
        ("integer", ["float64"], False),
        ("boolean", ["bool"], True),
        ("time", ["datetime64[us]"], True),
        ("time", ["datetime64[ns]"], False),
        ("string", ["str"], True),
        ("string", ["int64"], False),
        ("string", ["object"], None),
        ("number", ["float64", "Timestamp"], None),
        ("number", [], None),
        ("number", [None], None),
        ("number", None, None),
    ],
)
def test_types_are_those_of_a_typed_frame(kind: str, types: object, holds: bool | None) -> None:
    """A name that numpy does not know is pandas' perhaps: it is left to Great Expectations."""
    assert accepted("expect_column_values_to_be_in_type_list", {"type_list": types}, kind) is holds


def test_one_type_is_compared_by_its_class() -> None:
    """As Great Expectations does for a single one: `datetime64` of any precision."""
    assert accepted("expect_column_values_to_be_of_type", {"type_": "datetime64"}, "time") is True
    assert accepted("expect_column_values_to_be_of_type", {"type_": "int"}, "integer") is True
    assert {*TYPES} == {"expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list"}
