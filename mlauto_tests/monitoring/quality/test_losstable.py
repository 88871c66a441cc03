"""Expected losses by the prediction and the columns, from plain tables."""

import msgspec
import numpy as np
import pytest

from mlauto.monitoring.quality.losstable import MOST_COLUMNS, PREDICTION, LossTable, expected_losses, fitted

RANDOM = np.random.default_rng(5)
ROWS = [
    {
        "hour": int(RANDOM.integers(0, 24)),
        "kind": ("a", "b", None)[int(RANDOM.integers(0, 3))],
        "noise": float(RANDOM.normal()),
    }
    for _ in range(3000)
]
PREDICTED = RANDOM.uniform(0, 100, len(ROWS)).tolist()
EXPECTED = np.array([1 + said / 50 + 2 * (row["kind"] == "b") for row, said in zip(ROWS, PREDICTED, strict=True)])
LOSSES = EXPECTED * RANDOM.exponential(1, len(ROWS))


def test_it_finds_what_makes_rows_hard() -> None:
    """A number and a text, to within a part of what it is."""
    table = fitted(ROWS, PREDICTED, LOSSES)

    found = expected_losses(table, ROWS, PREDICTED)

    assert {PREDICTION, "kind"} <= set(table.columns)
    assert np.corrcoef(found, EXPECTED)[0, 1] > 0.9
    assert found.mean() == pytest.approx(LOSSES.mean(), rel=0.02)
    assert len(table.columns) <= MOST_COLUMNS


def test_harder_rows_are_expected_to_be_worse() -> None:
    """Only rows of the hard kind: a mean loss that the holdout never had."""
    table = fitted(ROWS, PREDICTED, LOSSES)
    hard = [at for at, row in enumerate(ROWS) if row["kind"] == "b"]

    found = expected_losses(table, [ROWS[at] for at in hard], [PREDICTED[at] for at in hard])

    assert found.mean() == pytest.approx(EXPECTED[hard].mean(), rel=0.08)


def test_it_is_small_and_plain() -> None:
    """It passes through JSON, and is no larger for more rows."""
    table = fitted(ROWS, PREDICTED, LOSSES)
    text = msgspec.json.encode(table)

    assert msgspec.json.decode(text, type=LossTable) == table
    assert len(text) < 5000


def test_rows_of_another_world_have_a_bin_too() -> None:
    """Unknown texts, missing columns and what is no number add what is known of such rows: little."""
    table = fitted(ROWS, PREDICTED, LOSSES)

    found = expected_losses(table, [{"kind": "new"}, {}, {"hour": "noon"}], [50.0, None, float("nan")])

    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert expected_losses(table, [], []).tolist() == []
