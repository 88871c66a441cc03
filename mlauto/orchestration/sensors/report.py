"""What the live sensor has seen, as records and as events on `live_metrics`."""

import dagster as dg

from mlauto.monitoring.incidents import Incident
from mlauto.orchestration import render
from mlauto.orchestration.driftpages import findings
from mlauto.orchestration.incident_shown import incident_metadata
from mlauto.orchestration.live import Observation
from mlauto.orchestration.names import asset_key
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.sensors.work import Tick
from mlauto.product import ModelProduct
from mlauto.records import Verdict

__all__ = ["report"]


def report(
    tick: Tick,
    platform: Platform,
    product: ModelProduct,
    observed: Observation,
    *,
    verdict: Verdict,
    incident: Incident | None,
    delivering: bool,
) -> None:
    """Record metrics, checks and incident in Dagster, when there is new evidence or another verdict."""
    memory = tick.cursors[product.name]
    metrics = observed.metrics
    tick_record = {
        "measured": metrics.measured,
        "status": verdict.status,
        "action": verdict.action,
        "delivering": delivering,  # also what this very tick asked for, of which nobody else can know yet
    }
    platform.store.write_record(product.name, "live_tick", tick_record)
    failed = [check.name for check in verdict.checks if not check.passed]
    state = [len(incident.decisions), incident.healthy, incident.closed is None] if incident else []
    said = [metrics.version, verdict.status.value, verdict.action.value, verdict.kind.value, *failed, *state]
    evidence = [metrics.newest, metrics.labelled, metrics.quality.value if metrics.quality else None]
    if memory.get("said") == said and memory.get("evidence") == evidence:
        return
    memory.update(said=said, evidence=evidence)
    platform.store.write_record(product.name, "verdict", verdict)
    platform.store.write_record(product.name, "live_metrics", metrics)
    key = asset_key(product, "live_metrics")
    metadata = {
        **render.live_metrics(metrics, verdict),
        **findings(metrics.drifted),
        **incident_metadata(incident),
    }
    tick.events.append(dg.AssetMaterialization(key, metadata=metadata))
    for outcome in verdict.checks:
        shown = render.check(outcome)
        tick.events.append(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=outcome.name,
                passed=outcome.passed,
                metadata=render.details(outcome),
                severity=shown.severity,
                description=outcome.summary,
            )
        )
