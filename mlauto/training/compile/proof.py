"""Proof that a plan answers as the pipeline does, before any user meets it.

The pipeline's answers to rows as the model server would see them are compared with the plan's: labels identical,
numbers within 1e-9; and what the pipeline refuses, the plan refuses. The rows are real ones, and some made to differ.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mlauto.errors import TrainingError
from mlauto.serving.errors import ServingError
from mlauto.serving.plan.model import PlanModel
from mlauto.training.evaluate import Answers

__all__ = ["Rows", "adversarial", "prove"]

Rows = Sequence[Mapping[str, Any]]
ODD: Mapping[str, tuple[Any, ...]] = {
    "number": (None, 0.0, -1.0, 5e-324, 1e300, -1e300, 3.4e38, 3.5e38),
    "integer": (None, 0, -1, 1 << 31, (1 << 53) + 1, 1 << 62),
    "boolean": (None, False, True),
    "string": (None, "", " ", "a value never seen"),
}
COLUMNS = 64
ONE_BY_ONE = 12
TOLERANCE = 1e-9  # absolute, and relative for numbers beyond 1


def prove(plan: PlanModel, pipeline: Callable[[Rows], Answers], rows: Rows, columns: Mapping[str, str]) -> str | None:
    """The first difference found, as a sentence; None when there is none.

    `pipeline` answers rows and raises `TrainingError` when it cannot; `rows` are real ones, `columns` name -> kind.
    """
    found = _bulk(plan, pipeline, rows)
    if found is not None:
        return found
    for what, group in adversarial(rows, columns):
        found = _bulk(plan, pipeline, group)
        if found is not None:
            return f"with {what}, {found}"
    return None


def adversarial(rows: Rows, columns: Mapping[str, str]) -> Iterator[tuple[str, Rows]]:
    """Groups of rows, each with one odd value in one of its columns, and what is odd about them."""
    chosen = list(columns.items())[:COLUMNS]
    for kind, values in ODD.items():
        names = [name for name, its in chosen if its == kind]
        for value in values:
            group = [{**rows[index % len(rows)], name: value} for index, name in enumerate(names)]
            if group:
                yield f"{value!r} in a column of kind {kind}", group
    numbers = [name for name, kind in chosen if kind == "number"]
    for direction in (math.inf, -math.inf):  # beside values that occur, where a tree may have its threshold
        group = [_beside(row, numbers, direction) for row in rows[:ONE_BY_ONE]]
        yield f"numbers a bit {'above' if direction > 0 else 'below'} those that occur", group
    yield "nothing but missing values", [dict.fromkeys(columns)]


def _beside(row: Mapping[str, Any], names: Sequence[str], direction: float) -> dict[str, Any]:
    known = {name: row[name] for name in names if row[name] is not None}
    return {**row, **{name: math.nextafter(value, direction) for name, value in known.items()}}


def _bulk(plan: PlanModel, pipeline: Callable[[Rows], Answers], rows: Rows) -> str | None:
    """All rows at once; one after the other (the first few) when the pipeline does not take them all."""
    try:
        wanted = pipeline(rows)
    except TrainingError:
        return _each(plan, pipeline, rows[:ONE_BY_ONE])
    if not _finite(wanted):
        return _each(plan, pipeline, rows[:ONE_BY_ONE])
    try:
        given = plan.answer(rows)
    except ServingError as error:
        return f"the plan refuses what the pipeline answers: {error}"
    return _difference(wanted, given.predictions, given.probabilities)


def _each(plan: PlanModel, pipeline: Callable[[Rows], Answers], rows: Rows) -> str | None:
    for row in rows:
        try:
            wanted: Answers | None = pipeline([row])
        except TrainingError:
            wanted = None
        try:
            given = plan.answer([row])
        except ServingError as error:
            if wanted is not None and _finite(wanted):
                return f"the plan refuses what the pipeline answers: {error}"
            continue
        if wanted is None or not _finite(wanted):
            return f"the plan answers {given.predictions[0]!r} where the pipeline has no answer"
        found = _difference(wanted, given.predictions, given.probabilities)
        if found is not None:
            return found
    return None


def _finite(answers: Answers) -> bool:
    return all(math.isfinite(value) for value in answers.predictions if isinstance(value, float))


def _difference(
    wanted: Answers, predictions: Sequence[Any], probabilities: Sequence[Sequence[float]] | None
) -> str | None:
    for place, (expected, found) in enumerate(zip(wanted.predictions, predictions, strict=True)):
        if not _same(expected, found):
            return f"row {place}: the pipeline predicts {expected!r}, the plan {found!r}"
    if (wanted.probabilities is None) != (probabilities is None):
        return "only one of the two gives probabilities"
    for place, (odds, found_odds) in enumerate(zip(wanted.probabilities or (), probabilities or (), strict=True)):
        if len(odds) != len(found_odds) or not all(map(_same, odds, found_odds)):
            return f"row {place}: the pipeline's probabilities are {list(odds)}, the plan's {list(found_odds)}"
    return None


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(wanted, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(wanted) is type(found) and wanted == found
