"""Deployments in Dagster: what people read on `test_deployment` and `production`, rollouts and their evidence too."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from mlauto.delivery.progress import Rollout
from mlauto.delivery.stages import current_rollout
from mlauto.orchestration import render
from mlauto.orchestration.names import asset_key
from mlauto.orchestration.proofs import proof_of, proof_rows, watch_sentence
from mlauto.product import ModelProduct
from mlauto.proof import Proof, RolloutEvidence
from mlauto.records import Deployment
from mlauto.store import Store

__all__ = ["deployment", "production", "production_event"]

Metadata = Mapping[str, dg.MetadataValue[Any]]
EVENTS = 20


def deployment(
    deployed: Deployment, rollout: Rollout | None = None, proof: Proof | None = None
) -> dg.MaterializeResult[None]:
    """A deployment with its checks, how far the newest rollout has come, on which evidence, with what proof."""
    return dg.MaterializeResult(
        metadata={
            "version": dg.MetadataValue.text(deployed.version),
            "image": dg.MetadataValue.text(deployed.image),
            "since": dg.MetadataValue.timestamp(deployed.since),
            "fallback": dg.MetadataValue.text(deployed.fallback or "none"),
            "events": dg.MetadataValue.md(
                "\n".join(f"- {render.escaped(event)}" for event in deployed.events[-EVENTS:])
            ),
            **(_stage(rollout) if rollout is not None else {}),
            **(_watch(rollout, proof) if rollout is not None and proof is not None else {}),
        },
        data_version=dg.DataVersion(f"{deployed.image}@{deployed.version}"),
        check_results=[render.check(outcome) for outcome in deployed.checks],
    )


def _stage(rollout: Rollout) -> Metadata:
    """The stage of a rollout, and the evidence that led to it."""
    stage = {
        "rollout": dg.MetadataValue.text(rollout.told if rollout.why else f"version {rollout.version} {rollout.stage}"),
        "rollout_percent": dg.MetadataValue.float(float(rollout.percent if rollout.under_way else 100)),
    }
    found = rollout.evidence
    if found is None:
        return stage
    versions = (found.candidate, found.champion)
    rows: list[Sequence[object]] = [
        ("requests", *(found.requests.get(version, 0) for version in versions)),
        ("errors", *(found.errors.get(version, 0) for version in versions)),
        ("p99 ms", *(_shown(found.p99_ms.get(version)) for version in versions)),
        ("labelled rows", *(found.labelled.get(version, 0) for version in versions)),
        ("copied requests", found.shadows, ""),
        ("of them failed", found.shadow_errors, ""),
        ("rows answered otherwise", _shown(found.disagreement), ""),
        (f"worse than the champion by ({found.metric})", _difference(found), ""),
    ]
    return {**stage, "rollout_evidence": render.table(("", *(f"version {version}" for version in versions)), rows)}


def _watch(rollout: Rollout, proof: Proof) -> Metadata:
    """What the rows that both versions predicted have proven, as text, table and numbers over time."""
    return {
        "watch": dg.MetadataValue.text(watch_sentence(rollout, proof)),
        "watched_since": dg.MetadataValue.timestamp(proof.since),
        "watch_rows": dg.MetadataValue.int(proof.rows),
        "watch_e_value": dg.MetadataValue.float(proof.e_value),
        "watch_evidence": render.table(("", ""), proof_rows(rollout, proof)),
    }


def _difference(found: RolloutEvidence) -> str:
    if found.difference is None or found.difference_low is None or found.difference_high is None:
        return "no labels yet"
    return f"{found.difference:.4g} [{found.difference_low:.4g}, {found.difference_high:.4g}], {found.paired} pairs"


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def production(deployed: Deployment, product: str, store: Store) -> dg.MaterializeResult[None]:
    """Production with its newest rollout, and the proof on which that ended or goes on."""
    rollout = current_rollout(product, store)
    return deployment(deployed, rollout, proof_of(store, product, rollout) if rollout is not None else None)


def production_event(product: ModelProduct, deployed: Deployment, store: Store) -> dg.AssetMaterialization:
    """What became of production outside of any run, as an event on the asset."""
    shown = production(deployed, product.name, store)
    version = shown.data_version
    tags = {"dagster/data_version": version.value} if version else {}
    return dg.AssetMaterialization(asset_key(product, "production"), metadata=dict(shown.metadata or {}), tags=tags)
