"""What the holdout says of segments."""

import msgspec
import numpy as np

from mlauto.monitoring.comparison import Outcome
from mlauto.monitoring.quality.levels import Levels
from mlauto.monitoring.quality.references import FEWEST, Known, known_of

RANDOM = np.random.default_rng(1)
ROWS = [{"season": ("winter", "summer")[at % 2], "x": at} for at in range(200)]
OUTCOMES = [Outcome(0.0, 2.0 if at % 2 else 1.0) for at in range(200)]


def test_each_segment_has_its_own_reference() -> None:
    """Summer is twice as hard; what a model does not have makes no segments."""
    known = known_of("mae", ROWS, OUTCOMES, (), ["season", "nowhere"])

    assert known.columns == {"season": Levels(values=("summer", "winter"))}
    assert {name: score.value for name, score in known.segments.items()} == {
        "season = summer": 2.0,
        "season = winter": 1.0,
    }
    assert {score.rows for score in known.segments.values()} == {100}
    assert msgspec.json.decode(msgspec.json.encode(known), type=Known) == known


def test_a_segment_of_few_rows_has_none() -> None:
    """Nor has one whose rows cannot be scored."""
    few = 2 * (FEWEST - 1)
    unusable = [Outcome(None, 1.0) for _ in ROWS]

    assert known_of("mae", ROWS[:few], OUTCOMES[:few], (), ["season"]).segments == {}
    assert known_of("mae", ROWS, unusable, (), ["season"]).segments == {}
    assert known_of("mae", ROWS[:few], OUTCOMES[:few], (), []).estimator is None


def test_segments_that_a_tree_finds() -> None:
    """Found on one half of the rows; each one's reference is of the other half, and is right though it was chosen."""
    random = np.random.default_rng(2)
    rows = [{"x": float(value), "y": int(at % 5)} for at, value in enumerate(random.uniform(0, 10, 2000))]
    outcomes = [Outcome(0.0, float(random.exponential(3.0 if row["x"] >= 8 else 1.0))) for row in rows]

    known = known_of("mae", rows, outcomes, (), "tree")

    assert (known.divisions, len(known.tree)) == (1, 2)
    assert {known.names_of(row)[0] for row in rows} == set(known.segments)
    easy, hard = sorted(known.segments.values(), key=lambda score: score.value)
    assert easy.low < 1.0 < easy.high
    assert hard.low < 3.0 < hard.high
    assert easy.rows + hard.rows == 1000
    assert msgspec.json.decode(msgspec.json.encode(known), type=Known) == known


def test_a_tree_that_finds_nothing_makes_no_segments() -> None:
    """Nor does one of no rows, or of a metric that is undefined on them."""
    alike = [Outcome(0.0, 1.0) for _ in ROWS]
    one_class = [Outcome("a", "a", (0.9, 0.1)) for _ in ROWS]

    for metric, outcomes in (("mae", alike), ("auc", one_class)):
        known = known_of(metric, ROWS, outcomes, ("a", "b"), "tree")
        assert (known.divisions, known.segments, known.names_of(ROWS[0])) == (0, {}, [])
    assert known_of("mae", [], [], (), "tree") == Known(metric="mae")


def test_r2_and_no_columns_have_no_segments() -> None:
    """The record then says of which metric it is, and nothing else."""
    assert known_of("r2", ROWS, OUTCOMES, (), ["season"]) == Known(metric="r2")
    found = known_of("mae", ROWS, OUTCOMES, (), [])
    assert (found.metric, found.columns, found.segments) == ("mae", {}, {})
    assert found.estimator is not None
    assert known_of("r2", ROWS, OUTCOMES, (), [], spread=3.0).estimator is not None
    assert known_of("mae", [], [], (), ["season"]) == Known(metric="mae")


def test_a_segments_auc_is_that_of_its_own_rows() -> None:
    """Summer is ordered wholly wrong; a segment of one class has no reference."""
    classes, outcomes = ("no", "yes"), []
    for at in range(200):
        positive = at // 2 % 2 == 1
        p = 0.9 if positive == (at % 2 == 0) else 0.1
        outcomes.append(Outcome(classes[positive], "yes", [1 - p, p]))
    known = known_of("auc", ROWS, outcomes, classes, ["season"])
    one_class = [Outcome("no" if at % 2 else one.truth, "yes", one.odds) for at, one in enumerate(outcomes)]

    assert {name: score.value for name, score in known.segments.items()} == {
        "season = summer": 0.0,
        "season = winter": 1.0,
    }
    assert {(score.metric, score.rows) for score in known.segments.values()} == {("auc", 100)}
    assert known.estimator is not None
    assert list(known_of("auc", ROWS, one_class, classes, ["season"]).segments) == ["season = winter"]
