"""What Grafana starts with."""

import yaml

from mlauto.export.provisioning import DASHBOARDS_AT, SOURCE, dashboards_yml, datasources_yml
from mlauto.export.targets import Targets


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    """By the name that dashboards use, at the address and pace that were given."""
    [source] = yaml.safe_load(datasources_yml(Targets(prometheus="p:1", interval="5s")))["datasources"]
    [provider] = yaml.safe_load(dashboards_yml())["providers"]

    assert (source["uid"], source["url"], source["type"]) == (SOURCE, "http://p:1", "prometheus")
    assert source["jsonData"] == {"timeInterval": "5s"}
    assert provider["options"] == {"path": DASHBOARDS_AT}
    assert provider["allowUiUpdates"] is False
