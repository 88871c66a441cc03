"""Joining labels with predictions: order, duplicates, delay, bounds, crashes."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlauto.monitoring.labels.joining import JoinState, join_labels, read_join
from mlauto.monitoring.quality.levels import Levels
from mlauto.monitoring.quality.references import Known

Join = Callable[..., JoinState]


@pytest.fixture
def join(log: Any, state: Path) -> Join:
    """One call for version 1 with a window of 5 rows, unless said otherwise."""

    def call(version: str = "1", window: int = 5, later: float = 0.0) -> JoinState:
        return join_labels(log.folder, state, version=version, window=window, now=log.now + later)

    return call


def pairs(state: JoinState, version: str = "1") -> list[tuple[Any, Any]]:
    """Prediction and label of each row in a version's window, oldest first."""
    joined = state.windows.get(version, [])
    return [pair for entry in joined for pair in zip(entry.y, entry.label, strict=True)]


def test_rows_are_assigned_to_segments(log: Any, state: Path) -> None:
    """By the columns of the request, row by row; without segments nothing is looked at."""
    segments = Known(metric="mae", columns={"x": Levels(values=("1", "2"))}).names_of
    log.label(log.predict(7.0, 8.0, rows=[{"x": 1}, {"x": 5}]), 7.0, 8.0)

    found = join_labels(log.folder, state, version="1", window=5, now=log.now, segments=segments)

    assert found.windows["1"][0].s == [["x = 1"], []]
    log.label(log.predict(9.0, rows=[{"x": 2}]), 9.0)
    again = join_labels(log.folder, state, version="1", window=5, now=log.now)
    assert [entry.s for entry in again.windows["1"]] == [[["x = 1"], []], None]


def test_nothing_to_join(join: Join, state: Path) -> None:
    """Without a log there is an empty state, and no file is written for it."""
    assert join() == JoinState()
    assert not state.exists()


def test_labels_find_their_predictions(log: Any, join: Join) -> None:
    """In the order of the predictions, whatever the order of the labels, with the probabilities."""
    ids = [log.predict(float(n), p=[[0.5, 0.5]]) for n in range(3)]
    for number in (2, 0, 1):
        log.label(ids[number], number * 10.0)

    found = join()

    assert pairs(found) == [(0.0, 0.0), (1.0, 10.0), (2.0, 20.0)]
    assert found.windows["1"][0].p == [[0.5, 0.5]]
    assert found.counts == {}


def test_the_window_holds_the_newest_rows(log: Any, join: Join) -> None:
    """By time of prediction, not of label: an old prediction's late label does not push a new one out."""
    ids = [log.predict(float(n)) for n in range(20)]
    for prediction_id in ids[10:]:
        log.label(prediction_id, 0.0)
    join()
    for prediction_id in ids[:10]:
        log.label(prediction_id, 0.0)

    found = join()

    assert [y for y, _ in pairs(found)] == [15.0, 16.0, 17.0, 18.0, 19.0]
    assert found.counts["late"] == 10


def test_the_newest_rows_of_several_writers(log: Any, join: Join) -> None:
    """The time counts, not the segment's number: an older worker may have answered last."""
    for number in range(5):
        log.segment = 1 - number % 2
        log.label(log.predict(float(number), t=log.now + number), 0.0)
    assert [y for y, _ in pairs(join(window=3))] == [2.0, 3.0, 4.0]

    log.segment = 0
    log.label(log.predict(5.0, t=log.now + 5), 0.0)

    assert [y for y, _ in pairs(join(window=3))] == [3.0, 4.0, 5.0]


def test_requests_of_several_rows(log: Any, join: Join) -> None:
    """Whole requests are kept as long as the window needs a row of them; of a giant one only its last rows."""
    small = [log.predict(1.0, 2.0, 3.0), log.predict(4.0, 5.0, 6.0)]
    for prediction_id in small:
        log.label(prediction_id, 7.0, 8.0, 9.0)
    assert [y for y, _ in pairs(join())] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]

    giant = log.predict(*map(float, range(100)))
    log.label(giant, *range(100))
    assert pairs(join()) == [(float(n), n) for n in range(95, 100)]

    log.label(giant, *range(1000, 1100))
    assert pairs(join()) == [(float(n), 1000 + n) for n in range(95, 100)]


def test_the_last_label_wins(log: Any, join: Join) -> None:
    """Within one call and over calls, by the labels' times, without counting a row twice."""
    prediction_id = log.predict(1.0)
    log.label(prediction_id, 10.0, t=1.0)
    log.label(prediction_id, 11.0, t=2.0)
    assert pairs(join()) == [(1.0, 11.0)]

    log.label(prediction_id, 12.0, t=3.0)
    assert pairs(join()) == [(1.0, 12.0)]


def test_a_label_before_its_prediction_waits(log: Any, join: Join) -> None:
    """In whatever way it came first: it is joined when the prediction is there."""
    wanted = log.new_id()
    log.label(wanted, 5.0)
    assert wanted in join().pending

    log.line("predictions", 0, id=wanted, t=1.0, v="1", y=[4.0])
    found = join()

    assert pairs(found) == [(4.0, 5.0)]
    assert found.pending == {}


def test_a_label_does_not_wait_for_ever(log: Any, join: Join) -> None:
    """Once its segment is closed, or an hour later, it is counted as unknown."""
    log.predict(1.0)
    log.label("00000000-0000ffff-0000", 5.0)
    log.label("000000ff-0000ffff-0000", 5.0)
    assert len(join().pending) == 2

    log.segment = 1
    log.predict(2.0)
    assert list(join().pending) == ["000000ff-0000ffff-0000"]
    found = join(later=4000.0)

    assert found.pending == {}
    assert found.counts["unknown"] == 2


def test_unknown_ids_are_counted_and_harm_nothing(log: Any, join: Join) -> None:
    """Texts that are no id, ids that were never given, and a wrong number of labels."""
    good = log.predict(1.0)
    double = log.predict(1.0, 2.0)
    failed = log.fail()
    log.segment = 1
    log.predict(3.0)
    for bad in ("x", "", "00000000-0000ffff-0000"):
        log.label(bad, 1.0)
    log.label(double, 1.0)
    log.label(failed, 1.0)
    log.label(good, 2.0)

    found = join()

    assert pairs(found) == [(1.0, 2.0)]
    assert found.counts == {"unknown": 3, "unusable": 2}


def test_a_label_that_came_twice_in_one_line_counts_once(log: Any, join: Join) -> None:
    """As often as the request has rows, the last ones are the label; any other number cannot be assigned."""
    log.label(log.predict(1.0), 5.0, 6.0)
    log.label(log.predict(1.0, 2.0), 1.0, 2.0, 3.0, 4.0)
    log.label(log.predict(1.0, 2.0), 1.0, 2.0, 3.0)
    log.label(log.predict(1.0))

    found = join()

    assert pairs(found) == [(1.0, 6.0), (1.0, 3.0), (2.0, 4.0)]
    assert found.counts == {"unusable": 2}


def test_delays_are_those_of_the_labels_that_came_last(log: Any, join: Join) -> None:
    """In the order of arrival, of all versions, each prediction once, a bounded number; also across calls."""
    ids = [log.predict(float(n), t=log.now - 100, v=str(1 + n % 2)) for n in range(4)]
    for number, prediction_id in enumerate(reversed(ids)):
        log.label(prediction_id, 0.0, t=log.now - 90 + number)
    assert join().delays == [10.0, 11.0, 12.0, 13.0]

    log.label(ids[0], 1.0, t=log.now)  # another label of the same prediction
    log.label(log.predict(9.0, t=log.now - 1), 1.0, t=log.now)
    log.label(log.predict(9.0, t=log.now), 1.0, t=log.now - 0.2)  # clocks differ a little
    log.label(log.predict(9.0, t=log.now), 1.0, t=0.0)  # nobody knows when that came
    assert join().delays == [10.0, 11.0, 12.0, 13.0, 0.0, 1.0]
    assert join().delays == [10.0, 11.0, 12.0, 13.0, 0.0, 1.0]

    for _ in range(600):
        log.label(log.predict(1.0, t=log.now - 7), 1.0)
    assert join(window=2000).delays == [7.0] * 500


def test_versions_are_kept_apart(log: Any, join: Join) -> None:
    """Each version has a window; the live one's and the three newest others' are kept."""
    for version in ("1", "2", "3", "4", "5", "6"):
        log.label(log.predict(float(version), v=version), 0.0)

    found = join(version="1")

    assert sorted(found.windows) == ["1", "4", "5", "6"]
    assert pairs(found, "5") == [(5.0, 0.0)]


def test_labels_that_are_delayed_by_many_segments(log: Any, join: Join) -> None:
    """A label finds its prediction hundreds of segments back, and the one that was written a segment later."""
    old = log.predict(1.0)
    moved = log.new_id()
    log.segment = 1
    log.line("predictions", 1, id=moved, t=log.now, v="1", y=[2.0])
    for segment in range(2, 200):
        log.segment = segment
        log.predict(0.0)
    log.label(moved, 20.0)
    log.label(old, 10.0)

    assert pairs(join()) == [(1.0, 10.0), (2.0, 20.0)]


def test_labels_over_more_segments_than_one_call_scans(log: Any, join: Join) -> None:
    """The rest waits and is joined by the next calls, newest first."""
    ids = []
    for segment in range(60):
        log.segment = segment
        ids.append(log.predict(float(segment)))
    for prediction_id in ids:
        log.label(prediction_id, 0.0)

    first = join(window=100)
    second = join(window=100)
    third = join(window=100)

    assert [len(pairs(found)) for found in (first, second, third)] == [24, 48, 60]
    assert pairs(first)[0][0] == 36.0
    assert third.pending == {}


def test_predictions_that_were_dropped(log: Any, join: Join) -> None:
    """The log is bounded: labels of what it no longer holds are unknown."""
    old = log.predict(1.0)
    log.segment = 9
    log.predict(2.0)
    (log.folder / "predictions-00000000.jsonl").unlink()
    log.label(old, 1.0)

    assert join().counts == {"unknown": 1}


def test_a_second_call_does_nothing(log: Any, join: Join, state: Path) -> None:
    """What was joined is remembered, and a state that did not change is not written again."""
    log.label(log.predict(1.0), 2.0)
    first = join()
    stamp = state.stat().st_mtime_ns

    second = join()

    assert msgspec.json.encode(second) == msgspec.json.encode(first)
    assert state.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("content", [b"", b"{", b'{"windows": 3}'])
def test_a_lost_state_is_made_again(log: Any, join: Join, state: Path, content: bytes) -> None:
    """The state's file is a cache: the log is read again when it is gone or damaged."""
    log.label(log.predict(1.0), 2.0)
    before = pairs(join())
    state.write_bytes(content)

    assert read_join(state) == JoinState()
    assert pairs(join()) == before


def test_imported_labels_are_joined_too(log: Any, join: Join) -> None:
    """Labels from files and from feedback are one stream, in the order of their times."""
    one, two = log.predict(1.0), log.predict(2.0)
    log.line("imported", 0, id=one, t=1.0, y=[10.0])
    log.label(one, 11.0, t=2.0)
    log.label(two, 20.0, t=1.0)
    log.line("imported", 0, id=two, t=2.0, y=[21.0])

    assert pairs(join()) == [(1.0, 11.0), (2.0, 21.0)]


@pytest.mark.parametrize("seed", range(5))
def test_any_interleaving_gives_the_newest_labelled_rows(log: Any, join: Join, seed: int) -> None:
    """However predictions, labels, rotations and calls are mixed, the window is what a full join would give."""
    dice = random.Random(seed)
    made: list[tuple[str, list[float]]] = []
    truth: dict[str, list[float]] = {}
    for step in range(300):
        what = dice.random()
        if what < 0.5:
            y = [float(step + part / 10) for part in range(dice.randint(1, 3))]
            made.append((log.predict(*y), y))
        elif what < 0.85 and made:
            name, y = dice.choice(made)
            truth[name] = [float(step)] * len(y)
            log.label(name, *truth[name], t=log.now + step / 1000)
        elif what < 0.9:
            log.segment += 1
        elif what < 0.95:
            log.label_segment += 1
        else:
            join(window=30)
    expected = [(y, label) for name, ys in made if name in truth for y, label in zip(ys, truth[name], strict=True)]

    assert pairs(join(window=30))[-30:] == expected[-30:]


def test_a_call_stays_short_behind_a_long_history(log: Any, join: Join) -> None:
    """With 100,000 labelled predictions behind it, a call for one new label takes hundredths of a second."""
    line = '{"id":"%08x-%08x-0000","t":1.0,"v":"1","ms":1.0,"rows":[{"x":1.0}],"y":[1.0]}\n'
    label = '{"id":"%08x-%08x-0000","t":1.0,"y":[2.0]}\n'
    for segment in range(5):
        numbers = range(20_000)
        log.raw("predictions", segment, "".join(line % (segment, n) for n in numbers).encode())
        log.raw("labels", segment, "".join(label % (segment, n) for n in numbers).encode())
    log.segment, log.label_segment, log.sequence = 4, 4, 50_000
    began = time.process_time()
    assert len(pairs(join(window=500))) == 500
    first = time.process_time() - began

    took = []
    for _ in range(5):
        log.label(log.predict(3.0), 4.0)
        began = time.perf_counter()
        found = join(window=500)
        took.append(time.perf_counter() - began)

    assert pairs(found)[-5:] == [(3.0, 4.0)] * 5
    assert first < 3.0
    assert min(took) < 0.1
