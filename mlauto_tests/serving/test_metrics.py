"""Counters in Prometheus' text format."""

import pytest

from mlauto.serving.metrics import BUCKETS, FAMILIES, Metrics, heading, sample


def rendered(metrics: Metrics) -> list[str]:
    return metrics.render({}).decode().splitlines()


def test_a_prediction_is_counted_by_version_and_latency() -> None:
    """Requests, rows, and a cumulative histogram whose last bucket is the count."""
    metrics = Metrics()
    metrics.answered("bikes", "1", seconds=0.003, rows=4)
    metrics.answered("bikes", "1", seconds=0.3, rows=1)
    metrics.answered("bikes", "1", seconds=99, rows=1)
    found = rendered(metrics)

    assert 'mlauto_requests_total{product="bikes",version="1",code="200"} 3' in found
    assert 'mlauto_predicted_rows_total{product="bikes",version="1"} 6' in found
    assert 'mlauto_request_seconds_bucket{product="bikes",version="1",le="0.002"} 0' in found
    assert 'mlauto_request_seconds_bucket{product="bikes",version="1",le="0.005"} 1' in found
    assert 'mlauto_request_seconds_bucket{product="bikes",version="1",le="10.0"} 2' in found
    assert 'mlauto_request_seconds_bucket{product="bikes",version="1",le="+Inf"} 3' in found
    assert 'mlauto_request_seconds_count{product="bikes",version="1"} 3' in found
    assert 'mlauto_request_seconds_sum{product="bikes",version="1"} 99.303' in found


def test_a_value_on_a_bound_belongs_to_its_bucket() -> None:
    """`le` means less or equal."""
    metrics = Metrics()
    metrics.answered("p", "1", seconds=BUCKETS[0], rows=1)

    assert f'mlauto_request_seconds_bucket{{product="p",version="1",le="{BUCKETS[0]}"}} 1' in rendered(metrics)


def test_errors_are_counted_by_code() -> None:
    """Those of unknown products have no product, so that clients cannot make series."""
    metrics = Metrics()
    metrics.refused("bikes", "1", 503)
    metrics.refused("", "", 404)
    found = rendered(metrics)

    assert 'mlauto_requests_total{product="bikes",version="1",code="503"} 1' in found
    assert 'mlauto_requests_total{product="",version="",code="404"} 1' in found


def test_a_stopped_version_leaves_no_series() -> None:
    """Versions come and go for years: what is kept does not grow with them."""
    metrics = Metrics()
    for version in ("1", "2"):
        metrics.answered("bikes", version, seconds=0.1, rows=1)
        metrics.retries["bikes", version] += 1
    metrics.forget("bikes", "1")
    found = rendered(metrics)

    assert not [line for line in found if 'version="1"' in line]
    assert [line for line in found if 'version="2"' in line]


def test_gauges_come_from_outside_and_labels_are_escaped() -> None:
    """Quotes, backslashes and newlines cannot break the format; a gauge may have no labels; more lines come last."""
    gauges = {"mlauto_version_ready": {('a"b\\c\nd', "1"): 1}, "mlauto_gateway_pid": {(): 7}}
    found = Metrics().render(gauges, ["more 1"]).decode()

    assert 'mlauto_version_ready{product="a\\"b\\\\c\\nd",version="1"} 1' in found
    assert "\nmlauto_gateway_pid 7\n" in found
    assert "# TYPE mlauto_version_ready gauge" in found
    assert found.endswith("\nmore 1\n")


def test_a_gauge_that_is_not_declared_is_an_error() -> None:
    """Every name has its type and its words: rules and dashboards are checked against them."""
    with pytest.raises(KeyError, match="mlauto_other"):
        Metrics().render({"mlauto_other": {(): 1}})


def test_each_metric_says_its_kind_and_what_it_is() -> None:
    """One HELP and one TYPE line for each, before its samples."""
    found = rendered(Metrics())
    typed = [line.split()[2:] for line in found if line.startswith("# TYPE")]
    helped = [line.split()[2] for line in found if line.startswith("# HELP")]

    assert [name for name, _ in typed] == helped
    assert all([name, FAMILIES[name].kind] == [name, kind] for name, kind in typed)
    assert heading("x", "gauge", "a\nb\\c") == ["# HELP x a\\nb\\\\c", "# TYPE x gauge"]
    assert heading("x", "gauge", "") == ["# TYPE x gauge"]
    assert sample("x", [("a", "1")], 2.0) == 'x{a="1"} 2.0'


def test_what_several_processes_counted_is_summed() -> None:
    """Every counter and every bucket, after it was dumped and loaded; what was added from stays as it was."""
    parts = []
    for number in (1, 2):
        metrics = Metrics()
        for _ in range(number):
            metrics.answered("bikes", "1", seconds=0.25, rows=4)
            metrics.refused("bikes", "1", 503)
            metrics.retries["bikes", "1"] += 1
            metrics.shadows["bikes", "2", "dropped"] += 1
            metrics.labels[("bikes",)] += 1
            metrics.log_failures[("bikes",)] += 1
        parts.append(Metrics.loaded(metrics.dumped()))
    parts[1].answered("bikes", "2", seconds=0.001, rows=1)
    whole = Metrics()
    for part in parts:
        before = part.dumped()
        whole.add(part)
        assert part.dumped() == before
    found = rendered(whole)

    one = 'product="bikes",version="1"'
    assert f'mlauto_requests_total{{{one},code="200"}} 3' in found
    assert f'mlauto_requests_total{{{one},code="503"}} 3' in found
    assert f"mlauto_predicted_rows_total{{{one}}} 12" in found
    assert f"mlauto_retries_total{{{one}}} 3" in found
    assert 'mlauto_shadow_requests_total{product="bikes",version="2",outcome="dropped"} 3' in found
    assert 'mlauto_labels_total{product="bikes"} 3' in found
    assert 'mlauto_log_failures_total{product="bikes"} 3' in found
    assert f'mlauto_request_seconds_bucket{{{one},le="0.1"}} 0' in found
    assert f'mlauto_request_seconds_bucket{{{one},le="0.25"}} 3' in found
    assert f"mlauto_request_seconds_sum{{{one}}} 0.75" in found
    assert 'mlauto_request_seconds_count{product="bikes",version="2"} 1' in found
