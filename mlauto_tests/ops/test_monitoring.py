"""Prometheus, Alertmanager and Grafana as committed: as mlauto exports them, valid, mounted by compose."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlauto.commands.export import check_ops
from mlauto.commands.products import load_products
from mlauto.export.alerts import GROUPS
from mlauto.export.targets import Targets
from mlauto.settings import Settings
from mlauto_tests.conftest import CHECKOUT, tool
from mlauto_tests.ops.compose_file import OPS, loaded

ALERTS = {alert.name: alert for group in GROUPS.values() for alert in group}
TESTS: list[dict[str, Any]] = yaml.safe_load((OPS / "alerts_test.yml").read_text())["tests"]
ALWAYS = {"Watchdog"}  # the one that is never silent
# Words of the rules, and what they become: each must make a test of `alerts_test.yml` fail.
CHANGED = [
    ('up{job="gateway"} == 0', 'up{job="gateway"} == 77'),
    ("absent(up", "(up"),
    ("champion == 1 and on", "champion == 77 and on"),
    (">= 3", ">= 77"),
    (">= 5", ">= 0"),
    (">= 100", ">= 0"),
    ("offset 15m", "offset 1m"),
    ("rate1h > on (product) mlauto:error_limit", "rate1h > 77 * on (product) mlauto:error_limit"),
    ("rate5m > on (product) mlauto:error_limit", "rate5m < on (product) mlauto:error_limit"),
    ("mlauto:request_seconds:p99 >", "mlauto:request_seconds:p99 > 77 *"),
    ("3 * mlauto_label_delay", "77 * mlauto_label_delay"),
    ("> 3600", "> 36000"),
    ("> 900", "> 9000"),
    ("mlauto_incident_open == 1", "mlauto_incident_open == 0"),
    ("mlauto_inputs_broken == 1", "mlauto_inputs_broken == 0"),
    ("mlauto_labels_odd == 1", "mlauto_labels_odd == 0"),
    ('check="drift"', 'check="performance"'),
    ('outcome="aborted"', 'outcome="promoted"'),
    ("for: 15m", "for: 5m"),
]


def ran(program: str, *words: str, folder: Path = OPS) -> subprocess.CompletedProcess[str]:
    command = [str(tool(program)), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_committed_is_what_is_exported() -> None:
    """From the products of this repository; else: `mlauto export ops`."""
    settings = Settings.from_environment({"MLAUTO_ROOT": str(CHECKOUT)})
    check_ops(settings, OPS, Targets())

    assert load_products(settings)


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    """With the rules and the key in their places; the key's place is the secret's of the compose file."""
    text = (OPS / "prometheus.yml").read_text()
    assert "/run/secrets/scrape_key" in text
    assert loaded()["services"]["prometheus"]["secrets"] == ["scrape_key"]
    (tmp_path / "scrape_key").write_text("key")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/scrape_key", str(tmp_path / "scrape_key")))
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(OPS / name, tmp_path)

    done = ran("promtool", "check", "config", "--lint-fatal", "prometheus.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(ALERTS)} rules found" in done.stdout


@pytest.mark.needs("promtool")
def test_alerts_fire_when_they_should_and_ordinary_traffic_fires_none() -> None:
    """By Prometheus' own evaluation of series in `alerts_test.yml`."""
    done = ran("promtool", "test", "rules", "alerts_test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def rules(text: str) -> dict[str, dict[str, Any]]:
    """Every alert rule by its name."""
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(("words", "others"), CHANGED, ids=[words for words, _ in CHANGED])
def test_an_alert_that_is_changed_is_noticed(words: str, others: str, tmp_path: Path) -> None:
    """So the check above can fail, for each limit and each alert on what is absent."""
    text = (OPS / "alerts.yml").read_text()
    assert words in text
    (tmp_path / "alerts.yml").write_text(text.replace(words, others))
    shutil.copy(OPS / "rules.yml", tmp_path)
    changed = {name for name, rule in rules(text).items() if rule != rules(text.replace(words, others))[name]}
    document = yaml.safe_load((OPS / "alerts_test.yml").read_text())
    document["tests"] = [
        test for test in TESTS[1:] if {case["alertname"] for case in test["alert_rule_test"]} & changed
    ]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(document))

    done = ran("promtool", "test", "rules", "alerts_test.yml", folder=tmp_path)

    assert done.returncode == 1, done.stdout
    assert "FAILED" in done.stderr + done.stdout


def test_every_alert_is_tested_both_ways() -> None:
    """It fires in one test and is silent in another."""
    cases = [case for test in TESTS for case in test["alert_rule_test"]]

    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == set(ALERTS) - ALWAYS


@pytest.mark.needs("amtool")
def test_alertmanager_takes_the_configuration() -> None:
    """As it is committed: without anybody to tell."""
    done = ran("amtool", "check-config", "alertmanager.yml")

    assert done.returncode == 0, done.stderr


def test_what_is_committed_holds_no_secret() -> None:
    """Receivers' secrets lie in files that git ignores, and that Alertmanager reads where the export says."""
    mounts = [one.split(":") for one in loaded()["services"]["alertmanager"]["volumes"]]

    assert ["./secrets", Targets().receivers.secrets, "ro"] in mounts
    assert (OPS / "secrets" / ".gitignore").read_text().endswith("*\n!.gitignore\n")
    assert not re.search(r"https?://\S+@|api_url:|password:", (OPS / "alertmanager.yml").read_text())


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


def test_compose_mounts_what_is_exported() -> None:
    """Every file that Prometheus loads lies beside its configuration, and the dashboards are where Grafana looks."""
    services = loaded()["services"]
    rules = yaml.safe_load((OPS / "prometheus.yml").read_text())["rule_files"]
    provider = yaml.safe_load((OPS / "grafana" / "provisioning" / "dashboards" / "mlauto.yml").read_text())
    mounts = [one.split(":") for one in services["grafana"]["volumes"]]

    for name in ("prometheus.yml", *rules):
        assert f"./{name}:/etc/prometheus/{name}:ro" in services["prometheus"]["volumes"]
    assert ["./grafana/dashboards", provider["providers"][0]["options"]["path"], "ro"] in mounts


def test_dashboards_are_for_the_grafana_that_is_started() -> None:
    """The library that builds them is that of the image's version."""
    version = loaded()["services"]["grafana"]["image"].rpartition(":")[2]
    pinned = re.search(r"grafana-foundation-sdk==\d+!([\d.]+)", (CHECKOUT / "pyproject.toml").read_text())
    boards = [json.loads(path.read_text()) for path in (OPS / "grafana" / "dashboards").glob("*.json")]

    assert pinned is not None
    assert pinned[1] == version
    assert {board["uid"] for board in boards} == {"mlauto-live", "mlauto-models"}
