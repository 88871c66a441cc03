"""A proof that could fail: plans that differ from their pipelines in every way are found out."""

from collections.abc import Callable
from typing import Any

import pytest

from mlauto.errors import TrainingError
from mlauto.serving.errors import RequestError
from mlauto.serving.wire.protocol import Answer
from mlauto.training.compile.proof import Rows, adversarial, prove
from mlauto.training.evaluate import Answers

COLUMNS = {"x": "number", "kind": "string", "count": "integer", "open": "boolean"}
ROWS = [{"x": place / 7, "kind": "a", "count": place, "open": True} for place in range(20)]


class Plan:
    """Answers by a function of a row; None refuses it."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any], odds: bool = False) -> None:
        self._answer, self._odds = answer, odds

    def answer(self, rows: Rows) -> Answer:
        found = [self._answer(dict(row)) for row in rows]
        if None in found:
            raise RequestError("refused", 422)
        return Answer(found, [[0.5, 0.5] for _ in found] if self._odds else None)


def pipeline(answer: Callable[[dict[str, Any]], Any], odds: float | None = None) -> Callable[[Rows], Answers]:
    """The same on the other side."""

    def run(rows: Rows) -> Answers:
        found = [answer(dict(row)) for row in rows]
        if None in found:
            raise TrainingError("refused")
        return Answers(predictions=found, probabilities=None if odds is None else [[odds, 1 - odds] for _ in found])

    return run


def value(row: dict[str, Any]) -> float:
    return 1.0 if row["x"] is None else float(row["x"])


def test_equal_answers_prove_it() -> None:
    """Within rounding, and with equal refusals."""
    assert prove(Plan(value), pipeline(lambda row: value(row) * (1 + 1e-12)), ROWS, COLUMNS) is None  # type: ignore[arg-type]
    picky = lambda row: None if row["kind"] in {None, ""} else value(row)  # noqa: E731 - used on both sides
    assert prove(Plan(picky), pipeline(picky), ROWS, COLUMNS) is None  # type: ignore[arg-type]


DIFFERENT = {
    "another number": (lambda row: value(row) + 1e-6, value, "row 0: the pipeline predicts 0.0, the plan 1e-06"),
    "another answer to a gap": (
        lambda row: 2.0 if row["x"] is None else value(row),
        value,
        "with None in a column of kind number, row 0",
    ),
    "another answer to what was never seen": (
        lambda row: 2.0 if row["kind"] == "a value never seen" else value(row),
        value,
        "with 'a value never seen' in a column of kind string",
    ),
    "a refusal too many": (
        lambda row: None if row["count"] == -1 else value(row),
        value,
        "the plan refuses what the pipeline answers",
    ),
    "an answer too many": (
        value,
        lambda row: None if row["open"] is None else value(row),
        "where the pipeline has no answer",
    ),
    "an answer where there is no number": (value, lambda row: float("nan"), "where the pipeline has no answer"),
    "another kind of label": (lambda row: 1, lambda row: True, "the pipeline predicts True, the plan 1"),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_every_difference_is_found(what: str) -> None:
    """And said, with the row or the oddity."""
    plan, wanted, message = DIFFERENT[what]

    assert message in str(prove(Plan(plan), pipeline(wanted), ROWS, COLUMNS))  # type: ignore[arg-type]


def test_probabilities_count() -> None:
    """Their numbers, and whether there are any."""
    label = lambda row: "yes"  # noqa: E731 - used on both sides
    plan = Plan(label, odds=True)

    assert prove(plan, pipeline(label, 0.5), ROWS, COLUMNS) is None  # type: ignore[arg-type]
    assert "probabilities are [0.4" in str(prove(plan, pipeline(label, 0.4), ROWS, COLUMNS))  # type: ignore[arg-type]
    assert "only one of the two" in str(prove(plan, pipeline(label), ROWS, COLUMNS))  # type: ignore[arg-type]


def test_odd_rows_are_odd_in_one_place() -> None:
    """Each group has one odd value per column of its kind, beside values that occur and a row of gaps."""
    groups = dict(adversarial(ROWS, COLUMNS))

    assert [row["kind"] for row in groups["'' in a column of kind string"]] == [""]
    assert groups["nothing but missing values"] == [dict.fromkeys(COLUMNS)]
    above = groups["numbers a bit above those that occur"]
    assert all(0 < row["x"] - known["x"] < 1e-12 for row, known in zip(above[1:], ROWS[1:], strict=False))
    assert sum(len(group) for group in groups.values()) < 100
