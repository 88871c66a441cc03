"""The watch: late labels, each counted once, across restarts, at a flat cost."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.watch import looks as module
from mlauto.monitoring.watch.looks import look
from mlauto.monitoring.watch.record import Subject, Watch, read_watch
from mlauto_tests.monitoring.conftest import NOW
from mlauto_tests.monitoring.watch.test_pairing import copy
from mlauto_tests.serving.conftest import ROW, bundles, eventually, gateway

__all__ = ["bundles"]

SUBJECT = Subject(new="3", old="2", since=NOW - 60, metric="mae")


def looked(log: Any, state: Path, *, after: float = 0.0, **options: Any) -> Watch:
    """A look, so many seconds later."""
    chosen = {"subject": SUBJECT, "now": NOW + after, **options}
    return look(log.folder, state, **chosen)


def request(log: Any, truth: float, new: float, old: float) -> str:
    """A user's request to version 3, its copy to version 2, and its label."""
    name: str = log.predict(new, v="3")
    copy(log, name, old)
    log.label(name, truth)
    return name


def test_labels_are_counted_as_they_come(log: Any, state: Path) -> None:
    """In portions or at once, hours late or not: the same tally and the same proof."""
    names = [log.predict(4.0 + number % 2, v="3") for number in range(60)]
    for name in names:
        copy(log, name, 0.0)
    first = looked(log, state)
    for name in names[:25]:
        log.label(name, 0.0, t=NOW + 5000)
    second = looked(log, state, after=5000)
    for name in names[25:]:
        log.label(name, 0.0, t=NOW + 9000)
    third = looked(log, state, after=9000)

    assert [watch.tally.rows for watch in (first, second, third)] == [0, 25, 60]
    assert first.proof is second.proof is None
    assert third.proof is not None
    assert third.proof.worse
    assert (third.proof.rows, third.proof.difference, third.proof.until) == (60, pytest.approx(4.5), NOW + 9000)
    assert third.unmatched == 0
    at_once = looked(log, state.with_name("other"), after=9000)
    assert at_once == third
    assert read_watch(state) == third


def test_a_request_counts_once(log: Any, state: Path) -> None:
    """Whoever labels it again, by file or not; before it was counted the newest label is taken."""
    name = request(log, 9.0, 1.0, 2.0)
    log.label(name, 1.0, t=NOW + 1)
    first = looked(log, state)
    log.label(name, 5.0, t=NOW + 2)
    log.line("imported", 0, id=name, t=NOW + 3, y=[7.0])
    second = looked(log, state)

    assert (first.tally.rows, first.tally.old) == (1, 1.0)
    assert second.tally == first.tally
    assert second.cursors != first.cursors


def test_the_sides_do_not_depend_on_who_answered(log: Any, state: Path) -> None:
    """A request that the old version answered, while the new one got copies, has the same sign."""
    request(log, 0.0, 3.0, 1.0)
    name = log.predict(1.0, v="2")
    copy(log, name, 3.0, v="3")
    log.label(name, 0.0)

    assert looked(log, state).tally.old == 2.0


def test_a_look_that_was_killed_is_done_again(log: Any, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is replaced as a whole, at the end: nothing is lost, and nothing counted twice."""
    request(log, 0.0, 1.0, 2.0)
    looked(log, state)
    request(log, 0.0, 1.0, 2.0)

    def killed(_path: Path, _content: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "atomic_write", killed)
        with pytest.raises(KeyboardInterrupt):
            looked(log, state)

    assert looked(log, state).tally.rows == 2


def test_a_label_may_come_before_the_copy(log: Any, state: Path) -> None:
    """It waits a minute; after that the copy was lost, and the label is counted as unmatched."""
    names = [log.predict(1.0, v="3") for _ in range(2)]
    for name in names:
        log.label(name, 1.0)
    first = looked(log, state, after=1)
    copy(log, names[0], 2.0)
    second = looked(log, state, after=2)
    third = looked(log, state, after=61)

    assert [(w.tally.rows, len(w.waiting), w.unmatched) for w in (first, second, third)] == [
        (0, 2, 0),
        (1, 1, 0),
        (1, 0, 1),
    ]


def test_earlier_requests_are_not_looked_for(log: Any, state: Path) -> None:
    """Most late labels belong to requests from before the promotion: their segments are not opened."""
    early = log.predict(1.0, v="3", t=NOW - 5000)
    path = log.folder / "predictions-00000000.jsonl"
    path.unlink()
    path.mkdir()
    os.utime(path, (NOW - 5000,) * 2)
    log.segment = 1
    log.label(early, 1.0)
    log.label("no id", 1.0)
    request(log, 0.0, 1.0, 2.0)
    watch = looked(log, state)

    assert (watch.tally.rows, watch.waiting, watch.unmatched) == (1, {}, 0)


def test_rows_that_cannot_be_compared_are_left_out(log: Any, state: Path) -> None:
    """Another number of values, a missing value, a failed copy, and a label that no number can be."""
    request(log, 1e250, 1.0, 2.0)
    several = log.predict(1.0, 2.0, v="3")
    copy(log, several, 1.0, 2.0)
    log.label(several, 1.0, None)
    short = log.predict(1.0, 2.0, v="3")
    copy(log, short, 1.0)
    log.label(short, 1.0, 2.0)
    failed = log.predict(1.0, v="3")
    copy(log, failed)
    log.label(failed, 1.0)

    assert looked(log, state).tally.rows == 1


def test_another_subject_begins_anew(log: Any, state: Path) -> None:
    """A new promotion has a test of its own, from its own time on."""
    request(log, 0.0, 1.0, 2.0)
    assert looked(log, state).tally.rows == 1
    later = Subject(new="3", old="2", since=NOW + 1, metric="mae")

    watch = looked(log, state, subject=later, after=100)

    assert (watch.subject, watch.tally.rows) == (later, 0)


def test_probabilities_are_compared_by_class(log: Any, state: Path) -> None:
    """log_loss needs them from both versions, and the classes."""
    subject = Subject(new="3", old="2", since=NOW - 60, metric="log_loss")
    for number in range(60):
        name = log.predict("a", v="3", p=[[0.3, 0.7]])
        copy(log, name, "a", p=[[0.9, 0.1]] if number else None)
        log.label(name, "a")

    watch = looked(log, state, subject=subject, classes=("a", "b"))

    assert watch.tally.rows == 59
    assert watch.tally.largest == pytest.approx(-np.log(0.3))
    with pytest.raises(MeasurementError, match="log_loss needs"):
        looked(log, state.with_name("other"), subject=subject)


RANKED = Subject(new="3", old="2", since=NOW - 60, metric="auc")


def ranked(log: Any, rows: int, noise: float) -> list[tuple[str, str]]:
    """Requests that version 3 orders with that much noise and version 2 without, and the labels to come."""
    dice, labels = np.random.default_rng(9), list[tuple[str, str]]()
    for _ in range(rows):
        positive = dice.random() < 0.4
        evidence, other, own = dice.normal(2.0 * positive), dice.normal(0, 0.3), dice.normal(0, max(0.3, noise))
        new, old = (float(1 / (1 + np.exp(-evidence - more))) for more in (own, other))
        name = log.predict("a", v="3", p=[[1 - new, new]])
        copy(log, name, "a", p=[[1 - old, old]])
        labels.append((name, "b" if positive else "a"))
    return labels


@pytest.mark.parametrize(("noise", "worse"), [(4.0, True), (0.3, False)])
def test_a_worse_auc_is_proven_from_late_labels(log: Any, state: Path, noise: float, worse: bool) -> None:
    """Pair by pair as labels come, hours late; in portions the same as at once, and an equal version is not accused."""
    labels = ranked(log, 700, noise)
    looked(log, state, subject=RANKED, classes=("a", "b"))
    for at in range(0, 700, 50):
        for name, truth in labels[at : at + 50]:
            log.label(name, truth, t=NOW + 5000 + at)
        watch = looked(log, state, after=5000 + at, subject=RANKED, classes=("a", "b"))
    at_once = looked(log, state.with_name("other"), after=5000 + at, subject=RANKED, classes=("a", "b"))

    assert watch.proof is not None
    assert watch.proof.worse is worse
    assert (watch.proof.difference > 0.1) is worse
    assert watch.tally.rows == at_once.tally.rows > 200  # pairs
    assert watch.unpaired == at_once.unpaired == read_watch(state).unpaired  # type: ignore[union-attr] # it was written
    assert watch.proof.e_value == pytest.approx(at_once.proof.e_value)  # type: ignore[union-attr] # compared
    first, second = watch.unpaired
    assert (first.positive, len(first.scores)) == (second.positive, len(second.scores))


def test_rows_without_two_probabilities_are_in_no_pair(log: Any, state: Path) -> None:
    """A version of other classes, or a copy without them, leaves both versions' pairs in step."""
    labels = ranked(log, 40, 0.3)
    for odds in (None, [[0.2, 0.3, 0.5]], [[1.0]]):
        name = log.predict("a", v="3", p=[[0.4, 0.6]])
        copy(log, name, "a", p=odds)
        labels.insert(5, (name, "b"))
    for name, truth in labels:
        log.label(name, truth)
    watch = looked(log, state, subject=RANKED, classes=("a", "b"))
    positives = sum(truth == "b" for _, truth in labels) - 3

    assert watch.tally.rows == min(positives, 40 - positives)
    assert len(watch.unpaired[0].scores) == len(watch.unpaired[1].scores) == 40 - 2 * watch.tally.rows
    with pytest.raises(MeasurementError, match="use metric log_loss"):
        looked(log, state.with_name("other"), subject=RANKED, classes=("a", "b", "c"))


def test_what_waits_is_bounded(log: Any, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of requests that nobody finds do not pile up, and the ids remembered are the newest."""
    monkeypatch.setattr(module, "WAITING", 3)
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for _ in range(5):
        log.label(log.predict(1.0, v="3"), 1.0)
    for _ in range(4):
        request(log, 0.0, 1.0, 2.0)
    watch = looked(log, state)

    assert (len(watch.waiting), watch.unmatched) == (3, 2)
    assert np.frombuffer(watch.counted, dtype="<u8").tolist() == [8, 9]


def test_a_look_costs_the_same_however_long_the_watch_is(log: Any, state: Path) -> None:
    """20,000 labelled requests were counted: a look at the next few is quick, and one at nothing writes nothing."""
    name = "00000000-%08x-0000"
    log.folder.mkdir(parents=True)
    lines = range(1, 20_001)
    for kind, made in (
        ("predictions", '{"id":"%s","t":%d,"v":"3","ms":1.0,"rows":[{"x":1}],"y":[1.0]}'),
        ("shadows", '{"id":"%s","t":%d,"v":"2","ms":1.0,"y":[1.5]}'),
        ("labels", '{"id":"%s","t":%d,"y":[1.0]}'),
    ):
        log.raw(kind, 0, "".join(made % (name % line, NOW) + "\n" for line in lines).encode())
    assert looked(log, state).tally.rows == 20_000
    log.segment, log.sequence = 1, 0
    took = []
    for _ in range(5):
        request(log, 0.0, 1.0, 2.0)
        began = time.perf_counter()
        looked(log, state)
        took.append(time.perf_counter() - began)
    written = state.stat().st_mtime_ns
    watch = looked(log, state)

    assert watch.tally.rows == 20_005
    assert state.stat().st_mtime_ns == written
    assert min(took) < 0.2
    assert state.stat().st_size < 500_000


def test_the_watch_over_a_real_promotion(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A gateway answers by one version and asks the other; labels that come later prove which one is worse."""
    began, replies = time.time(), []
    with gateway(tmp_path / "home") as running:
        for name in ("bikes-1", "bikes-2"):
            running.start(bundles, name)
        folder = running.home / "products" / "bikes" / "predictions"
        subject = Subject(new="2", old="1", since=began - 1, metric="mae")

        def now() -> Watch:
            return look(folder, tmp_path / "watch.json", subject, now=time.time())

        running.switch("bikes", "2", "1", shadow="1")
        for number in range(80):
            row = {**ROW, "hour": number % 24}
            reply = running.served.post("/v2/models/bikes/invocations", {"instances": [row]})
            assert reply.headers["x-mlauto-version"] == "2", reply.text
            replies.append((reply.headers["x-prediction-id"], reply.json()["predictions"][0] - 1000))
        unlabelled = now()
        for name, truth in replies:
            assert running.served.post("/v2/models/bikes/feedback", {"id": name, "label": truth}).status_code == 200
        watch = eventually(lambda: now().tally.rows >= 80 and now(), "eighty pairs")

    assert unlabelled.tally.rows == 0
    assert watch.proof is not None
    assert watch.proof.worse
    assert watch.proof.difference == pytest.approx(1000, abs=1)
    assert (watch.tally.rows, watch.waiting, watch.unmatched) == (80, {}, 0)
