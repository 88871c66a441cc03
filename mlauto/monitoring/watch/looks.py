"""The watch over two versions that predict the same rows: one answers users, the other gets copies of the requests.

It is one small record beside the log: how far the labels were read, which requests were counted, and the tally of the
sequential test. Each look reads what came since the last one, so that its cost is flat and labels may come days late,
and replaces the record as a whole: a look that was killed is done again from the record before it. To compute the test
from the log each time would be simpler, but only its newest part can be read at a bounded cost, and a test that forgets
its beginning may err at each new start.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.log.reading import Label, LogReader, segment_of
from mlauto.monitoring.watch.pairing import Pair, Pairing, outcomes, written_since
from mlauto.monitoring.watch.pairs import losses_to_test
from mlauto.monitoring.watch.record import Labels, Subject, Watch, read_watch
from mlauto.monitoring.watch.sequential import added, evaluated
from mlauto.proof import Proof
from mlauto.store import atomic_write

__all__ = ["look"]

ORIGINS = ("labels", "imported")
LABEL_BYTES = 8 << 20  # of new labels per origin and look; of more, the newest
PATIENCE_SECONDS = 60.0  # a label may come before the copy's answer is on disk
WAITING = 5000
REMEMBERED = 20_000  # newest requests that are not counted again when they are labelled again
LARGEST = 1e100  # a loss beyond it comes from a label that is none, and its square has no float


def look(folder: Path, path: Path, subject: Subject, *, now: float, classes: Sequence[object] = ()) -> Watch:
    """Count the rows whose labels came since the last look; `folder` is the prediction log, `path` the watch's record.

    Guarantees: a request counts once, with the newest label that it had by then, and only if both versions predicted
    it. Another subject begins anew. Raises `MeasurementError` when the log cannot be read, `OSError` for the record.
    """
    before = read_watch(path)
    begun = before if before is not None and before.subject == subject else Watch(subject=subject)
    cursors, labels = _labels(folder, begun)
    pairing = Pairing(folder, (subject.new, subject.old), subject.since)
    pairing.find(labels)
    matched = [name for name in labels if name in pairing.pairs]  # in the order in which the labels came
    waiting, lost = _left(labels, pairing, now)
    watch = replace(
        _added(begun, [(pairing.pairs[name], labels[name][1]) for name in matched], now, classes),
        cursors=cursors,
        waiting=waiting,
        unmatched=begun.unmatched + lost,
        counted=_numbers(begun.counted, matched),
    )
    if watch != before:
        atomic_write(path, msgspec.json.encode(watch))
    return watch


def _labels(folder: Path, watch: Watch) -> tuple[dict[str, dict[int, int]], Labels]:
    """How far the labels were read, and those to be matched: what waits, then the new ones in the order of time."""
    cursors = dict(watch.cursors)
    lines: list[Label] = []
    for origin in ORIGINS:
        chunk = LogReader(folder, origin, Label).since(cursors.get(origin), LABEL_BYTES)
        lines += chunk.lines
        cursors[origin] = chunk.cursor
    labels = dict(watch.waiting)
    known = set(np.frombuffer(watch.counted, dtype="<u8").tolist())
    oldest = min(written_since(folder, "predictions", watch.subject.since), default=None)
    for line in sorted(lines, key=lambda line: line.t):
        segment = segment_of(line.id)
        if segment is None or oldest is None or segment < oldest or _number(line.id) in known:
            continue  # of an earlier request, as most late labels are when a watch begins
        labels[line.id] = (line.t, line.y)
    return cursors, labels


def _left(labels: Labels, pairing: Pairing, now: float) -> tuple[Labels, int]:
    """The labels that may still be matched, and the number of those that cannot."""
    waiting: Labels = {}
    lost = 0
    for name, label in labels.items():
        if name in pairing.pairs or name in pairing.foreign:
            continue
        since = pairing.answers[name].t if name in pairing.answers else label[0]
        may_come = name in pairing.deferred or now - since < PATIENCE_SECONDS
        if may_come and len(waiting) < WAITING:
            waiting[name] = label
        else:
            lost += 1
    return waiting, lost


def _added(watch: Watch, matched: Sequence[tuple[Pair, list[Any]]], now: float, classes: Sequence[object]) -> Watch:
    """The watch with the rows of those requests counted, in their order."""
    metric = watch.subject.metric
    rows = [row for pair, truth in matched for row in _rows(watch.subject, pair, truth)]
    if not rows:
        return watch
    (new_left, new), (old_left, old) = (
        losses_to_test(metric, watch.unpaired[side], [row[side] for row in rows], classes) for side in (0, 1)
    )
    sound = (new < LARGEST) & (old < LARGEST)
    tally = added(watch.tally, metric, new[sound], old[sound])
    found = evaluated(tally, metric)
    proof = None if found is None else Proof(**asdict(watch.subject), until=now, **asdict(found))
    return replace(watch, tally=tally, proof=proof, unpaired=(new_left, old_left))


def _rows(subject: Subject, pair: Pair, truth: list[Any]) -> list[tuple[Outcome, Outcome]]:
    """The new and the old version's outcome of each row of a request that can be compared."""
    if len({len(truth), len(pair.answer.y or ()), len(pair.copy.y or ())}) > 1:
        return []
    new, old = pair if pair.answer.v == subject.new else reversed(pair)
    both = zip(outcomes(new, truth), outcomes(old, truth), strict=True)
    return [rows for rows in both if all(row.usable(subject.metric) for row in rows)]


def _numbers(counted: bytes, matched: Sequence[str]) -> bytes:
    numbers = np.array([_number(name) for name in matched], dtype="<u8")
    return np.concatenate([np.frombuffer(counted, dtype="<u8"), numbers])[-REMEMBERED:].tobytes()


def _number(name: str) -> int:
    """A request's id without its random end: which segment, which request."""
    segment, sequence, _ = name.split("-")
    return int(segment, 16) << 32 | int(sequence, 16)
