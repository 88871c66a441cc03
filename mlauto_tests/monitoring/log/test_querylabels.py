"""Labels for a query: the newest of each prediction, from every origin and in both forms."""

from pathlib import Path
from typing import Any

from mlauto.monitoring.log.querylabels import LabelIndex
from mlauto_tests.monitoring.log.test_query import pack


def test_the_newest_label_counts(log: Any) -> None:
    """Whatever the order in which they are read: imported ones come after those of the gateway."""
    one, two = log.predict(1.0), log.predict(2.0, 3.0)
    log.label(one, 10, t=log.now + 2)
    log.line("imported", 0, id=one, t=log.now + 1, y=[11])
    log.line("imported", 0, id=two, t=log.now + 1, y=[20, None])

    with LabelIndex(log.folder, log.now) as labels:
        assert labels.of([one, two, "none"]) == {one: [10], two: [20, None]}


def test_labels_in_files_count_too(log: Any) -> None:
    """Compacted or not, a label is a label."""
    one, two = log.predict(1.0), log.predict(2.0)
    log.label(one, "old")
    log.label(two, "two")
    pack(log.folder, 0, 0, "labels")
    log.label_segment = 1
    log.label(one, "new", t=log.now + 1)

    with LabelIndex(log.folder, log.now) as labels:
        assert labels.of([one, two]) == {one: ["new"], two: ["two"]}


def test_labels_from_before_are_not_read(log: Any) -> None:
    """A label of an earlier prediction is of no use to the query, and a line without one is none."""
    log.label("x", 1, t=log.now - 100)
    log.line("labels", 0, id="y", t=log.now)

    with LabelIndex(log.folder, log.now) as labels:
        assert labels.of(["x", "y"]) == {}


def test_no_log_is_no_label(tmp_path: Path) -> None:
    """Nothing is written where the log would be."""
    with LabelIndex(tmp_path / "none", 0.0) as labels:
        assert labels.of(["x"]) == {}
    assert list(tmp_path.iterdir()) == []
