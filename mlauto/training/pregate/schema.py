"""Expectations that names, types and the number of rows decide: no value is read for them."""

from collections.abc import Callable
from typing import Any

from mlauto.training.pregate.parts import Parts
from mlauto.training.pregate.rows import Arguments, bounds
from mlauto.training.pregate.totals import judged

__all__ = ["DTYPES", "TABLE", "TYPES", "accepted"]

DTYPES = {"integer": "int64", "number": "float64", "boolean": "bool", "time": "datetime64[us]"}
TYPES = {"expect_column_values_to_be_in_type_list": "type_list", "expect_column_values_to_be_of_type": "type_"}
TableRule = Callable[[Arguments, Parts], bool | None]


def accepted(kind: str, arguments: Arguments, column: str) -> bool | None:
    """Whether a column of that kind (see `frames`) has one of the types; of text, whether its values have.

    None for names of types that numpy does not know.
    """
    import numpy as np

    single = kind == "expect_column_values_to_be_of_type"
    wanted = [arguments.get("type_")] if single else arguments.get("type_list")
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted) or not wanted:
        return None
    try:
        known = [np.dtype(name) for name in wanted]
    except (TypeError, ValueError, SyntaxError):
        return None
    types = [dtype.type for dtype in known]
    for name in wanted:
        types += _native(name)
    if column == "string":
        # Asked for these, Great Expectations looks at the column's type instead.
        if {"object", "object_", "O"} & {*wanted}:
            return None
        return isinstance("text", tuple(types))
    dtype = np.dtype(DTYPES[column])
    return dtype.type in types if single else dtype in [*types, *known]


def _native(name: str) -> tuple[Any, ...]:
    from great_expectations.expectations.type_comparison import native_type_type_map

    return native_type_type_map(name) or ()


def _row_count(arguments: Arguments, table: Parts) -> bool | None:
    limits = bounds(arguments)
    known = {*arguments} <= {"min_value", "max_value", "strict_min", "strict_max"}
    return judged(table.rows, limits) if known and limits is not None else None


def _row_count_equal(arguments: Arguments, table: Parts) -> bool | None:
    return table.rows == arguments.get("value") if {*arguments} == {"value"} else None


def _column_count(arguments: Arguments, table: Parts) -> bool | None:
    return len(table.names) == arguments.get("value") if {*arguments} == {"value"} else None


def _column_set(arguments: Arguments, table: Parts) -> bool | None:
    wanted, exact = arguments.get("column_set"), arguments.get("exact_match", True)
    if not {*arguments} <= {"column_set", "exact_match"} or not isinstance(wanted, list):
        return None
    return not {*wanted} - {*table.names} and not (exact and {*table.names} - {*wanted})


def _column_list(arguments: Arguments, table: Parts) -> bool | None:
    wanted = arguments.get("column_list")
    return wanted == list(table.names) if {*arguments} == {"column_list"} and isinstance(wanted, list) else None


def _exists(arguments: Arguments, table: Parts) -> bool | None:
    return arguments["column"] in table.names if {*arguments} == {"column"} else None


TABLE: dict[str, TableRule] = {
    "expect_table_row_count_to_be_between": _row_count,
    "expect_table_row_count_to_equal": _row_count_equal,
    "expect_table_column_count_to_equal": _column_count,
    "expect_table_columns_to_match_set": _column_set,
    "expect_table_columns_to_match_ordered_list": _column_list,
    "expect_column_to_exist": _exists,
}
