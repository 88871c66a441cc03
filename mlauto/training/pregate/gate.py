"""What a suite says of a large table, without Great Expectations: streamed, only the columns that are asked about.

A verdict given here is the one that Great Expectations would give; where that is not certain there is none, and Great
Expectations has to be asked (docs/decisions/validation.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlauto.training.pregate.answers import Check
from mlauto.training.pregate.checks import compiled
from mlauto.training.pregate.parts import Parts
from mlauto.training.pregate.schema import TABLE

__all__ = ["Entry", "doubtful", "verdicts"]

Entry = tuple[str, Mapping[str, Any]]


def verdicts(table: Parts, entries: Sequence[Entry]) -> list[bool | None]:
    """For each entry (type and arguments, as Great Expectations holds them): whether it holds, None if uncertain.

    Raises `UnprovenError` where a file contradicts itself, and what pyarrow raises of pages that cannot be read.
    """
    checks: list[Check | None] = []
    said: list[bool | None] = []
    for kind, arguments in entries:
        rule = TABLE.get(kind)
        said.append(None if rule is None else rule(arguments, table))
        checks.append(None if rule is not None else compiled(kind, arguments, table.kinds))
    asked = [check for check in checks if check is not None]
    columns = list(dict.fromkeys(column for check in asked for column in check.columns))
    for parts in table.parts(columns) if columns else ():
        for check in asked:
            check.add(parts)
    return [known if check is None else check.verdict() for known, check in zip(said, checks, strict=True)]


def doubtful(table: Parts, expectations: Sequence[Any]) -> list[Any]:
    """Those of Great Expectations' `expectations` that fail, or may. Raises as `verdicts` does."""
    entries = [(one.configuration.type, one.configuration.kwargs) for one in expectations]
    return [one for one, holds in zip(expectations, verdicts(table, entries), strict=True) if not holds]
