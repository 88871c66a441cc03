"""Labels that mlauto writes itself: whole lines, in segments of a bounded size and number."""

from typing import Any

import pytest

from mlauto.monitoring.labels import written
from mlauto.monitoring.labels.written import append_labels
from mlauto.monitoring.log.reading import Label, LogReader
from mlauto_tests.monitoring.log.test_query import pack


def lines(log: Any) -> list[str]:
    return [line.id for line in LogReader(log.folder, "keyed", Label).since(None, 1 << 30).lines]


def test_labels_are_appended(log: Any) -> None:
    """To a folder that need not be there."""
    append_labels(log.folder, "keyed", [Label(id="a", y=[1], t=1.0)])
    append_labels(log.folder, "keyed", [Label(id="b", y=["x", None], t=2.0)])
    append_labels(log.folder, "keyed", [])

    assert lines(log) == ["a", "b"]
    assert [path.name for path in log.folder.iterdir()] == ["keyed-00000000.jsonl"]


def test_full_segments_are_followed_by_others(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the oldest go."""
    monkeypatch.setattr(written, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(written, "SEGMENTS", 2)
    for number in range(4):
        append_labels(log.folder, "keyed", [Label(id=str(number), y=[1])])

    assert lines(log) == ["2", "3"]


def test_numbers_of_compacted_segments_are_not_used_again(log: Any) -> None:
    """The next one comes after all that there ever was."""
    append_labels(log.folder, "keyed", [Label(id="a", y=[1])])
    log.raw("keyed", 1, b"")
    pack(log.folder, 0, 1, "keyed")
    append_labels(log.folder, "keyed", [Label(id="b", y=[1])])

    assert (log.folder / "keyed-00000002.jsonl").exists()
    assert lines(log) == ["b"]


def test_many_are_written_in_parts(log: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost between them."""
    monkeypatch.setattr(written, "AT_ONCE", 2)
    append_labels(log.folder, "keyed", [Label(id=str(number), y=[1]) for number in range(5)])

    assert lines(log) == list("01234")
