"""What is read back of a real instance's event log."""

from collections.abc import Iterator

import dagster as dg
import pytest

from mlauto.commands.observe import Observer

KEY = dg.AssetKey(["demand", "batch"])
PARTITIONS = dg.DynamicPartitionsDefinition(name="demand_batches")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def _evaluate(instance: dg.DagsterInstance, *, passed: bool, metadata: int) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name="expectations",
            passed=passed,
            metadata={"rows": dg.MetadataValue.int(metadata)},
            description=f"{metadata} rows",
        )
    )


def test_materializations_are_seen_with_time_and_plain_metadata(instance: dg.DagsterInstance) -> None:
    """The newest one counts, by partition if asked, and only if newer than asked."""
    observer = Observer(instance, "demand")
    nothing = observer.materialized("batch")
    for partition, rows in (("a", 1), ("b", 2)):
        instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition=partition, metadata={"rows": rows}))

    newest, first = observer.materialized("batch"), observer.materialized("batch", partition="a")

    assert nothing is None
    assert newest is not None
    assert newest.metadata["rows"] == 2
    assert first is not None
    assert first.metadata["rows"] == 1
    assert observer.materialized("batch", after=newest.time + 60) is None
    assert observer.materializations("batch") == 2


def test_checks_are_seen_newest_first(instance: dg.DagsterInstance) -> None:
    """Each evaluation counts, failed ones too; another product's do not."""
    observer = Observer(instance, "demand")
    _evaluate(instance, passed=True, metadata=1)
    _evaluate(instance, passed=False, metadata=2)

    seen = observer.checks("batch", "expectations")

    assert [(check.passed, check.metadata["rows"], check.description) for check in seen] == [
        (False, 2, "2 rows"),
        (True, 1, "1 rows"),
    ]
    newest = observer.check("batch", "expectations")
    assert newest == seen[0]
    assert observer.check("batch", "expectations", after=seen[0].time) is None
    assert Observer(instance, "churn").check("batch", "expectations") is None
