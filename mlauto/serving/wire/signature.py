"""The columns that a model takes, and clients' values checked against them.

| kind      | JSON values that are accepted                            |
|-----------|----------------------------------------------------------|
| `number`  | finite numbers                                           |
| `integer` | whole numbers of 64 bits, `3.0` included                 |
| `boolean` | `true`, `false`, `1`, `0`                                |
| `string`  | text                                                     |

`null`, or leaving a column out, means a missing value in any kind: models impute. Where the product gives a column
limits or categories, other values are refused.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import msgspec

from mlauto.serving.errors import RequestError

__all__ = [
    "KEY",
    "KINDS",
    "LARGEST_FLOAT",
    "LONGEST_KEY",
    "MOST_CELLS",
    "Column",
    "Limit",
    "Signature",
    "check_size",
    "described",
    "rows_from",
    "unknown_column",
]

MOST_CELLS = 2_000_000  # of one request: bounds memory, as a 16 MB body may hold millions of empty rows
# How alike a column is to one that is taken for a slip of it: `tmp` is to `temp`, `timestamp` is not.
CLOSE = 0.7
LARGEST_FLOAT = 1.7e308
SHOWN_CATEGORIES = 20
KEY = "key"
WANTED = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "string": "text"}
WANTED[KEY] = "text, a number, true or false"
LONGEST_KEY = 1000

Limit = tuple[float | None, float | None]  # lowest and highest value, both allowed; None: no such limit


class Signature(msgspec.Struct, frozen=True):
    """Column -> kind, in order; the task; a classifier's labels as JSON values in `predict_proba` order.

    Kinds are those of `KINDS`, as `bundle.read` makes sure. `limits` (of numbers) and `categories` name the columns in
    which only some values are allowed. `keys` are columns that the gateway takes besides, and the model does not get.
    """

    columns: dict[str, str]
    task: str
    classes: tuple[Any, ...] = ()
    limits: dict[str, Limit] = {}
    categories: dict[str, tuple[str | int, ...]] = {}
    keys: tuple[str, ...] = ()

    @property
    def accepted(self) -> dict[str, str]:
        """Column -> kind of all that a request may have: the model's, then those that are only logged."""
        return {**self.columns, **dict.fromkeys(self.keys, KEY)} if self.keys else self.columns

    def allows(self, name: str, value: object) -> bool:
        """Whether a value of the column's kind is within its limits and categories, as a missing one is."""
        if value is None:
            return True
        low, high = self.limits.get(name, (None, None))
        inside = (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]
        return inside and (name not in self.categories or value in self.categories[name])

    def allowed(self, name: str) -> str:
        """The limits or categories of a column in words; empty where every value is allowed."""
        if name in self.categories:
            values = self.categories[name]
            shown = ", ".join(repr(value) for value in values[:SHOWN_CATEGORIES])
            more = len(values) - SHOWN_CATEGORIES
            return f"one of {shown}" + (f" and {more} more" if more > 0 else "")
        low, high = self.limits.get(name, (None, None))
        if low is not None and high is not None:
            return f"values from {low:.10g} to {high:.10g}"
        if low is None and high is None:
            return ""
        return f"values of at most {high:.10g}" if low is None else f"values of at least {low:.10g}"


@dataclass(frozen=True)
class Column:
    """One column's values as a client sent them; `before` and `after` a row's number say where each one stands."""

    values: Sequence[Any]
    before: str
    after: str = ""


def described(value: object) -> str:
    """A JSON value in the words of an error message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, int | float):
        return f"the number {value:.10g}" if abs(value) < LARGEST_FLOAT else "a number that is too large"
    return "a list" if isinstance(value, list) else "an object"


def rows_from(columns: Mapping[str, Column], count: int, signature: Signature) -> list[dict[str, Any]]:
    """The request's rows, each with every column of the signature in its order, missing values as None.

    Raises `RequestError` naming the column and the place of the first value that does not fit, an unknown column, or
    a request that is empty or too large.
    """
    accepted = signature.accepted
    for name in columns:
        if name not in accepted:
            raise RequestError(unknown_column(name, signature))
    check_size(count, signature)
    gaps = [None] * count
    checked = [_checked(name, signature, columns[name]) if name in columns else gaps for name in accepted]
    names = list(accepted)
    return [dict(zip(names, row, strict=True)) for row in zip(*checked, strict=True)] if names else [{}] * count


def check_size(count: int, signature: Signature) -> None:
    """Raises `RequestError` for a request without rows, or with so many that they would not fit into memory."""
    if count == 0:
        raise RequestError("the request has no rows: send at least one")
    width = max(1, len(signature.accepted))
    if count * width > MOST_CELLS:
        raise RequestError(f"the request has {count} rows: send at most {MOST_CELLS // width} at a time", status=413)


def unknown_column(name: str, signature: Signature) -> str:
    """The sentence for a column that the model does not have."""
    close = difflib.get_close_matches(name[:100], signature.accepted, n=1, cutoff=CLOSE)
    hint = f"did you mean {close[0]!r}?" if close else f"its columns are {', '.join(list(signature.columns)[:50])}"
    return f"column {name[:100]!r} is not one of the model's: {hint}"


def _checked(name: str, signature: Signature, column: Column) -> Sequence[Any]:
    kind, values = signature.accepted[name], column.values
    wanted, refused = WANTED[kind], (_not_key if kind == KEY else KINDS[kind])(values)
    if refused is None and (name in signature.limits or name in signature.categories):
        wanted = signature.allowed(name)
        refused = _beyond(values, name, signature)
    if refused is not None:
        place = f"{column.before}[{refused}]{column.after}"
        raise RequestError(f"{place}: column {name!r} takes {wanted}, not {described(values[refused])}")
    if kind == "integer":
        return [int(value) if type(value) is float else value for value in values]
    if kind == "boolean":
        return [value if value is None else bool(value) for value in values]
    return values


def _beyond(values: Sequence[Any], name: str, signature: Signature) -> int | None:
    """The index of the first value outside the column's limits or categories."""
    if name in signature.categories:
        known = {None, *signature.categories[name]}
        return next((place for place, value in enumerate(values) if value not in known), None)
    return next((place for place, value in enumerate(values) if not signature.allows(name, value)), None)


def _not_number(values: Sequence[Any]) -> int | None:
    """The index of the first value that is neither a finite number nor None."""
    # in columns of floats, which are most, all are finite when their sum is; 0.0 is left out of it with None
    if set(map(type, values)) <= {float, NoneType} and sum(map(abs, filter(None, values))) < LARGEST_FLOAT:
        return None
    for index, value in enumerate(values):
        if value is None:
            continue
        if (type(value) is not float and type(value) is not int) or not -LARGEST_FLOAT < value < LARGEST_FLOAT:
            return index
    return None


def _not_integer(values: Sequence[Any]) -> int | None:
    for index, value in enumerate(values):
        if value is None:
            continue
        whole = type(value) is int or (type(value) is float and value.is_integer())
        if not whole or not -(2**63) <= value < 2**63:
            return index
    return None


def _not_boolean(values: Sequence[Any]) -> int | None:
    for index, value in enumerate(values):
        if value is not None and (type(value) is float or not isinstance(value, int) or value not in (0, 1)):
            return index
    return None


def _not_key(values: Sequence[Any]) -> int | None:
    for index, value in enumerate(values):
        plain = isinstance(value, int | float) and -LARGEST_FLOAT < value < LARGEST_FLOAT
        if value is not None and not plain and not (isinstance(value, str) and len(value) <= LONGEST_KEY):
            return index
    return None


def _not_string(values: Sequence[Any]) -> int | None:
    if set(map(type, values)) <= {str, NoneType}:
        return None
    for index, value in enumerate(values):
        if value is not None and type(value) is not str:
            return index
    return None


KINDS: dict[str, Callable[[Sequence[Any]], int | None]] = {
    "number": _not_number,
    "integer": _not_integer,
    "boolean": _not_boolean,
    "string": _not_string,
}
