"""What a version showed on the rows it was not fitted on, beyond one score: by segment, and without labels. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlauto.monitoring.comparison import Outcome, outcome_score
from mlauto.monitoring.quality.estimated import Estimator, estimator_of
from mlauto.monitoring.quality.levels import Levels, levels_of, segments_of
from mlauto.records import Score

__all__ = ["FEWEST", "Known", "known_of"]

FEWEST = 30  # rows of a segment; the reference of fewer would excuse anything


@dataclass(frozen=True, kw_only=True)
class Known:
    """The version's segments: how rows are assigned to them, the reference of each that has one; and what estimates."""

    metric: str
    columns: dict[str, Levels] = field(default_factory=dict)
    segments: dict[str, Score] = field(default_factory=dict)
    estimator: Estimator | None = None


def known_of(
    metric: str,
    rows: Sequence[Mapping[str, Any]],
    outcomes: Sequence[Outcome],
    classes: Sequence[object],
    columns: Sequence[str],
    *,
    spread: float | None = None,
) -> Known:
    """From the holdout's rows and what the version made of them; columns that it does not have make no segments.

    r2 has no segments: within one, the truth's variance is another one.
    """
    estimator = estimator_of(metric, list(zip(rows, outcomes, strict=True)), classes, spread)
    if metric == "r2":
        return Known(metric=metric, estimator=estimator)
    levels = {name: levels_of([row[name] for row in rows]) for name in columns if rows and name in rows[0]}
    grouped: dict[str, list[Outcome]] = {}
    for row, outcome in zip(rows, outcomes, strict=True):
        if outcome.usable(metric):
            for name in segments_of(row, levels):
                grouped.setdefault(name, []).append(outcome)
    segments = {}
    for name, group in sorted(grouped.items()):
        reference = outcome_score(metric, group, classes) if len(group) >= FEWEST else None
        if reference is not None:
            segments[name] = reference
    return Known(metric=metric, columns=levels, segments=segments, estimator=estimator)
