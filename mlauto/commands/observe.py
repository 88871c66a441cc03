"""Looking at the loop from outside: what Dagster's event log says of one product."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

__all__ = ["CheckSeen", "Materialized", "Observer"]


@dataclass(frozen=True, kw_only=True)
class Materialized:
    """A materialization; `time` in seconds since the epoch."""

    time: float
    run_id: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CheckSeen:
    """An evaluation of an asset check; `time` in seconds since the epoch."""

    time: float
    passed: bool
    description: str
    metadata: Mapping[str, Any]


class Observer:
    """Reads one product's events. `after` is a time in seconds since the epoch: only what is newer counts."""

    def __init__(self, instance: dg.DagsterInstance, product: str) -> None:
        self.instance = instance
        self.product = product

    def materialized(self, asset: str, *, partition: str | None = None, after: float = 0.0) -> Materialized | None:
        """The newest materialization of an asset, if there is one."""
        wanted = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey([self.product, asset]),
            asset_partitions=[partition] if partition is not None else None,
            after_timestamp=after or None,
        )
        records = self.instance.fetch_materializations(wanted, limit=1).records
        if not records:
            return None
        event = records[0].asset_materialization
        metadata = _plain(event.metadata) if event else {}
        return Materialized(time=records[0].timestamp, run_id=records[0].run_id, metadata=metadata)

    def materializations(self, asset: str, *, limit: int = 1000) -> int:
        """How many materializations of an asset there are, up to `limit`."""
        wanted = dg.AssetKey([self.product, asset])
        return len(self.instance.fetch_materializations(wanted, limit=limit).records)

    def check(self, asset: str, name: str, *, partition: str | None = None, after: float = 0.0) -> CheckSeen | None:
        """The newest evaluation of a check, if there is one."""
        seen = self.checks(asset, name, partition=partition, limit=1)
        return seen[0] if seen and seen[0].time > after else None

    def checks(self, asset: str, name: str, *, partition: str | None = None, limit: int = 100) -> list[CheckSeen]:
        """The newest evaluations of a check, newest first."""
        found = []
        for record in self._history(dg.AssetCheckKey(dg.AssetKey([self.product, asset]), name), limit):
            evaluation = record.event.asset_check_evaluation
            if evaluation is None or (partition is not None and record.partition != partition):
                continue
            seen = CheckSeen(
                time=record.event.timestamp,
                passed=evaluation.passed,
                description=evaluation.description or "",
                metadata=_plain(evaluation.metadata),
            )
            found.append(seen)
        return found

    def _history(self, key: dg.AssetCheckKey, limit: int) -> Any:
        ended = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
        return self.instance.event_log_storage.get_asset_check_execution_history(key, limit, status=ended)


def _plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
