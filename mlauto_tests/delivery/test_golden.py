"""Golden rows: what counts as the same answer, and which files are usable."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlauto.delivery.golden import Golden, difference, read_golden
from mlauto.errors import StoreError
from mlauto.runtime.base import Answer


def compared(wanted: list[Any], given: list[Any], odds: list[Any] | None = None, got: Any = None) -> str | None:
    golden = Golden(rows=[{"x": n} for n in range(len(wanted))], predictions=wanted, probabilities=odds)
    return difference(golden, Answer("1", tuple(given), got, 0.0), range(len(wanted)))


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        (1.0, 1.0, True),
        (1.0, 1.0 + 5e-10, True),
        (1.0, 1.0 + 5e-9, False),
        (0.0, 5e-10, True),
        (1e12, 1e12 + 1, True),  # relative beyond 1
        (1.0, 1, True),
        (1, 2, False),
        (1, True, False),
        (True, True, True),
        ("a", "a", True),
        ("a", "A", False),
        ("1", 1, False),
        (1.0, None, False),
        (1.0, float("nan"), False),
    ],
)
def test_answers_are_the_same_or_not(wanted: Any, given: Any, same: bool) -> None:
    """Labels identical, numbers within 1e-9."""
    assert (compared([wanted], [given]) is None) is same


def test_the_row_is_named() -> None:
    """The sentence says which row differs, and how."""
    assert compared([1.0, 2.0], [1.0, 3.0]) == "row 1: predicted 3.0, when it was trained 2.0"
    assert compared([1.0, 2.0], [1.0]) == "2 rows got 1 predictions"


def test_probabilities_are_compared_too() -> None:
    """Where the trained model gave them."""
    odds = [[0.25, 0.75]]

    assert compared(["a"], ["a"], odds, ((0.25, 0.75 + 1e-10),)) is None
    assert "probabilities" in str(compared(["a"], ["a"], odds, ((0.26, 0.74),)))
    assert "lacks the probabilities" in str(compared(["a"], ["a"], odds, None))
    assert "probabilities" in str(compared(["a"], ["a"], odds, ((0.25, 0.5, 0.25),)))


def test_rows_may_be_asked_one_by_one() -> None:
    """Places say which golden rows an answer belongs to."""
    golden = Golden(rows=[{}, {}], predictions=["a", "b"])

    assert difference(golden, Answer("1", ("b",), None, 0.0), [1]) is None
    assert difference(golden, Answer("1", ("b",), None, 0.0), [0]) is not None


def test_a_file_is_read(tmp_path: Path) -> None:
    """As training writes it."""
    content = {"rows": [{"x": None}], "predictions": [1], "probabilities": [[0.5, 0.5]]}
    (tmp_path / "golden.json").write_text(json.dumps(content))

    assert read_golden(tmp_path) == Golden(rows=[{"x": None}], predictions=[1], probabilities=[[0.5, 0.5]])


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        '{"rows": 1}',
        '{"rows": [], "predictions": []}',
        '{"rows": [{}], "predictions": [1, 2]}',
        '{"rows": [{}], "predictions": [1], "probabilities": [[1], [1]]}',
    ],
)
def test_a_file_that_is_not_usable(tmp_path: Path, content: str | None) -> None:
    """Missing, malformed, empty or uneven: an error that names the file."""
    if content is not None:
        (tmp_path / "golden.json").write_text(content)

    with pytest.raises(StoreError, match=r"golden\.json.*materialize the model again"):
        read_golden(tmp_path)
