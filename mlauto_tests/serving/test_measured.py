"""What the control plane recorded, as metrics of the gateway."""

import json
from pathlib import Path

import pytest

from mlauto.serving.measured import MOST_ROWS, Row, measured
from mlauto.serving.metrics import Metrics
from mlauto.store import Store


def record(home: Path, product: str, *rows: object) -> None:
    Store(home).write_record(product, "gauges", rows)


def text(home: Path, *products: str) -> str:
    return Metrics().render({}, measured(home / "products", products)).decode()


def test_the_record_of_monitoring_is_shown(tmp_path: Path) -> None:
    """The rows that the live sensor writes, each with its product; a product without a record is not there."""
    waits = Row(name="mlauto_waiting", value=7, help="How many.")
    record(tmp_path, "bikes", Row(name="mlauto_delay_seconds", value=90.5, labels={"quantile": "0.9"}), waits)

    found = text(tmp_path, "bikes", "tides")

    assert 'mlauto_delay_seconds{product="bikes",quantile="0.9"} 90.5\n' in found
    assert (
        '# HELP mlauto_waiting How many.\n# TYPE mlauto_waiting gauge\nmlauto_waiting{product="bikes"} 7.0\n' in found
    )
    assert 'mlauto_gauges_readable{product="bikes"} 1\n' in found
    assert 'mlauto_gauges_refused{product="bikes"} 0\n' in found
    assert "tides" not in found


def test_samples_of_a_metric_stand_together(tmp_path: Path) -> None:
    """Whatever products they are of: the format wants it, and one line says what a metric is."""
    for product in ("bikes", "tides"):
        record(tmp_path, product, Row(name="mlauto_a", value=1), Row(name="mlauto_b_total", value=2, help="B."))

    found = [line for line in text(tmp_path, "bikes", "tides").splitlines() if "mlauto_a" in line or "mlauto_b" in line]

    assert found == [
        "# TYPE mlauto_a gauge",
        'mlauto_a{product="bikes"} 1.0',
        'mlauto_a{product="tides"} 1.0',
        "# HELP mlauto_b_total B.",
        "# TYPE mlauto_b_total counter",
        'mlauto_b_total{product="bikes"} 2.0',
        'mlauto_b_total{product="tides"} 2.0',
    ]


@pytest.mark.parametrize("content", ["{", "[{}]", '[{"name": "mlauto_a", "value": null}]', " " * (1 << 20) + "[]"])
def test_a_record_that_does_not_parse_gives_no_row_and_is_told(content: str, tmp_path: Path) -> None:
    """The gateway answers users whatever lies there; the other products' rows stay. One that is huge is not read."""
    record(tmp_path, "bikes", Row(name="mlauto_a", value=1))
    record(tmp_path, "tides")
    Store(tmp_path).record_path("tides", "gauges").write_text(content)

    found = text(tmp_path, "bikes", "tides")

    assert 'mlauto_a{product="bikes"} 1.0' in found
    assert 'mlauto_a{product="tides"}' not in found
    assert 'mlauto_gauges_readable{product="tides"} 0\n' in found


@pytest.mark.parametrize(
    "row",
    [
        {"name": "up", "value": 1},
        {"name": "mlauto_A", "value": 1},
        {"name": "mlauto_a\n", "value": 1},
        {"name": "mlauto_requests_total", "value": 1},
        {"name": "mlauto_request_seconds_bucket", "value": 1},
        {"name": "mlauto_gauges_readable", "value": 1},
        {"name": "mlauto_a", "value": 1, "labels": {"product": "price"}},
        {"name": "mlauto_a", "value": 1, "labels": {"__name__": "x"}},
        {"name": "mlauto_a", "value": 1, "labels": {'a="1",b': "x"}},
        {"name": "mlauto_a", "value": 1, "labels": {"a": "x" * 121}},
        {"name": "mlauto_a", "value": 1, "labels": dict.fromkeys("abcde", "x")},
    ],
)
def test_an_odd_row_is_refused_and_counted(row: dict[str, object], tmp_path: Path) -> None:
    """It must not pose as a counter of the gateway or as another product, nor make series without end."""
    path = Store(tmp_path).record_path("bikes", "gauges")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([row, {"name": "mlauto_good", "value": 1}]))

    found = text(tmp_path, "bikes")

    assert 'mlauto_gauges_refused{product="bikes"} 1\n' in found
    assert 'mlauto_good{product="bikes"} 1.0' in found
    assert found.count('product="bikes"') == 3


def test_a_row_comes_once_and_rows_are_bounded(tmp_path: Path) -> None:
    """Prometheus would refuse doubles; what is beyond the bound is counted."""
    rows = [Row(name="mlauto_a", value=n, labels={"n": str(n)}) for n in range(MOST_ROWS + 5)]
    record(tmp_path, "bikes", rows[0], *rows)

    found = text(tmp_path, "bikes")

    assert found.count("mlauto_a{") == MOST_ROWS - 1
    assert 'mlauto_gauges_refused{product="bikes"} 7\n' in found


def test_labels_are_escaped(tmp_path: Path) -> None:
    """A category's name may hold anything."""
    record(tmp_path, "bikes", Row(name="mlauto_a", value=1, labels={"segment": 'a"} 1\nup 2'}))

    assert 'mlauto_a{product="bikes",segment="a\\"} 1\\nup 2"} 1.0' in text(tmp_path, "bikes")
