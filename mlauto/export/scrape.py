"""Prometheus' own configuration: whom it asks, by which rules it thinks, whom it tells."""

from typing import Any

from mlauto.export.targets import Targets
from mlauto.export.text import yaml_text

__all__ = ["JOB", "prometheus_yml"]

JOB = "gateway"


def prometheus_yml(targets: Targets) -> str:
    """The file `prometheus.yml`, which loads `rules.yml` and `alerts.yml` beside it."""
    job: dict[str, Any] = {"job_name": JOB, "metrics_path": "/metrics"}
    if targets.scrape_key:
        job["authorization"] = {"type": "Bearer", "credentials_file": targets.scrape_key}
    job |= {"honor_labels": False, "static_configs": [{"targets": [targets.gateway]}]}
    document = {
        "global": {
            "scrape_interval": targets.interval,
            "scrape_timeout": _timeout(targets.interval),
            "evaluation_interval": targets.interval,
        },
        "rule_files": ["rules.yml", "alerts.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [targets.alertmanager]}]}]},
        "scrape_configs": [job],
    }
    told = ("Each series of the gateway carries product and version, so a canary is never averaged into its champion.",)
    return yaml_text(document, *told, "A product of ours must not be able to pose as another job: honor_labels.")


def _timeout(interval: str) -> str:
    """Ten seconds, which Prometheus refuses where it asks more often."""
    return "10s" if interval == "15s" else interval
