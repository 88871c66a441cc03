"""The dashboard of how users are served."""

from pathlib import Path

import pytest
import yaml

from mlauto.export.board_live import LIVE
from mlauto_tests.export.conftest import ran


def test_what_is_promised_is_shown_beside_what_is() -> None:
    """Errors and latency, each with its limit."""
    shown = {one.title: str(one.queries) for row in LIVE.rows.values() for one in row}

    assert "mlauto:slo_error_rate" in shown["Share of requests that fail (5xx), by product"]
    assert "mlauto:slo_p99_seconds" in shown["Latency p50 and p99, by version"]


@pytest.mark.needs("promtool")
def test_the_canary_share_is_that_of_each_version(tmp_path: Path) -> None:
    """Three requests in four by the champion, one by the canary; another product does not count."""
    queries = [query.expr for row in LIVE.rows.values() for one in row for query in one.queries]
    [share] = [expr for expr in queries if "group_left" in expr]
    filled = share.replace("$__rate_interval", "1m").replace("$product", "demand")
    series = {
        'mlauto_requests_total{product="demand", version="6", code="200"}': "0+30x20",
        'mlauto_requests_total{product="demand", version="7", code="200"}': "0+9x20",
        'mlauto_requests_total{product="demand", version="7", code="503"}': "0+1x20",
        'mlauto_requests_total{product="price", version="1", code="200"}': "0+500x20",
    }
    expected = [
        {"labels": '{product="demand", version="6"}', "value": 750},
        {"labels": '{product="demand", version="7"}', "value": 250},
    ]
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": f"round(1000 * ({filled}))", "eval_time": "4m", "exp_samples": expected}],
    }
    (tmp_path / "share.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))

    done = ran("promtool", "test", "rules", "share.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
