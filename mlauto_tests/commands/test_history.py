"""A file as a history: its batches, its roles, and what makes it none."""

import pandas as pd
import pytest

from mlauto.commands.history import Plan, attributes_of, cut, edges_of, roles_of
from mlauto.errors import MlautoError
from mlauto.product import ModelProduct


def test_batches_are_of_nearly_the_same_size() -> None:
    """Every row is in one of them, in order."""
    frame = pd.DataFrame({"x": range(23)})
    parts = cut(frame, 5)

    assert edges_of(23, 5) == (0, 5, 9, 14, 18, 23)
    assert [len(part) for part in parts] == [5, 4, 5, 4, 5]
    assert pd.concat(parts)["x"].tolist() == list(range(23))


def test_the_metric_follows_the_task() -> None:
    """The ones that products decide by when nothing else is said."""
    assert Plan(target="y", task="regression").metric == "mae"
    assert Plan(target="y", task="classification").metric == "error_rate"
    assert Plan(target="y", task="classification", measure="log_loss").metric == "log_loss"


def test_its_product_is_judged_on_windows_of_one_batch() -> None:
    """Small batches make larger windows: twenty rows at least."""
    plan = Plan(target="y", task="regression", timestamp="when")
    large, small = (ModelProduct.model_validate(attributes_of("one", plan, ["leak"], rows)) for rows in (900, 6))

    assert (large.monitoring.window, large.monitoring.min_labels) == (900, 450)
    assert (small.monitoring.window, small.monitoring.min_labels) == (20, 10)
    assert (large.data.timestamp, large.data.exclude) == ("when", ("leak",))


def test_roles_are_those_of_a_new_product() -> None:
    """What cannot be a feature is excluded there and here."""
    frame = pd.DataFrame({"x": range(100), "empty": None, "y": [0, 1] * 50}).astype({"empty": "float64"})

    roles = roles_of(frame, Plan(target="y", task="classification"))

    assert roles.numbers == ("x",)
    assert roles.exclude == ("empty",)


def test_equal_times_are_in_order() -> None:
    """Rows of one moment come in any order."""
    frame = pd.DataFrame({"x": range(100), "when": [n // 2 for n in range(100)], "y": [0.5 * n for n in range(100)]})

    assert roles_of(frame, Plan(target="y", task="regression", timestamp="when")).timestamp == "when"


@pytest.mark.parametrize(
    ("columns", "plan", "said"),
    [
        ({"y": [0] * 100}, {}, "same value in every row"),
        ({"y": [0] * 10 + [0, 1] * 45}, {}, "'y' is 0 in all 10 rows of the first 5 batches.*larger --initial"),
        ({"y": [0, 1] * 49 + [0, None]}, {}, "no value in 1 of 100 rows"),
        ({"y": [0, 1] * 50}, {"initial": 50}, "--initial 50 leaves nothing to predict of --batches 50"),
        ({"y": [0, 1] * 50}, {"batches": 101}, "100 rows cannot be cut into 101 batches: use --batches 100"),
        ({"y": [0, 1] * 50}, {"target": "Y"}, "did you mean 'y'"),
        ({"y": [0, 1] * 50}, {"exclude": ("z",)}, "--exclude 'z' is no column"),
        ({"y": [0, 1] * 50, "t": [*range(99), 3]}, {"timestamp": "t"}, "goes backwards: 3 in row 100 follows 98"),
        ({"y": ["a", "b"] * 50}, {"task": "regression"}, "no numbers: use --task classification"),
    ],
)
def test_what_is_no_history_is_said(columns: dict[str, list[object]], plan: dict[str, object], said: str) -> None:
    """One sentence for each, naming the option and what to do."""
    frame = pd.DataFrame({"x": range(100), **columns})
    given: dict[str, object] = {"target": "y", "task": "classification", **plan}

    with pytest.raises(MlautoError, match=said):
        roles_of(frame, Plan(**given))  # type: ignore[arg-type]
