"""Segments that nobody named: the leaves of a shallow tree over where the version's losses differ. Pure.

A regression tree (Breiman, Friedman, Olshen and Stone 1984) of the losses on half of the holdout's rows, which stops
where the means of two sides are not clearly apart. The leaves' references come from the other half, as in honest trees
(Athey and Imbens 2016): a leaf that was chosen for being bad would otherwise look worse than it is, and be expected to
stay so. No row is in two leaves; one without a number where the tree asks for it is in none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.quality.levels import is_number, level_text, levels_of

__all__ = ["Condition", "Leaf", "grown", "leaf_name", "leaf_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
DEPTH = 3
LEAST = 50  # rows of either side
APART = 5.0  # standard errors between the sides' means: some hundred questions are asked, and neighbours err alike
CUTS = 16  # of a number's range
COLUMNS = 64


@dataclass(frozen=True, kw_only=True)
class Condition:
    """On one column: a number from `low` to below `high`, the value `value`, or any value but those of `never`."""

    column: str
    low: float | None = None
    high: float | None = None
    value: str | None = None
    never: tuple[str, ...] = ()

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a row meets it."""
        found = row.get(self.column)
        if self.value is not None:
            return level_text(found) == self.value
        if self.never:
            return level_text(found) not in self.never
        if not is_number(found):
            return False
        return (self.low is None or found >= self.low) and (self.high is None or found < self.high)

    @property
    def name(self) -> str:
        """As people read it."""
        if self.value is not None:
            return f"{self.column} = {self.value}"
        if self.never:
            return f"{self.column} not {' or '.join(self.never)}"
        if self.high is None:
            return f"{self.column} >= {self.low:.4g}"
        low = "" if self.low is None else f"{self.low:.4g} <= "
        return f"{low}{self.column} < {self.high:.4g}"


Leaf = tuple[Condition, ...]
Question = tuple[Condition, Condition]


def leaf_of(row: Mapping[str, Any], leaves: Sequence[Leaf]) -> str | None:
    """The name of the leaf that a row is in; None for none."""
    return next((leaf_name(leaf) for leaf in leaves if all(one.holds(row) for one in leaf)), None)


def leaf_name(leaf: Leaf) -> str:
    """Its conditions."""
    return " and ".join(one.name for one in leaf)


def grown(rows: Sequence[Mapping[str, Any]], losses: Floats) -> tuple[Leaf, ...]:
    """The leaves, at most eight; none where the losses are alike everywhere, as far as so many rows can tell."""
    columns = list(rows[0])[:COLUMNS] if rows else []
    asked = [one for column in columns for one in _questions(column, [row.get(column) for row in rows])]
    if not asked:
        return ()
    grower = _Grower([question for question, _ in asked], np.array([sides for _, sides in asked]), losses)
    leaves = tuple(grower.leaves(np.ones(len(rows), dtype=bool), (), DEPTH))
    return leaves if len(leaves) > 1 else ()


def _questions(column: str, values: Sequence[Any]) -> Iterator[tuple[Question, tuple[Bools, Bools]]]:
    """What may be asked of a column, and which rows are on either side: numbers by cuts, else the frequent values."""
    numbers = np.array([float(value) if is_number(value) else np.nan for value in values])
    known = numbers[~np.isnan(numbers)]
    if len(known) > len(values) / 2:
        cuts = np.quantile(known, np.arange(1, CUTS) / CUTS, method="higher")
        for cut in sorted(set(cuts.tolist()) - {float(known.min())}):
            yield (
                (Condition(column=column, high=cut), Condition(column=column, low=cut)),
                (numbers < cut, numbers >= cut),
            )
        return
    texts = np.array([level_text(value) for value in values])
    for value in levels_of(values).values:
        yield (Condition(column=column, value=value), Condition(column=column, never=(value,))), _sides(texts == value)


def _sides(yes: Bools) -> tuple[Bools, Bools]:
    return yes, ~yes


@dataclass(frozen=True)
class _Grower:
    """What may be asked, and which rows are on either side (questions x 2 x rows)."""

    questions: Sequence[Question]
    sides: Bools
    losses: Floats

    def leaves(self, here: Bools, leaf: Leaf, depth: int) -> Iterator[Leaf]:
        """Those below a leaf that has the rows `here`, or the leaf itself."""
        at = _best(self.sides & here, self.losses) if depth else None
        if at is None:
            yield leaf
            return
        for condition, side in zip(self.questions[at], self.sides[at], strict=True):
            yield from self.leaves(here & side, _narrowed(leaf, condition), depth - 1)


def _best(sides: Bools, losses: Floats) -> int | None:
    """The question whose sides explain most of the losses' variance, of those whose means are clearly apart."""
    counts = sides.sum(axis=2)
    enough = counts.min(axis=1) >= LEAST
    safe = np.maximum(counts, 1)
    means = (sides @ losses) / safe
    variances = np.maximum((sides @ losses**2) / safe - means**2, 0.0) / safe
    apart = np.abs(means[:, 0] - means[:, 1])
    clear = apart > APART * np.sqrt(variances.sum(axis=1))
    gains = np.where(enough & clear, counts.prod(axis=1) / counts.sum(axis=1).clip(1) * apart**2, 0.0)
    at = int(gains.argmax())
    return at if gains[at] > 0 else None


def _narrowed(leaf: Leaf, condition: Condition) -> Leaf:
    """The leaf with one more condition, which is put together with that on the same column, if there is one."""
    at = next((place for place, one in enumerate(leaf) if one.column == condition.column), None)
    if at is None:
        return (*leaf, condition)
    before = leaf[at]
    if condition.value is not None:
        both = condition
    elif condition.never:
        both = replace(before, never=(*before.never, *condition.never))
    else:
        low = before.low if condition.low is None else condition.low
        high = before.high if condition.high is None else condition.high
        both = replace(before, low=low, high=high)
    return (*leaf[:at], both, *leaf[at + 1 :])
