"""Finding both answers to a request: by which versions, in which segments, at what cost."""

import os
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.log.reading import Prediction
from mlauto.monitoring.watch import pairing as module
from mlauto.monitoring.watch.pairing import Pairing, outcomes, written_since
from mlauto_tests.monitoring.conftest import NOW


def copy(log: Any, name: str, *y: Any, v: str = "2", segment: int = 0, **more: Any) -> None:
    """The line of the version that was asked the copy."""
    values = {"y": list(y)} if y else {"error": "lost"}
    log.line("shadows", segment, id=name, t=log.now, v=v, ms=2.0, **values, **more)


def found(log: Any, *ids: str, since: float = NOW - 60) -> Pairing:
    """A search for those requests between versions 3 and 2."""
    pairing = Pairing(log.folder, ("3", "2"), since)
    pairing.find(ids)
    return pairing


def test_either_version_may_have_answered_the_user(log: Any) -> None:
    """The other one's line is the copy; a copy by the version that answered is of another stage, and none."""
    first, second, third = log.predict(1.0, v="3"), log.predict(2.0, v="2"), log.predict(3.0, v="3")
    copy(log, first, 1.5, v="2")
    copy(log, second, 2.5, v="3")
    copy(log, third, 3.5, v="3")
    pairing = found(log, first, second, third)

    assert {name: (pair.answer.y, pair.copy.y) for name, pair in pairing.pairs.items()} == {
        first: ([1.0], [1.5]),
        second: ([2.0], [2.5]),
    }
    assert set(pairing.answers) == {third}


def test_what_is_not_theirs_is_told_from_what_is_still_to_come(log: Any) -> None:
    """Another version, an earlier request and a failure are foreign; an unknown id is neither found nor foreign."""
    other, early, failed = log.predict(1.0, v="1"), log.predict(1.0, v="3", t=NOW - 100), log.fail(v="3")
    open_, unknown = log.predict(1.0, v="3"), "00000000-00ffffff-0000"
    pairing = found(log, other, early, failed, open_, unknown)

    assert pairing.foreign == {other, early, failed}
    assert set(pairing.answers) == {open_}
    assert (pairing.pairs, pairing.deferred) == ({}, set())


def test_lines_in_the_next_segment_are_found(log: Any) -> None:
    """An id is given before its line is written; copies have segments of their own."""
    name = log.new_id()
    log.line("predictions", 1, id=name, t=NOW, v="3", ms=1.0, rows=[{"x": 1.0}], y=[1.0])
    copy(log, name, 2.0, segment=7)

    assert set(found(log, name).pairs) == {name}


def test_segments_that_were_full_before_the_answer_are_not_read(log: Any) -> None:
    """The log's age does not matter: damaged old segments are not even opened."""
    for segment in range(40):
        path: Path = log.folder / f"shadows-{segment:08x}.jsonl"
        path.mkdir(parents=True)
        os.utime(path, (NOW - 1000,) * 2)
    name = log.predict(1.0, v="3")
    copy(log, name, 2.0, segment=40)

    assert set(found(log, name).pairs) == {name}
    assert set(written_since(log.folder, "shadows", NOW)) == {40}


def test_the_cost_of_a_search_is_bounded(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did not get to is said to be deferred, and found by a later search for it alone."""
    monkeypatch.setattr(module, "SCANS", 3)
    names = []
    for segment in (0, 2, 4, 6):
        log.segment = segment
        names.append(log.predict(1.0, v="3"))
        copy(log, names[-1], 1.0)
    pairing = found(log, *names)

    assert (pairing.pairs, pairing.deferred) == ({}, set(names))
    assert set(pairing.answers) | pairing.deferred == set(names)
    assert set(found(log, names[3]).pairs) == {names[3]}


def test_a_log_that_cannot_be_read_is_an_error(log: Any) -> None:
    """Not being able to look is never the same as nothing to see."""
    (log.folder / "predictions-00000000.jsonl").mkdir(parents=True)

    with pytest.raises(MeasurementError, match="cannot be read"):
        found(log, "00000000-00000001-0000")


def test_rows_with_their_truth() -> None:
    """Probabilities come along where they were logged."""
    line = Prediction(id="x", t=1.0, y=["a", "b"], p=[[0.9, 0.1], [0.2, 0.8]])

    assert outcomes(line, ["a", "a"]) == [Outcome("a", "a", [0.9, 0.1]), Outcome("a", "b", [0.2, 0.8])]
    assert outcomes(Prediction(id="x", t=1.0, y=[1.0]), [2.0]) == [Outcome(2.0, 1.0)]
    assert outcomes(Prediction(id="x", t=1.0), []) == []
