"""`mlauto export ops`: the files on disk."""

from pathlib import Path

import pytest

from mlauto.commands.export import check_ops, export_ops
from mlauto.errors import MlautoError
from mlauto.export.targets import Receivers, Targets
from mlauto.settings import Settings

YAML = """type: mlauto.ModelProduct
attributes:
  name: bike
  code: {repository: models/bike, estimator: 'bike.model:build'}
  data: {landing: landing/bike, target: target, task: regression}
  monitoring: {slo: {p99_ms: 50}}
"""


@pytest.fixture
def bike(settings: Settings) -> Settings:
    """An installation with one product."""
    (settings.defs / "bike").mkdir(parents=True)
    (settings.defs / "bike" / "defs.yaml").write_text(YAML)
    return settings


def test_what_was_written_is_what_is_checked(bike: Settings, tmp_path: Path) -> None:
    """Until a product's promise changes: then the file with the limits is named, and what to do."""
    folder = tmp_path / "ops"
    paths = export_ops(bike, folder, Targets())
    check_ops(bike, folder, Targets())
    assert all(path.is_file() and path.stat().st_mode & 0o777 == 0o644 for path in paths)
    assert "vector(0.05)" in (folder / "rules.yml").read_text()

    (bike.defs / "bike" / "defs.yaml").write_text(YAML.replace("50", "100"))

    with pytest.raises(MlautoError, match=r"rules.yml differs: run `mlauto export ops`"):
        check_ops(bike, folder, Targets())
    export_ops(bike, folder, Targets())
    check_ops(bike, folder, Targets())


def test_what_is_equal_is_not_written_again(bike: Settings, tmp_path: Path) -> None:
    """So Prometheus sees no new file; a dashboard that nobody exports goes, other files stay."""
    paths = export_ops(bike, tmp_path, Targets())
    before = [path.stat().st_ino for path in paths]
    old, other = tmp_path / "grafana/dashboards/old.json", tmp_path / "compose.yaml"
    old.write_text("{}")
    other.write_text("services: {}")

    export_ops(bike, tmp_path, Targets())

    assert [path.stat().st_ino for path in paths] == before
    assert not old.exists()
    assert other.exists()


def test_nothing_is_written_when_something_is_wrong(bike: Settings, tmp_path: Path) -> None:
    """Neither for a receiver with a secret in it, nor for a product that is none."""
    folder = tmp_path / "ops"
    with pytest.raises(MlautoError, match="--webhook file"):
        export_ops(bike, folder, Targets(receivers=Receivers(webhook="http://a:b@c/")))
    (bike.defs / "bike" / "defs.yaml").write_text(YAML.replace("slo", "slow"))
    with pytest.raises(MlautoError, match="slow"):
        export_ops(bike, folder, Targets())

    assert not folder.exists()
