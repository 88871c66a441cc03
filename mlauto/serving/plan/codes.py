"""The codes of a column's values, as a plan's table lists them."""

from typing import Any

from mlauto.serving.errors import RequestError
from mlauto.serving.plan.format import Table

__all__ = ["Codes"]


class Codes(dict[Any, float]):
    """Value -> code; what is not listed has the table's code for unknown values, or is refused.

    `nothing` stands for a code of None; `name` is the column's. Looking up raises `RequestError` (422).
    """

    def __init__(self, table: Table, name: str, nothing: float) -> None:
        codes = [nothing if code is None else code for code in table.codes]
        super().__init__(zip(table.values, codes, strict=True))
        self._name = name
        self._unknown = nothing if table.unknown is None else table.unknown
        self._refuse = table.refuse_unknown
        if not table.refuse_missing:
            self[None] = nothing if table.missing is None else table.missing

    def __missing__(self, value: object) -> float:
        if value is None:
            raise RequestError(f"the model refuses a missing value in column {self._name!r}", 422)
        if self._refuse:
            raise RequestError(f"the model does not know {str(value)[:100]!r} in column {self._name!r}", 422)
        return self._unknown
