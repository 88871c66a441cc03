"""The dashboard of how good the models are."""

from mlauto.export.board_models import MODELS
from mlauto.monitoring.gaugenames import GAUGES


def test_quality_is_shown_with_its_bounds_reference_and_limit() -> None:
    """And an estimate is called one."""
    shown = {one.title: [query.expr.partition("{")[0] for query in one.queries] for one in MODELS.rows["Quality"]}
    expected = [f"mlauto_quality{part}" for part in ("", "_low", "_high", "_reference", "_limit")]

    assert shown["Quality on labels, with its 95 % bounds, reference and limit"] == expected
    assert any("estimated" in title for title in shown)


def test_most_of_what_the_control_plane_records_is_on_it() -> None:
    """Each part of it: a metric that nobody looks at need not be there."""
    text = str(MODELS)
    parts = {name.split("_")[1] for name in GAUGES}

    assert {part for part in parts if f"mlauto_{part}" not in text} <= {"live", "action", "prediction", "segment"}
