"""What a person reads of proofs and estimates."""

from dataclasses import replace

from mlauto.measured import Detection, Estimate, LiveMetrics, SegmentQuality
from mlauto.orchestration.render import table
from mlauto.orchestration.render_quality import quality
from mlauto.records import Score

NOTHING = LiveMetrics(
    version="2", measured=1.0, requests=0, errors=0, p50_ms=None, p99_ms=None, labelled=0, quality=None
)
SCORE = Score(metric="mae", value=3.25, low=3.0, high=3.5, rows=100)
OPEN = Detection(e_value=0.5, threshold=100.0, limit=4.0, rows=10, looks=1, since=0.0)


def test_nothing_is_shown_of_nothing() -> None:
    """A version without labels and without a holdout on record."""
    assert quality(NOTHING, table) == {}


def test_each_test_is_a_row() -> None:
    """The whole, any loss, and each segment with its own value, reference and limit."""
    alarmed = replace(OPEN, e_value=250.0, alarmed_at=9.0)
    winter = SegmentQuality(segment="x = winter", quality=SCORE, reference=replace(SCORE, value=2.0), detection=alarmed)

    shown = quality(replace(NOTHING, quality=SCORE, detection=OPEN, worse=OPEN, segments=(winter,)), table)

    lines = str(shown["proofs"].value).splitlines()
    assert len(lines) == 2 + 3
    assert lines[2] == "| a loss beyond the tolerance | 3.25 |  | 4 | 0.5 | 100 | no |"
    assert lines[4] == "| x = winter | 3.25 | 2 | 4 | 250 | 100 | yes |"


def test_an_estimate_says_what_it_cannot_see() -> None:
    """With its error, its method and its rows."""
    guess = Estimate(method="DLE", quality=SCORE, error=0.125)

    shown = quality(replace(NOTHING, estimate=guess), table)

    assert set(shown) == {"estimated_without_labels"}
    assert str(shown["estimated_without_labels"].value).startswith("mae 3.25 +- 0.12 by DLE on 100 rows; it cannot see")
