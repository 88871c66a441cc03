"""What is proven of quality, in a few lines, and never more than is known."""

from dataclasses import replace

from mlauto.commands.quality_lines import quality_lines
from mlauto.monitoring.metrics import unmeasured
from mlauto_tests.monitoring.whole import DETECTION, METRICS, NOW, SEGMENT

PROVEN = replace(DETECTION, e_value=20_000.0, alarmed_at=NOW - 121)
QUIET = replace(METRICS, worse=DETECTION)


def test_how_near_a_loss_is_to_its_proof() -> None:
    """The evidence, what it takes, on how many rows, and since when."""
    assert quality_lines(QUIET) == [
        ("proof", "no loss beyond the limit is proven (e-value 100 of 10000, 300 rows in 15 min)")
    ]


def test_a_loss_that_is_proven() -> None:
    """Since when; what is smaller is not told beside it."""
    assert quality_lines(replace(QUIET, detection=PROVEN, worse=PROVEN)) == [
        ("proof", "a loss beyond the limit is proven since 2 min")
    ]


def test_a_loss_within_the_tolerance() -> None:
    """It is told, and that nobody acts on it."""
    [(_, text)] = quality_lines(replace(QUIET, worse=PROVEN))

    assert text.startswith("no loss beyond the limit is proven")
    assert text.endswith("; a smaller loss is, which nobody acts on")


def test_segments_that_are_proven_worse() -> None:
    """The worst three, and how many there are beyond; those that are not proven are not told."""
    bad = [replace(SEGMENT, segment=f"season = {number}", detection=PROVEN) for number in range(5)]
    lines = quality_lines(replace(QUIET, segments=(*bad, SEGMENT)))[1:]

    assert [name for name, _ in lines] == ["segment"] * 4
    assert lines[0][1] == "season = 0: mae 2, 2 when trained, proven worse; shown, and not acted upon"
    assert lines[3][1].startswith("and 2 more")
    assert quality_lines(replace(QUIET, segments=(SEGMENT,)))[1:] == []


def test_an_estimate_stands_in_for_labels_that_are_not_there() -> None:
    """With its bounds and its method; not beside what labels show."""
    assert ("estimate", "mae 2 [1.8, 2.2] by dle without labels, on 300 rows") in quality_lines(
        replace(QUIET, quality=None)
    )
    assert "estimate" not in dict(quality_lines(QUIET))


def test_nothing_is_told_of_what_was_not_measured() -> None:
    """No detector, no label so far, no estimate: no line."""
    assert quality_lines(replace(QUIET, detection=replace(DETECTION, rows=0))) == []
    assert quality_lines(unmeasured("2", "the log is on fire", now=NOW)) == []
