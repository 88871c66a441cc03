"""All exported files by name, and how they differ from those in a folder."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mlauto.errors import MlautoError
from mlauto.export.alertmanager import alertmanager_yml
from mlauto.export.alerts import alerts_yml
from mlauto.export.dashboards import dashboards
from mlauto.export.provisioning import dashboards_yml, datasources_yml
from mlauto.export.rules import rules_yml
from mlauto.export.scrape import prometheus_yml
from mlauto.export.targets import Targets
from mlauto.product import ModelProduct

__all__ = ["DASHBOARDS", "differing", "exported"]

DASHBOARDS = "grafana/dashboards"


def exported(products: Iterable[ModelProduct], targets: Targets) -> dict[str, str]:
    """Path below the folder -> text; equal products and targets, equal texts. Raises `MlautoError` for odd targets."""
    return {
        "prometheus.yml": prometheus_yml(targets),
        "rules.yml": rules_yml(products),
        "alerts.yml": alerts_yml(),
        "alertmanager.yml": alertmanager_yml(targets.receivers),
        "grafana/provisioning/datasources/prometheus.yml": datasources_yml(targets),
        "grafana/provisioning/dashboards/mlauto.yml": dashboards_yml(),
        **{f"{DASHBOARDS}/{name}.json": text for name, text in dashboards().items()},
    }


def differing(folder: Path, files: Mapping[str, str]) -> list[str]:
    """One sentence for each file that is missing, other than exported, or a dashboard that nobody exports any more.

    Raises `MlautoError` for one that cannot be read.
    """
    found = []
    for name, text in files.items():
        path = folder / name
        try:
            if path.read_bytes() != text.encode():
                found.append(f"{path} differs")
        except FileNotFoundError:
            found.append(f"{path} is missing")
        except OSError as error:
            raise MlautoError(f"{path} cannot be read ({error.strerror}): correct its permissions") from error
    ours = {folder / name for name in files}
    return found + [
        f"{path} is not exported" for path in sorted((folder / DASHBOARDS).glob("*.json")) if path not in ours
    ]
