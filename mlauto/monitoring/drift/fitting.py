"""Fit a reference profile to the newest training rows, in the order of time."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.basis import ORDERS, components, normal_scores
from mlauto.monitoring.drift.blocks import curves_of
from mlauto.monitoring.drift.correlations import fit_pairs
from mlauto.monitoring.drift.lookup import CELLS, Lookup
from mlauto.monitoring.drift.profile import Levels, Numbers, Profile
from mlauto.records import Score

__all__ = ["BINS", "answers_in", "fit_column", "fit_profile", "numbers_in", "text_of"]

BINS = 256
COMMON = 0.005  # a level with a smaller share is rare: its own change is found by no window that people have
NAMED = 1000  # rare levels whose names are kept
GRID_KEEPS = 0.75  # of the quantile bins a grid must tell apart, or the column is searched
RUNS_WITH_TIME = 0.95  # rank correlation with the order of rows
DENSE = 4  # whole numbers that never repeat and fill this part of their range count rows
FAR = 0.5  # of the range of all reference rows beyond its ends: no model has learned anything there
FEWEST_ROWS = 100  # of fewer, anything looks like a trend

Floats = NDArray[np.float64]


def fit_profile(
    columns: Mapping[str, Sequence[Any] | NDArray[Any]],
    answers: Sequence[Any] | NDArray[Any] | None = None,
    expected: Score | None = None,
    span: float | None = None,
) -> Profile:
    """The profile of columns (name -> values, None or NaN for missing), oldest rows first.

    `answers` are the model's predictions on rows that it had not seen, also in the order of time.
    """
    made = {name: fit_column(values) for name, values in columns.items()}
    rows = max((len(values) for values in columns.values()), default=0)
    numbers = {name: one for name, one in made.items() if isinstance(one, Numbers)}
    return Profile(
        rows=rows,
        columns=made,
        pairs=fit_pairs(numbers, {name: numbers_in(columns[name]) for name in numbers}),
        answers=fit_column(answers) if answers is not None and len(answers) else None,
        expected=expected,
        span=span,
    )


def fit_column(values: Sequence[Any] | NDArray[Any]) -> Numbers | Levels:
    """The profile of one column; a column without any value has no level, and is expected to stay so."""
    numbers = numbers_in(values)
    if numbers is None or not np.isfinite(numbers).any():
        return _levels(values)
    return _numbers(numbers)


def numbers_in(values: Sequence[Any] | NDArray[Any]) -> Floats | None:
    """The values as floats with NaN for missing, or None when they are no numbers; truth values are none."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return None if values.dtype.kind == "b" else values.astype(np.float64)
    if all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in values):
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    return None


def answers_in(predictions: Sequence[Any], probabilities: Sequence[Sequence[float]] | None) -> Sequence[Any]:
    """What is followed of a model's answers: of two classes the probability of the second, else the predictions."""
    if probabilities and len(probabilities) == len(predictions) and all(len(odds) == 2 for odds in probabilities):
        return [odds[1] for odds in probabilities]
    return predictions


def text_of(value: object) -> str | None:
    """A level's name; None for a missing value."""
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else str(value)


def _numbers(values: Floats) -> Numbers:
    present = values[np.isfinite(values)]
    edges, grid = _edges(present)
    low, high = float(present.min()), float(present.max())
    made = Numbers(
        edges=edges.tolist(),
        counts=[],
        scores=[0.0] * (len(edges) + 1),
        far=(low - (high - low) * FAR, high + (high - low) * FAR),
        mean=float(present.mean()),
        sd=float(present.std()),
        nulls=len(values) - len(present),
        still=_is_still(present),
        curves=[],
        grid=grid,
    )
    counts = Lookup(made).counted(Lookup(made).positions(present))[1]
    if (counts == 0).any():  # borders moved to the grid may leave a bin without rows
        made = _replaced(made, edges=edges[_kept_edges(counts)].tolist())
        counts = counts[counts > 0]
    scores = normal_scores(counts.tolist())
    return _curved(_replaced(made, counts=counts.tolist(), scores=scores), values, present)


def _kept_edges(counts: NDArray[np.int64]) -> list[int]:
    """The first edge of each bin with rows, but the first bin's."""
    return [bin_ - 1 for bin_ in np.flatnonzero(counts).tolist()[1:]]


def _replaced(numbers: Numbers, **changed: Any) -> Numbers:
    return Numbers(**({name: getattr(numbers, name) for name in Numbers.__struct_fields__} | changed))


def _curved(numbers: Numbers, values: Floats, present: Floats) -> Numbers:
    """With the design effects of its components, and of what is missing."""
    places = Lookup(_replaced(numbers, scores=list(range(len(numbers.counts)))))
    bins = places.scores[places.positions(present)].astype(np.intp)
    basis = components(numbers.counts, numbers.scores)
    curves = curves_of(basis.T[bins]) if len(basis) else []
    curves += [[1.0]] * (ORDERS - len(curves))
    return _replaced(numbers, curves=[*curves, *curves_of(~np.isfinite(values)[:, None] * 1.0)])


def _edges(present: Floats) -> tuple[Floats, tuple[float, float] | None]:
    """The inner borders of the bins, and the grid on which they lie, if one can tell them apart."""
    distinct = np.unique(present)
    few = len(distinct) <= BINS
    if few:
        edges = (distinct[1:] + distinct[:-1]) / 2
    else:
        edges = np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="lower"))
        edges = edges[edges > distinct[0]]
    if len(edges) < 2:
        return edges, None
    origin, scale = float(edges[0]), CELLS / float(edges[-1] - edges[0])
    if not math.isfinite(scale):
        return edges, None
    cells = np.unique(np.rint((edges - origin) * scale))
    snapped = origin + cells / scale
    if few and not np.array_equal(np.searchsorted(snapped, distinct, "right"), np.arange(len(distinct))):
        return edges, None
    return (snapped, (origin, scale)) if len(cells) >= GRID_KEEPS * len(edges) else (edges, None)


def _is_still(present: Floats) -> bool:
    """False for a column that runs with time, or counts rows."""
    rows = len(present)
    if rows < FEWEST_ROWS or present.min() == present.max():
        return True
    distinct, places, times = np.unique(present, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - times / 2)[places]  # equal values share theirs, or a constant would run with time
    if abs(float(np.corrcoef(ranks, np.arange(rows))[0, 1])) >= RUNS_WITH_TIME:
        return False
    whole = bool((distinct == np.rint(distinct)).all())
    return not (whole and len(distinct) == rows and np.ptp(distinct) <= DENSE * rows)


def _levels(values: Sequence[Any] | NDArray[Any]) -> Levels:
    names = [text_of(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]
    counts = Counter(name for name in names if name is not None)
    filled = counts.total()
    common = {name: count for name, count in counts.most_common() if count >= COMMON * filled}
    rare = [name for name, _ in counts.most_common(len(common) + NAMED)[len(common) :]]
    unnamed = filled - sum(common.values()) - sum(counts[name] for name in rare)
    once = sum(count == 1 for count in counts.values())
    codes = {name: code for code, name in enumerate(common)}
    place = np.array([codes.get(name, -1) for name in names if name is not None], dtype=np.intp)
    effects = curves_of((place[:, None] == np.arange(len(common))) * 1.0) if common else [[1.0]]
    missing = np.array([name is None for name in names], dtype=np.float64)
    return Levels(
        counts=common,
        rare=filled - sum(common.values()),
        known=rare,
        fresh=min(1.0, (once + unnamed) / filled) if filled else 1.0,
        nulls=len(names) - filled,
        curves=[np.max(effects, axis=0).tolist(), *curves_of(missing[:, None])],
    )
