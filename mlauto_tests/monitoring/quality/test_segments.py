"""A segment's loss is found where it is, and only there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.quality.budget import STAKE
from mlauto.monitoring.quality.segments import RECENT, Segment, Tagged, segmented, shown
from mlauto.records import Score

NAMES = ("season = winter", "season = summer")
REFERENCES = {name: Score(metric="error_rate", value=0.1, low=0.08, high=0.12, rows=300) for name in NAMES}


def rows(rates: Mapping[str, float], count: int, seed: int) -> list[Tagged]:
    """As many rows of each segment, with errors at its rate."""
    dice = np.random.default_rng(seed)
    return [
        (Outcome("a", "b" if dice.random() < rate else "a"), [name])
        for _ in range(count)
        for name, rate in rates.items()
    ]


def played(rates: Mapping[str, float], looks: int, **more: Any) -> dict[str, Segment]:
    segments: dict[str, Segment] = {}
    wanted: dict[str, Any] = {"tolerance": 0.02, "stake": STAKE, "columns": 1} | more
    for at in range(looks):
        segments = segmented(segments, REFERENCES, rows(rates, 50, at), (), now=float(at), **wanted)
    return segments


def test_a_loss_of_one_segment_is_found_there() -> None:
    """The other one stays as it is, and the worse one comes first."""
    segments = played({"season = winter": 0.1, "season = summer": 0.35}, 12)

    found = shown(segments, REFERENCES, 0.02, 1)

    assert [(one.segment, one.detection.alarmed) for one in found] == [(NAMES[1], True), (NAMES[0], False)]
    assert found[0].quality.value == pytest.approx(0.35, abs=0.1)
    assert found[0].quality.rows == RECENT
    assert found[0].detection.rows == 600
    assert found[0].detection.limit == pytest.approx(0.14)
    assert found[0].reference == REFERENCES[NAMES[1]]


def test_more_columns_need_more_evidence() -> None:
    """Each column's segments stake as much as the whole."""
    segments = played({"season = summer": 0.2}, 3, columns=3)

    assert {one.detection.threshold for one in shown(segments, REFERENCES, 0.02, 3)} == {300.0}


def test_no_loss_is_no_alarm() -> None:
    """At the very limit, in both."""
    segments = played(dict.fromkeys(NAMES, 0.14), 100)

    assert not any(one.detection.alarmed for one in shown(segments, REFERENCES, 0.02, 1))


def test_a_segment_that_has_recovered_begins_anew() -> None:
    """Once its newest rows are wholly within the limit."""
    segments = played({"season = summer": 0.5}, 6)
    assert segments[NAMES[1]].detector.alarmed_at is not None

    for at in range(6):
        good = rows({"season = summer": 0.04}, 50, 100 + at)
        segments = segmented(segments, REFERENCES, good, (), tolerance=0.02, stake=STAKE, columns=1, now=100.0)

    assert segments[NAMES[1]].detector.alarmed_at is None


def test_few_rows_are_not_shown() -> None:
    """They are remembered."""
    segments = segmented(
        {}, REFERENCES, rows({"season = winter": 0.1}, 9, 1), (), tolerance=0.02, stake=STAKE, columns=1, now=0.0
    )

    assert shown(segments, REFERENCES, 0.02, 1) == ()
    assert segments[NAMES[0]].detector.rows == 9
    assert segments[NAMES[1]].detector.rows == 0
