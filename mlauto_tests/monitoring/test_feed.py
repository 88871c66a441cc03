"""The feed of labels: what makes it broken, and what is a bad model, a slow feed or a quiet day."""

from typing import Any

import numpy as np
import pytest

from mlauto.monitoring.feed import odd_labels, stopped

RANDOM = np.random.default_rng(3)
SAID = [float(y) for y in 50 + 20 * RANDOM.normal(size=500)]
TRUE = [y + float(e) for y, e in zip(SAID, RANDOM.normal(size=500), strict=True)]
CLASSES = [int(y) for y in RANDOM.integers(0, 2, 500)]
MOSTLY = [y if RANDOM.random() < 0.9 else 1 - y for y in CLASSES]
NOW = 100_000.0
SILENT: dict[str, Any] = {
    "newest_label": NOW - 5000,
    "delays": [30.0, 60.0],
    "waiting": 80,
    "newest": NOW - 1,
    "now": NOW,
    "patience": 3600.0,
}


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, True),
        ({"newest_label": NOW - 3500}, False),  # within patience
        ({"delays": [60.0, 86_400.0]}, False),  # a feed by night, not yet due
        ({"delays": [60.0, 1600.0]}, True),
        ({"waiting": 49}, False),  # hardly anybody asked
        ({"newest": NOW - 6000}, False),  # nobody asks any more
        ({"newest": None}, False),
        ({"newest_label": None, "delays": []}, False),  # labels never came
    ],
)
def test_labels_that_stop(changed: dict[str, Any], broken: bool) -> None:
    """While predictions go on, and later than ever before."""
    told = stopped(**{**SILENT, **changed})

    assert (told is not None) == broken
    assert told is None or told.startswith("labels have stopped: none for 5000 s")


@pytest.mark.parametrize(
    ("metric", "truth", "said", "words"),
    [
        ("mae", TRUE, SAID, None),
        ("error_rate", MOSTLY, CLASSES, None),
        ("mae", [y + 40 for y in TRUE], SAID, None),  # the world changed
        ("mae", [100 - y for y in TRUE], SAID, None),
        ("error_rate", [1 - y for y in MOSTLY], CLASSES, None),  # all concepts turned round: still no fault
        ("mae", [float(y) for y in RANDOM.permutation(TRUE)], SAID, None),
        ("mae", [7.0] * 500, SAID, "the newest 500 labels are all 7.0"),
        ("mae", TRUE[:250] + [0.0] * 250, SAID, "the newest 250 labels are all 0.0"),
        ("error_rate", [0] * 500, CLASSES, "the newest 500 labels are all 0"),
        ("error_rate", [0] * 500, [0] * 499 + [1], None),  # a rare class
        ("mae", [0.0] * 500, [0.0] * 500, None),  # a column that is nothing but 0
        ("mae", [1000 * y for y in TRUE], SAID, "of another size"),
        ("mae", [y / 1000 for y in TRUE], SAID, "of another size"),
        ("rmse", [*TRUE[1:], 1.0], SAID, "fit the predictions of the rows 1 after theirs"),
        ("mae", [1.0, 2.0, *TRUE[:-2]], SAID, "fit the predictions of the rows 2 before theirs"),
        ("error_rate", [*MOSTLY[1:], 1], CLASSES, "rows 1 after theirs"),
        ("mae", ["n/a"] * 400 + TRUE[400:], SAID, "400 of 500 are empty or of another type"),
        ("error_rate", [None] * 300 + MOSTLY[300:], CLASSES, "300 of 500"),
        ("mae", [None] * 40 + TRUE[40:], SAID, None),
        ("mae", [7.0] * 49, SAID[:49], None),  # too few to say
    ],
)
def test_labels_that_cannot_be_right(metric: str, truth: list[Any], said: list[Any], words: str | None) -> None:
    """Equal, of another size, slipped or no labels at all; a bad model alone makes no label odd."""
    told = odd_labels(metric, truth, said)

    assert (told is None) == (words is None)
    assert words is None or words in str(told)


def test_a_walk_through_good_rows_never_complains() -> None:
    """Windows of a stream that wanders, with a model that lags a little behind it."""
    level = np.cumsum(RANDOM.normal(size=4000))
    said, truth = (100 + level).tolist(), (100 + level + RANDOM.normal(size=4000)).tolist()

    assert [odd_labels("mae", truth[at : at + 500], said[at : at + 500]) for at in range(0, 3500, 50)] == [None] * 70
