"""Looks at a version's labelled requests: each counted once, late, corrected or again; kept over restarts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.labels.joining import Joined, join_labels
from mlauto.monitoring.quality.levels import Levels
from mlauto.monitoring.quality.memory import read_memory
from mlauto.monitoring.quality.references import Known
from mlauto.monitoring.quality.watching import Proven, Standard, advanced, begun, look
from mlauto.records import Score
from mlauto_tests.monitoring.conftest import NOW, LogWriter

REFERENCE = Score(metric="error_rate", value=0.10, low=0.08, high=0.12, rows=1000)
STANDARD = Standard(reference=REFERENCE, tolerance=0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the detectors are remembered."""
    return tmp_path / "quality.json"


def requests(rate: float, count: int, first: int = 0, seed: int = 0) -> list[Joined]:
    wrong = np.random.default_rng(seed).random(count) < rate
    return [
        Joined(f"00000000-{first + at:08x}-0000", ["a"], ["b" if one else "a"], None, float(first + at))
        for at, one in enumerate(wrong)
    ]


def looked(path: Path, entries: Sequence[Joined], *, version: str = "1", quality: Score | None = None) -> Proven:
    found = look(path, entries, version=version, standard=STANDARD, quality=quality, now=NOW)
    assert found is not None
    return found


def test_each_request_counts_once(path: Path) -> None:
    """A window that has moved on by some requests adds just those, in whatever order they came."""
    entries = requests(0.1, 100)

    assert looked(path, entries[:60]).beyond.rows == 60
    assert looked(path, entries[:60]).beyond.rows == 60
    late_came = [*entries[20:55], *entries[60:80]]
    assert looked(path, late_came).beyond.rows == 80
    assert looked(path, entries[20:100]).beyond.rows == 105  # 55 to 59 had left the window: the join lets none back
    assert looked(path, entries[50:]).worse.rows == 105


def test_labels_that_come_late_or_twice_or_are_corrected(log: LogWriter, state: Path, path: Path) -> None:
    """Through the join itself: a late one counts when it comes, another one of the same request does not."""
    ids = [log.predict("a", t=NOW + at) for at in range(12)]

    def rows() -> int:
        joined = join_labels(log.folder, state, version="1", window=20, now=NOW)
        return looked(path, joined.windows["1"]).beyond.rows

    for name in ids[2:]:
        log.label(name, "a")
    assert rows() == 10
    log.label(ids[0], "a")  # late
    log.label(ids[5], "b")  # corrected
    log.label(ids[6], "a")  # again
    assert rows() == 11
    state.unlink()  # the join reads the log again
    assert rows() == 11


def test_a_loss_is_proven_and_ends_with_the_recovery(path: Path) -> None:
    """What was proven stays until the window is wholly within the limit, and the next loss needs a new proof."""
    looked(path, requests(0.10, 400))
    bad = looked(path, requests(0.60, 400, first=400))
    assert bad.beyond.alarmed
    assert bad.beyond.e_value >= bad.beyond.threshold == 100
    assert bad.beyond.limit == pytest.approx(0.14)

    window = Score(metric="error_rate", value=0.10, low=0.07, high=0.15, rows=400)
    assert looked(path, requests(0.10, 400, first=800), quality=window).beyond.alarmed
    healed = looked(path, requests(0.10, 400, first=1200), quality=replace(window, high=0.13))
    assert not healed.beyond.alarmed
    assert healed.beyond.rows == 0
    assert looked(path, requests(0.60, 400, first=1600)).beyond.alarmed


def test_a_small_loss_is_worse_but_not_beyond(path: Path) -> None:
    """Proven worse than the reference, and still within the tolerance."""
    for part in range(40):
        found = looked(path, requests(0.139, 500, first=500 * part, seed=part))

    assert found.worse.alarmed
    assert not found.beyond.alarmed


def test_versions_have_states_of_their_own(path: Path) -> None:
    """A new version begins anew, one that comes back goes on; all share the budget."""
    looked(path, requests(0.6, 400))
    fresh = looked(path, requests(0.1, 50, first=400), version="2")
    back = looked(path, requests(0.1, 50), version="1")

    assert (fresh.beyond.rows, fresh.beyond.alarmed) == (50, False)
    assert (back.beyond.rows, back.beyond.alarmed) == (400, True)
    memory = read_memory(path, NOW)
    assert list(memory.versions) == ["2", "1"]
    assert memory.budget.left < 0.25


def test_another_metric_begins_anew(path: Path) -> None:
    """What was won by one says nothing of another."""
    looked(path, requests(0.6, 400))
    reference = Score(metric="log_loss", value=0.3, low=0.2, high=0.4, rows=100)
    entries = [Joined(one.id, one.y, one.label, [[0.5, 0.5]], one.t) for one in requests(0.1, 30, first=400)]

    found = look(
        path,
        [*entries, *requests(0.1, 5, first=500)],  # without probabilities: not usable
        version="1",
        standard=Standard(reference=reference, tolerance=0.1),
        quality=None,
        now=NOW,
        classes=("a", "b"),
    )

    assert found is not None
    assert (found.beyond.rows, found.beyond.alarmed) == (30, False)


def test_what_cannot_be_tested(path: Path) -> None:
    """r2 without the variance of the truth has no test; a memory that cannot be read is an error."""
    r2 = Standard(reference=Score(metric="r2", value=0.9, low=0.8, high=1.0, rows=100), tolerance=0.05)

    assert look(path, [], version="1", standard=r2, quality=None, now=NOW) is None
    assert advanced(replace(r2, spread=2.0), begun("r2", NOW), np.full(100, 5.0), None, NOW) is not None
    path.mkdir()
    with pytest.raises(MeasurementError, match="cannot be read"):
        looked(path, [])


def test_segments_are_counted_with_the_rows(path: Path) -> None:
    """Each row for the segment that it is in, and as exactly once as for the whole."""
    half = replace(REFERENCE, rows=500)
    known = Known(
        metric="error_rate", columns={"x": Levels(values=("1", "2"))}, segments={"x = 1": half, "x = 2": half}
    )
    standard = replace(STANDARD, known=known)
    entries = [
        Joined(one.id, one.y, ["b"] if at % 2 else ["a"], None, one.t, [[f"x = {1 + at % 2}"]])
        for at, one in enumerate(requests(0.0, 120))
    ]
    found = None
    for _ in range(2):
        found = look(path, entries, version="1", standard=standard, quality=None, now=NOW)

    assert found is not None
    assert [(one.segment, one.detection.rows) for one in found.segments] == [("x = 2", 60), ("x = 1", 60)]
    assert [one.detection.alarmed for one in found.segments] == [True, False]
    assert [one.quality.value for one in found.segments] == [1.0, 0.0]


AUC = Score(metric="auc", value=0.9, low=0.88, high=0.92, rows=1000)
AUC_STANDARD = Standard(reference=AUC, tolerance=0.02)
APART = {0.9: 1.8124, 0.86: 1.5278, 0.75: 0.9539, 0.5: 0.0}  # deviations between two normal distributions with that AUC


def ranking(auc: float, count: int, first: int = 0, seed: int = 0) -> list[Joined]:
    """Requests of one row, three in ten positive, whose probabilities have that AUC."""
    dice = np.random.default_rng(seed)
    positive = dice.random(count) < 0.3
    said = 1 / (1 + np.exp(-dice.normal(APART[auc] * positive, 1.0)))
    return [
        Joined(f"00000000-{first + at:08x}-0000", ["b"], ["b" if y else "a"], [[1 - p, p]], float(first + at))
        for at, (y, p) in enumerate(zip(positive.tolist(), said.tolist(), strict=True))
    ]


def looked_at(path: Path, entries: Sequence[Joined], quality: Score | None = None) -> Proven:
    found = look(path, entries, version="1", standard=AUC_STANDARD, quality=quality, now=NOW, classes=("a", "b"))
    assert found is not None
    return found


def test_a_fall_of_the_auc_is_found_soon(path: Path) -> None:
    """From 0.9 to 0.75, where 0.86 is allowed: within 4,000 labels, which are 1,200 pairs, in each of five draws."""
    needed = []
    for seed in range(5):
        mine = path.with_name(f"{seed}.json")
        looked_at(mine, ranking(0.9, 2000, seed=seed))
        labels = 0
        while not looked_at(mine, ranking(0.75, 50, first=2000 + labels, seed=100 * seed + labels)).beyond.alarmed:
            labels += 50
            assert labels < 4000
        needed.append(labels + 50)

    assert min(needed) >= 500  # no handful of rows proves it


def test_an_auc_at_the_limit_gives_no_alarm(path: Path) -> None:
    """50,000 rows at the very worst that is allowed, looked at a hundred times."""
    for part in range(100):
        found = looked_at(path, ranking(0.86, 500, first=500 * part, seed=part))

    assert not found.beyond.alarmed
    assert 14_000 < found.beyond.rows < 15_500
    assert found.beyond.limit == pytest.approx(0.86)


def test_pairs_of_rows_survive_the_time_between_looks(path: Path) -> None:
    """A look for every three labels, each from the written record, finds what one look at all of them does."""
    entries = ranking(0.75, 300)
    for at in range(0, 300, 3):
        often = looked_at(path, entries[: at + 3])
    once = looked_at(path.with_name("once.json"), entries)
    first, second = (read_memory(one, NOW).versions["1"] for one in (path, path.with_name("once.json")))

    assert often.beyond.rows == once.beyond.rows > 70
    assert often.beyond.e_value == pytest.approx(once.beyond.e_value, rel=1e-6)
    assert first.unpaired == second.unpaired
    assert len(first.unpaired.scores) > 0
    assert looked_at(path, entries).beyond.rows == once.beyond.rows


def test_an_auc_recovers_upwards(path: Path) -> None:
    """What was proven ends once the window's lower end is above the limit, and not because its upper end is."""
    looked_at(path, ranking(0.9, 500))
    assert looked_at(path, ranking(0.5, 3500, first=500)).beyond.alarmed
    window = Score(metric="auc", value=0.88, low=0.85, high=0.91, rows=400)

    assert looked_at(path, ranking(0.9, 50, first=4000), quality=window).beyond.alarmed
    assert not looked_at(path, ranking(0.9, 50, first=4050), quality=replace(window, low=0.87)).beyond.alarmed


def test_labels_of_one_class_prove_nothing_yet(path: Path) -> None:
    """They wait for rows of the other one; no labels at all, and unknown classes then, are no fault."""
    positive = [one for one in ranking(0.75, 400) if one.label == ["b"]]

    assert look(path, [], version="1", standard=AUC_STANDARD, quality=None, now=NOW) is not None
    assert looked_at(path, positive).beyond.rows == 0
    assert read_memory(path, NOW).versions["1"].unpaired.positive
    with pytest.raises(MeasurementError, match="use metric log_loss"):
        look(path, ranking(0.9, 5, 900), version="1", standard=AUC_STANDARD, quality=None, now=NOW, classes=("a", 1, 2))
