"""Rollouts that go on by themselves: what a candidate's evidence is, which step is due, and the run that takes it."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mlauto.delivery.judge import Limits
from mlauto.delivery.progress import Plan, Rollout, Stage
from mlauto.delivery.rollout import waits_for
from mlauto.delivery.stages import Way, current_rollout, is_due
from mlauto.errors import MeasurementError
from mlauto.monitoring.incidents import open_incident
from mlauto.monitoring.watch.record import Subject
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.proofs import proof_of, watch_path
from mlauto.product import ModelProduct
from mlauto.proof import Proof, RolloutEvidence
from mlauto.records import Deployment, TrainedModel
from mlauto.store import Store

__all__ = ["candidates", "evidence", "held_back", "regret", "step_due", "warm_for", "watched", "way"]


def way(platform: Platform, product: ModelProduct) -> Way:
    """How the product's candidates go to all users, as its YAML and its open incident say."""
    given, slo = product.delivery, product.monitoring.slo
    production = platform.store.read_record(product.name, "production", Deployment)
    incident = open_incident(platform.store, product.name)
    bad = bool(incident and production and incident.is_loss and incident.version == production.version)
    warm, outcome = warm_for(product, platform.store)
    return Way(
        plan=Plan(shadow=given.shadow, canary=given.canary, step=given.step, bake=warm, hurry=given.hurry and bad),
        limits=Limits(p99_ms=slo.p99_ms, error_rate=slo.error_rate),
        gather=lambda rollout: evidence(platform, product, rollout),
        outcome=outcome,
    )


def evidence(platform: Platform, product: ModelProduct, rollout: Rollout) -> RolloutEvidence | None:
    """What users' traffic has shown of the candidate beside its champion since its rollout began.

    None once it has replaced it, and where the log cannot be read.
    """
    from mlauto.monitoring.evidence import gather_evidence

    if rollout.champion is None or not rollout.under_way:
        return None
    try:
        found = gather_evidence(
            _log(platform, product),
            candidate=rollout.version,
            champion=rollout.champion,
            since=rollout.began,
            now=time.time(),
            metric=product.metric,
            classes=_classes(platform, product, rollout),
        )
    except MeasurementError:
        return None  # said by the live metrics, which read the same log; no stage moves on without evidence
    return replace(found, proof=watched(platform, product, rollout))


def watched(platform: Platform, product: ModelProduct, rollout: Rollout) -> Proof | None:
    """What the rows that both versions predicted have proven, labels that came just now included; None before any.

    Beside its champion the candidate is watched from the rollout's beginning, afterwards anew, from its promotion on.
    Where the log cannot be read just now, what was proven before.
    """
    from mlauto.monitoring.watch.looks import look

    if rollout.champion is None:
        return None
    since = rollout.began if rollout.under_way else rollout.since
    subject = Subject(new=rollout.version, old=rollout.champion, since=since, metric=product.metric)
    path, classes = watch_path(platform.store, product.name), _classes(platform, product, rollout)
    try:
        return look(_log(platform, product), path, subject, now=time.time(), classes=classes).proof
    except MeasurementError:  # said by the live metrics
        return proof_of(platform.store, product.name, rollout)


def _log(platform: Platform, product: ModelProduct) -> Path:
    return platform.settings.product_home(product.name) / "predictions"


def _classes(platform: Platform, product: ModelProduct, rollout: Rollout) -> Sequence[object]:
    model = platform.store.read_record(product.name, f"models/{rollout.version}", TrainedModel)
    return model.signature.classes if model else ()


def warm_for(product: ModelProduct, store: Store) -> tuple[float, str]:
    """How many seconds the former champion stays warm after the newest promotion, and what its watch came to so far.

    The bake time, and where it gets copies the time of the watch, unless that has proven the new version not worse.
    """
    given, rollout = product.delivery, current_rollout(product.name, store)
    if rollout is None or not _is_watched(product, rollout):
        return given.bake, ""
    proof = proof_of(store, product.name, rollout)
    if proof is None:
        return max(given.bake, given.watch), "no loss is proven, no row that both predicted has a label"
    if proof.not_worse:
        return given.bake, proof.told
    return max(given.bake, given.watch), f"no loss is proven, {proof.told}"


def _is_watched(product: ModelProduct, rollout: Rollout) -> bool:
    """Whether the former champion gets copies after the promotion; nothing is kept warm without a bake time."""
    given = product.delivery
    promoted = rollout.stage is Stage.BAKING and rollout.settled and rollout.champion is not None
    return promoted and rollout.shadowed and given.bake > 0 and given.watch > 0


def step_due(platform: Platform, product: ModelProduct) -> tuple[str, str] | None:
    """The name of the rollout's next piece of work, and why it is due; None where nothing is."""
    due = is_due(product.name, platform.runtime, platform.store, way(platform, product), now=time.time())
    if due is None:
        return None
    rollout, what = due
    return f"{product.name}/rollout/{rollout.version}/{rollout.sequence:06d}/{what}", f"{rollout.told}; next: {what}"


def regret(platform: Platform, product: ModelProduct) -> tuple[str, str] | None:
    """A version to return to, and the proof that the one which replaced it predicts worse; None mostly."""
    rollout = current_rollout(product.name, platform.store)
    if rollout is None or rollout.champion is None or not _is_watched(product, rollout):
        return None
    proof = watched(platform, product, rollout)
    return (rollout.champion, f"version {rollout.version}: {proof.told}") if proof and proof.worse else None


def held_back(platform: Platform, product: ModelProduct, version: str) -> bool:
    """Whether the version goes to production in its own time: its rollout is under way, or waits for another's end."""
    beside = candidates(platform, product)
    if not beside:
        return False
    if version in beside:
        return True
    hurry = way(platform, product).plan.hurry
    return waits_for(product.name, version, platform.store, mode=product.delivery.mode, hurry=hurry) is not None


def candidates(platform: Platform, product: ModelProduct) -> frozenset[str]:
    """The version that runs beside its champion, if one does."""
    rollout = current_rollout(product.name, platform.store)
    return frozenset((rollout.version,)) if rollout is not None and rollout.under_way else frozenset()
