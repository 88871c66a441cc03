"""What a version showed on the rows it was not fitted on, beyond one score: by segment, and without labels. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from mlauto.monitoring.comparison import Outcome, outcome_losses, outcome_score
from mlauto.monitoring.quality.estimated import BLOCK, Answered, Estimator, estimator_of
from mlauto.monitoring.quality.levels import Levels, levels_of, segments_of
from mlauto.monitoring.quality.tree import Leaf, grown, leaf_of
from mlauto.records import Score

__all__ = ["FEWEST", "Known", "known_of"]

FEWEST = 30  # rows of a segment; the reference of fewer would excuse anything


@dataclass(frozen=True, kw_only=True)
class Known:
    """The version's segments: how rows are assigned to them, the reference of each that has one; and what estimates."""

    metric: str
    columns: dict[str, Levels] = field(default_factory=dict)
    tree: tuple[Leaf, ...] = ()
    segments: dict[str, Score] = field(default_factory=dict)
    estimator: Estimator | None = None

    def names_of(self, row: Mapping[str, Any]) -> list[str]:
        """The segments that a row is in: one of each column, and one of the tree's leaves."""
        leaf = leaf_of(row, self.tree)
        return segments_of(row, self.columns) + ([] if leaf is None else [leaf])

    @property
    def divisions(self) -> int:
        """How often all rows are divided into segments."""
        return len(self.columns) + bool(self.tree)


def known_of(
    metric: str,
    rows: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    classes: Sequence[object],
    segments: Sequence[str] | Literal["tree"],
    *,
    spread: float | None = None,
) -> Known:
    """From the holdout's rows and what the version made of them; columns that it does not have make no segments.

    r2 has no segments: within one, the truth's variance is another one.
    """
    estimator = estimator_of(metric, list(zip(rows, outcomes, strict=True)), classes, spread)
    known = Known(metric=metric, estimator=estimator)
    if metric == "r2":
        return known
    usable = [(row, outcome) for row, outcome in zip(rows, outcomes, strict=True) if outcome.usable(metric)]
    if segments == "tree":
        chosen = [at // BLOCK % 2 == 0 for at in range(len(usable))]
        asked = [one for one, taken in zip(usable, chosen, strict=True) if taken]
        usable = [one for one, taken in zip(usable, chosen, strict=True) if not taken]
        known = replace(known, tree=_tree(metric, asked, classes))
    else:
        levels = {name: levels_of([row[name] for row in rows]) for name in segments if rows and name in rows[0]}
        known = replace(known, columns=levels)
    return replace(known, segments=_references(known, usable, classes))


def _tree(metric: str, rows: Sequence[Answered], classes: Sequence[object]) -> tuple[Leaf, ...]:
    losses = outcome_losses(metric, [outcome for _, outcome in rows], classes) if rows else ()
    return grown([row for row, _ in rows], np.asarray(losses)) if len(losses) == len(rows) else ()


def _references(known: Known, rows: Sequence[Answered], classes: Sequence[object]) -> dict[str, Score]:
    """Each segment's score; of few rows, or where the metric is undefined, it has none."""
    grouped: dict[str, list[Outcome]] = {}
    for row, outcome in rows:
        for name in known.names_of(row):
            grouped.setdefault(name, []).append(outcome)
    scores = {
        name: outcome_score(known.metric, group, classes)
        for name, group in sorted(grouped.items())
        if len(group) >= FEWEST
    }
    return {name: score for name, score in scores.items() if score is not None}
