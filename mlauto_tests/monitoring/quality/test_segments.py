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


AUCS = {name: Score(metric="auc", value=0.9, low=0.88, high=0.92, rows=300) for name in NAMES}
CLASSES = ("no", "yes")
APART = {0.9: 1.8124, 0.75: 0.9539, 0.86: 1.5278}  # deviations between two normal distributions with that AUC


def ranking(aucs: Mapping[str, float], count: int, seed: int) -> list[Tagged]:
    """As many rows of each segment, in turn, whose probabilities have that AUC."""
    dice, made = np.random.default_rng(seed), list[Tagged]()
    for _ in range(count):
        for name, auc in aucs.items():
            positive = dice.random() < 0.3
            p = float(1 / (1 + np.exp(-dice.normal(APART[auc] * positive, 1.0))))
            made.append((Outcome(CLASSES[positive], CLASSES[p > 0.5], [1 - p, p]), [name]))
    return made


def watched(rows: list[Tagged], each: int) -> dict[str, Segment]:
    segments: dict[str, Segment] = {}
    for at in range(0, len(rows), each):
        segments = segmented(
            segments, AUCS, rows[at : at + each], CLASSES, tolerance=0.02, stake=STAKE, columns=1, now=0.0
        )
    return segments


def test_a_fall_of_a_segments_auc_is_found_there_and_named_first() -> None:
    """Higher is better: 0.75 is the worse one, though its name is the later and its figure the lower."""
    found = shown(watched(ranking({NAMES[0]: 0.9, NAMES[1]: 0.75}, 3500, 3), 100), AUCS, 0.02, 1)

    assert [(one.segment, one.detection.alarmed) for one in found] == [(NAMES[1], True), (NAMES[0], False)]
    assert [one.quality.value for one in found] == [pytest.approx(0.75, abs=0.1), pytest.approx(0.9, abs=0.07)]
    assert (found[0].quality.metric, found[0].quality.rows) == ("auc", RECENT)
    assert found[0].detection.limit == pytest.approx(0.86)


def test_segments_are_ordered_by_what_they_have_lost() -> None:
    """Those that are not proven worse, too: the lowest AUC before the others."""
    segments = watched(ranking({NAMES[0]: 0.9, NAMES[1]: 0.75}, 200, 4), 40)
    found = shown(segments, AUCS, 0.02, 1)

    assert [(one.segment, one.detection.alarmed) for one in found] == [(NAMES[1], False), (NAMES[0], False)]
    assert found[0].quality.value < found[1].quality.value


def test_pairs_of_a_segment_do_not_depend_on_the_looks() -> None:
    """Who waits for a row of the other class is remembered for each segment by itself."""
    rows = ranking(dict.fromkeys(NAMES, 0.9), 200, 5)
    often, once = watched(rows, 3), watched(rows, 1000)

    for name in NAMES:
        assert often[name].recent == once[name].recent
        assert often[name].unpaired == once[name].unpaired
        assert often[name].detector.rows == once[name].detector.rows > 30
        assert often[name].detector.won == pytest.approx(once[name].detector.won)


def test_segments_at_the_limit_give_no_alarm() -> None:
    """An AUC of 0.86, which is 0.02 below the lower end of the reference."""
    segments = watched(ranking(dict.fromkeys(NAMES, 0.86), 5000, 6), 100)

    assert not any(one.detection.alarmed for one in shown(segments, AUCS, 0.02, 1))
