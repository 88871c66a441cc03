"""Prometheus' configuration."""

from pathlib import Path

import pytest
import yaml

from mlauto.export.scrape import JOB, prometheus_yml
from mlauto.export.targets import Targets
from mlauto_tests.export.conftest import ran


def test_it_asks_the_gateway_and_tells_alertmanager() -> None:
    """With the key from a file; a product cannot pose as another job."""
    found = yaml.safe_load(prometheus_yml(Targets(gateway="g:1", alertmanager="a:2")))
    [job] = found["scrape_configs"]

    assert job["job_name"] == JOB
    assert job["static_configs"] == [{"targets": ["g:1"]}]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": "/run/secrets/scrape_key"}
    assert job["honor_labels"] is False
    assert found["alerting"]["alertmanagers"] == [{"static_configs": [{"targets": ["a:2"]}]}]
    assert found["rule_files"] == ["rules.yml", "alerts.yml"]


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("interval", ["1s", "15s", "1m"])
def test_prometheus_takes_it(interval: str, tmp_path: Path) -> None:
    """However often it is to ask, without a key."""
    for name in ("rules.yml", "alerts.yml"):
        (tmp_path / name).write_text("groups: []\n")
    (tmp_path / "prometheus.yml").write_text(prometheus_yml(Targets(scrape_key="", interval=interval)))

    done = ran("promtool", "check", "config", "--lint-fatal", "prometheus.yml", folder=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
