"""What monitoring recorded, as gauges of the gateway."""

from pathlib import Path

from mlauto.measured import LabelDelay, LiveMetrics
from mlauto.serving.measured import MEASURED, measured
from mlauto.serving.metrics import Metrics
from mlauto.store import Store


def record(home: Path, product: str, delay: LabelDelay | None) -> None:
    metrics = LiveMetrics(
        version="2",
        measured=1_700_000_000.5,
        requests=9,
        errors=0,
        p50_ms=None,
        p99_ms=None,
        labelled=0,
        quality=None,
        label_delay=delay,
        waiting=7,
    )
    Store(home).write_record(product, "live_metrics", metrics)


def text(home: Path, *products: str) -> str:
    return Metrics().render(measured(home / "products", products), MEASURED).decode()


def test_the_record_of_monitoring_is_shown(tmp_path: Path) -> None:
    """The record that the live sensor writes, as it writes it: delays by quantile, what waits, and when that was."""
    record(tmp_path, "bikes", LabelDelay(median=60.0, p90=90.5, labels=4))

    found = text(tmp_path, "bikes", "tides")

    assert 'mlauto_label_delay_seconds{product="bikes",quantile="0.5"} 60.0' in found
    assert 'mlauto_label_delay_seconds{product="bikes",quantile="0.9"} 90.5' in found
    assert 'mlauto_predictions_waiting_for_labels{product="bikes"} 7' in found
    assert 'mlauto_live_metrics_timestamp_seconds{product="bikes"} 1700000000.5' in found
    assert "tides" not in found


def test_before_the_first_label_there_is_no_delay(tmp_path: Path) -> None:
    """No label is no delay of 0."""
    record(tmp_path, "bikes", None)

    found = text(tmp_path, "bikes")

    assert "mlauto_label_delay_seconds{" not in found
    assert 'mlauto_predictions_waiting_for_labels{product="bikes"} 7' in found


def test_a_record_that_does_not_parse_is_left_out(tmp_path: Path) -> None:
    """The gateway answers users whatever lies there; the other products' gauges stay."""
    record(tmp_path, "bikes", None)
    record(tmp_path, "tides", None)
    Store(tmp_path).record_path("tides", "live_metrics").write_text("{")

    found = text(tmp_path, "bikes", "tides")

    assert "bikes" in found
    assert "tides" not in found
