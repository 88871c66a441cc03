"""Alert rules. Each holds for every product, by label, and says what is wrong and what a person does first."""

from mlauto.export.alert import Alert
from mlauto.export.alerts_model import MODEL
from mlauto.export.alerts_service import GATEWAY, PLANE, SERVICE
from mlauto.export.text import yaml_text

__all__ = ["GROUPS", "alerts_yml"]

GROUPS: dict[str, tuple[Alert, ...]] = {"gateway": GATEWAY, "service": SERVICE, "model": MODEL, "control plane": PLANE}


def alerts_yml() -> str:
    """The file `alerts.yml`."""
    groups = [{"name": name, "rules": [alert.rule() for alert in alerts]} for name, alerts in GROUPS.items()]
    return yaml_text({"groups": groups}, "Limits by product are series: see rules.yml.")
