"""What Grafana reads when it starts: where Prometheus is, and where the dashboards lie."""

from mlauto.export.targets import Targets
from mlauto.export.text import yaml_text

__all__ = ["DASHBOARDS_AT", "SOURCE", "dashboards_yml", "datasources_yml"]

SOURCE = "prometheus"  # the data source's name in every dashboard
DASHBOARDS_AT = "/var/lib/grafana-dashboards"


def datasources_yml(targets: Targets) -> str:
    """The file `provisioning/datasources/prometheus.yml`."""
    source = {
        "name": "Prometheus",
        "uid": SOURCE,
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://{targets.prometheus}",
        "isDefault": True,
        "editable": False,
        "jsonData": {"timeInterval": targets.interval},  # $__rate_interval is made from it
    }
    return yaml_text({"apiVersion": 1, "datasources": [source]})


def dashboards_yml() -> str:
    """The file `provisioning/dashboards/mlauto.yml`."""
    provider = {"name": "mlauto", "type": "file", "allowUiUpdates": False, "options": {"path": DASHBOARDS_AT}}
    return yaml_text({"apiVersion": 1, "providers": [provider]})
