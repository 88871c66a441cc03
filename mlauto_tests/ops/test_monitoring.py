"""Prometheus, Alertmanager and Grafana: valid by their own tools, and about metrics that the gateway really has."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlauto.serving.metrics import Metrics
from mlauto.serving.public import GAUGES
from mlauto_tests.conftest import tool
from mlauto_tests.ops.compose_file import OPS, loaded

METRIC = re.compile(r"\bmlauto_\w+")
DASHBOARDS = sorted((OPS / "grafana" / "dashboards").glob("*.json"))
RULES: list[dict[str, Any]] = yaml.safe_load((OPS / "alerts.yml").read_text())["groups"][0]["rules"]


def ran(program: str, *words: str, folder: Path = OPS) -> subprocess.CompletedProcess[str]:
    command = [str(tool(program)), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def rendered() -> str:
    """What /metrics says after some traffic."""
    metrics = Metrics()
    metrics.answered("demand", "7", seconds=0.01, rows=3)
    metrics.refused("demand", "7", 503)
    return metrics.render({name: {tuple("x" for _ in labels): 1.0} for name, labels in GAUGES.items()}, GAUGES).decode()


def names() -> set[str]:
    """Every metric of the gateway, a histogram by its three series."""
    declared = re.findall(r"^# TYPE (\w+) (\w+)$", rendered(), re.MULTILINE)
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + part for name, kind in declared for part in parts.get(kind, ("",))}


def expressions() -> list[str]:
    """Every query of the dashboards."""
    documents = [json.loads(path.read_text()) for path in DASHBOARDS]
    return [target["expr"] for one in documents for panel in one["panels"] for target in panel["targets"]]


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """With the rules and the key in their places; the key's place is the secret's of the compose file."""
    text = (OPS / "prometheus.yml").read_text()
    assert "/run/secrets/scrape_key" in text
    assert loaded()["services"]["prometheus"]["secrets"] == ["scrape_key"]
    (tmp_path / "scrape_key").write_text("key")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/scrape_key", str(tmp_path / "scrape_key")))
    shutil.copy(OPS / "alerts.yml", tmp_path)

    done = ran("promtool", "check", "config", "--lint-fatal", "prometheus.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


@pytest.mark.needs("promtool")
def test_alerts_fire_when_they_should_and_ordinary_traffic_fires_none() -> None:
    """By Prometheus' own evaluation of series in `alerts_test.yml`."""
    done = ran("promtool", "test", "rules", "alerts_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("limit", ["> 0.01", "> 0.25", ">= 3", '{job="gateway"} == 0', "champion == 1"])
def test_an_alert_with_another_limit_is_noticed(limit: str, tmp_path: Path) -> None:
    """So the check above can fail, for each alert that has a limit."""
    text = (OPS / "alerts.yml").read_text()
    assert text.count(limit) == 1
    (tmp_path / "alerts.yml").write_text(text.replace(limit, re.sub(r"[\d.]+$", "77", limit)))
    shutil.copy(OPS / "alerts_test.yml", tmp_path)

    done = ran("promtool", "test", "rules", "alerts_test.yml", folder=tmp_path)

    assert done.returncode == 1
    assert "FAILED" in done.stderr + done.stdout


def test_every_alert_is_tested_both_ways_and_says_what_to_do() -> None:
    """It fires in one test and is silent in another; critical or warning, with a first step."""
    tests = yaml.safe_load((OPS / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in RULES}

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == alerts
    assert {rule["labels"]["severity"] for rule in RULES} == {"critical", "warning"}
    assert all({"summary", "action"} <= set(rule["annotations"]) for rule in RULES)


@pytest.mark.needs("amtool")
def test_alertmanager_takes_the_configuration_and_routes_by_it() -> None:
    """Critical or not, what fires reaches the team's receiver."""
    checked = ran("amtool", "check-config", "alertmanager.yml")
    for severity in ("critical", "warning"):
        routed = ran("amtool", "config", "routes", "test", "--config.file=alertmanager.yml", f"severity={severity}")
        assert routed.stdout.strip() == "team", routed.stderr

    assert checked.returncode == 0, checked.stderr


def test_prometheus_and_compose_agree_on_addresses() -> None:
    """Prometheus finds the gateway and Alertmanager, and Grafana finds Prometheus, by their services' names."""
    config = yaml.safe_load((OPS / "prometheus.yml").read_text())
    source = yaml.safe_load((OPS / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    services = loaded()["services"]
    wanted = {
        config["scrape_configs"][0]["static_configs"][0]["targets"][0]: ("gateway", "prometheus"),
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0]: ("alertmanager", "prometheus"),
        source["datasources"][0]["url"].removeprefix("http://"): ("prometheus", "grafana"),
    }

    assert set(wanted) == {"gateway:8900", "alertmanager:9093", "prometheus:9090"}
    for address, (server, client) in wanted.items():
        assert address.split(":")[0] == server
        assert services[server]["ports"][0].endswith(f":{address.split(':')[1]}")
        assert set(services[server]["networks"]) & set(services[client]["networks"])


def test_alerts_and_dashboards_ask_for_metrics_that_there_are() -> None:
    """By the very names that the gateway renders."""
    asked = {name for text in (*expressions(), *(rule["expr"] for rule in RULES)) for name in METRIC.findall(text)}

    assert asked <= names(), asked - names()
    assert {"mlauto_requests_total", "mlauto_request_seconds_bucket", "mlauto_version_ready"} <= asked


@pytest.mark.needs("promtool")
def test_every_query_of_a_dashboard_is_one(tmp_path: Path) -> None:
    """Prometheus parses each, with Grafana's variables filled in."""
    filled = [one.replace("$__rate_interval", "1m").replace("$product", ".*") for one in expressions()]
    rules = [{"record": f"panel:{number}", "expr": one} for number, one in enumerate(filled)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = ran("promtool", "check", "rules", "panels.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(filled)} rules found" in done.stdout
    assert "$" not in "".join(filled)


@pytest.mark.needs("promtool")
def test_the_canary_share_is_that_of_each_version(tmp_path: Path) -> None:
    """Three requests in four by the champion, one by the canary; another product does not count."""
    share = next(one for one in expressions() if "group_left" in one)
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


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_provisioned_and_whole(path: Path) -> None:
    """Panels do not overlap, each has a title, a unit and a source that is provisioned, and is where Grafana looks."""
    dashboard = json.loads(path.read_text())
    provider = yaml.safe_load((OPS / "grafana" / "provisioning" / "dashboards" / "mlauto.yml").read_text())
    mounts = [one.split(":") for one in loaded()["services"]["grafana"]["volumes"]]
    source = yaml.safe_load((OPS / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert ["./grafana/dashboards", provider["providers"][0]["options"]["path"], "ro"] in mounts
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["datasources"][0]["uid"]}
    assert all(panel["title"] and panel["fieldConfig"]["defaults"]["unit"] for panel in dashboard["panels"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
