"""The classifier names what tells two windows apart, on rows that it had not seen."""

from typing import Any

import numpy as np
import pytest

from mlauto.monitoring.drift.explain import SAMPLE, explain

DICE = np.random.default_rng(8)


def rows(count: int, *, shift: float = 0.0, level: str = "a") -> list[dict[str, Any]]:
    return [
        {"x": x + shift, "y": y, "c": "b" if flip else level}
        for x, y, flip in zip(DICE.normal(size=count), DICE.normal(size=count), DICE.random(count) < 0.5, strict=True)
    ]


def test_the_column_that_moved_is_the_most_important() -> None:
    """By how much of the AUC is lost without it."""
    found = explain(rows(1500), rows(1500, shift=1.0), ["x", "y", "c"])

    assert found is not None
    assert found.auc == pytest.approx(0.76, abs=0.05)
    assert next(iter(found.importances)) == "x"
    assert found.importances["x"] > 0.15 > abs(found.importances["y"])


def test_levels_are_seen() -> None:
    """A text has no order, and is told apart all the same; missing values too."""
    window = [{**row, "y": None} if place % 2 else row for place, row in enumerate(rows(600, level="z"))]
    found = explain(rows(600), window, ["x", "y", "c"])

    assert found is not None
    assert set(list(found.importances)[:2]) == {"y", "c"}


def test_the_same_world_cannot_be_told_apart() -> None:
    """An AUC near a half; a classifier that had seen the rows would claim more."""
    found = explain(rows(3 * SAMPLE), rows(1000), ["x", "y", "c"])

    assert found is not None
    assert found.auc == pytest.approx(0.5, abs=0.06)
    assert found.rows == (SAMPLE + 1000) / 2


def test_few_rows_explain_nothing() -> None:
    """Nor do no columns."""
    assert explain(rows(39), rows(100), ["x"]) is None
    assert explain(rows(100), rows(100), []) is None
