"""Where Dagster's instance keeps its history: below `MLAUTO_HOME`, found without any variable of its own.

Named in `dagster.yaml` instead of Dagster's own classes, whose directory would have to be in an environment variable:
a plain `dagster asset materialize` in the checkout then reads and writes the history that the UI shows.
"""

from collections.abc import Mapping
from typing import Any

from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from mlauto.settings import Settings

__all__ = ["HomeArtifacts", "HomeComputeLogs", "HomeStorage"]


def _directory() -> str:
    place = Settings.from_environment().home / "dagster"
    place.mkdir(parents=True, exist_ok=True)
    return str(place)


class HomeStorage(DagsterSqliteStorage):
    """Runs, events and schedules."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "HomeStorage":
        """Made by Dagster from `dagster.yaml`."""
        del config_value
        return cls.from_local(_directory(), inst_data=inst_data)


class HomeArtifacts(LocalArtifactStorage):
    """Values that assets return, if any do."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "HomeArtifacts":
        """Made by Dagster from `dagster.yaml`."""
        del config_value
        return cls(_directory(), inst_data=inst_data)


class HomeComputeLogs(LocalComputeLogManager):
    """What runs print."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """No options."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "HomeComputeLogs":
        """Made by Dagster from `dagster.yaml`."""
        del config_value
        return cls(_directory(), inst_data=inst_data)
