"""One expectation as a computation over parts: what it takes in, and what it says in the end."""

from collections.abc import Callable, Mapping
from typing import Protocol

from mlauto.training.pregate.parts import Part
from mlauto.training.pregate.rows import Bounds, Question
from mlauto.training.pregate.schema import DTYPES
from mlauto.training.pregate.totals import Held, Sums, judged

__all__ = ["Check", "Figure", "Gaps", "Pair", "PresentShare", "Settled", "Share", "Whole"]


class Check(Protocol):
    """An expectation that is being answered."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it has to see."""
        ...

    def add(self, parts: Mapping[str, Part]) -> None:
        """Take in the next rows."""
        ...

    def verdict(self) -> bool | None:
        """Whether it holds for all that was taken in; None when that cannot be said for sure."""
        ...


class _Rows:
    """Rows, and those that are present, of one column."""

    def __init__(self, column: str) -> None:
        self.columns = (column,)
        self.rows = self.present = 0

    def add(self, parts: Mapping[str, Part]) -> None:
        """See `Check`."""
        part = parts[self.columns[0]]
        self.rows += part.rows
        self.present += part.present


class Settled:
    """What the schema has decided; `columns` are only read to prove that the file is what its statistics say."""

    def __init__(self, columns: tuple[str, ...], verdict: bool) -> None:
        self.columns, self._verdict = columns, verdict

    def add(self, parts: Mapping[str, Part]) -> None:
        """Nothing to take in."""

    def verdict(self) -> bool:
        """See `Check`."""
        return self._verdict


class Gaps(_Rows):
    """The share of rows that are there, or of those that are not."""

    def __init__(self, column: str, mostly: float, *, present: bool) -> None:
        super().__init__(column)
        self._mostly, self._wants_present = mostly, present

    def verdict(self) -> bool:
        """See `Check`."""
        good = self.present if self._wants_present else self.rows - self.present
        return not self.rows or good / self.rows >= self._mostly


class PresentShare(_Rows):
    """The share of rows that are there, within limits."""

    def __init__(self, column: str, limits: Bounds) -> None:
        super().__init__(column)
        self._limits = limits

    def verdict(self) -> bool | None:
        """See `Check`."""
        return judged(self.present / self.rows if self.rows else 0, self._limits)


class Share(_Rows):
    """The share of values, of those that are there, of which something holds."""

    def __init__(self, column: str, mostly: float, question: Question) -> None:
        super().__init__(column)
        self._mostly, self._question, self._good = mostly, question, 0

    def add(self, parts: Mapping[str, Part]) -> None:
        """See `Check`."""
        super().add(parts)
        part = parts[self.columns[0]]
        self._good += self._question(part) if part.present else 0

    def verdict(self) -> bool:
        """See `Check`."""
        return not self.present or self._good / self.present >= self._mostly


class Figure:
    """A figure that sums give."""

    def __init__(self, column: str, limits: Bounds, figure: Callable[[Sums, Bounds], bool | None]) -> None:
        self.columns = (column,)
        self._limits, self._figure, self._sums = limits, figure, Sums()

    def add(self, parts: Mapping[str, Part]) -> None:
        """See `Check`."""
        self._sums.add(parts[self.columns[0]])

    def verdict(self) -> bool | None:
        """See `Check`."""
        return self._figure(self._sums, self._limits) if self._sums.finite else None


class Whole:
    """What needs all the values of one column at once: 8 bytes of memory for each row, of text its distinct values."""

    def __init__(self, column: str, kind: str, judge: Callable[[Held], bool | None]) -> None:
        self.columns = (column,)
        self._dtype, self._judge = {**DTYPES, "string": "object"}[kind], judge
        self._held: list[Part] = []

    def add(self, parts: Mapping[str, Part]) -> None:
        """See `Check`."""
        self._held.append(parts[self.columns[0]])

    def verdict(self) -> bool | None:
        """See `Check`."""
        import numpy as np
        import pandas as pd

        values = np.concatenate([np.empty(0, self._dtype), *(part.values for part in self._held)])
        counts = [np.ones(len(part.values), "int64") if part.counts is None else part.counts for part in self._held]
        there = pd.Series(values).dropna()
        rows = pd.Series(np.concatenate([np.empty(0, "int64"), *counts]))
        return self._judge(Held(there, rows[there.index]))


class Pair:
    """One column above another, row by row."""

    def __init__(self, columns: tuple[str, str], *, or_equal: bool, ignored: str, mostly: float) -> None:
        self.columns = columns
        self._or_equal, self._ignored, self._mostly = or_equal, ignored, mostly
        self._rows = self._good = 0

    def add(self, parts: Mapping[str, Part]) -> None:
        """See `Check`."""
        import numpy as np

        first, second = (parts[name].values for name in self.columns)
        above = first >= second if self._or_equal else first > second
        gaps = np.isnan(first), np.isnan(second)
        if self._ignored == "neither":
            left_out = 0
        elif self._ignored == "either_value_is_missing":
            left_out = int(np.count_nonzero(gaps[0] | gaps[1]))
        else:
            left_out = int(np.count_nonzero(gaps[0] & gaps[1]))
        self._rows += len(first) - left_out
        self._good += int(np.count_nonzero(above))

    def verdict(self) -> bool:
        """See `Check`."""
        return not self._rows or self._good / self._rows >= self._mostly
