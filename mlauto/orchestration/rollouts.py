"""Rollouts that go on by themselves: what a candidate's evidence is, which step is due, and the run that takes it."""

import time
from dataclasses import replace

from mlauto.delivery.judge import Limits, loss
from mlauto.delivery.progress import Plan, Rollout, Stage
from mlauto.delivery.stages import Way, current_rollout, is_due
from mlauto.errors import MeasurementError
from mlauto.monitoring.incidents import open_incident
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import Deployment, RolloutEvidence, TrainedModel

__all__ = ["candidates", "evidence", "mirrored", "regret", "step_due", "way"]


def way(platform: Platform, product: ModelProduct) -> Way:
    """How the product's candidates go to all users, as its YAML and its open incident say."""
    given, slo = product.delivery, product.monitoring.slo
    production = platform.store.read_record(product.name, "production", Deployment)
    incident = open_incident(platform.store, product.name)
    bad = incident is not None and production is not None and incident.version == production.version
    return Way(
        plan=Plan(
            shadow=given.shadow, canary=given.canary, step=given.step, bake=given.bake, hurry=given.hurry and bad
        ),
        limits=Limits(p99_ms=slo.p99_ms, error_rate=slo.error_rate),
        gather=lambda rollout: evidence(platform, product, rollout),
    )


def evidence(platform: Platform, product: ModelProduct, rollout: Rollout) -> RolloutEvidence | None:
    """What users' traffic has shown of the candidate since its rollout began; None where the log cannot be read."""
    from mlauto.monitoring.evidence import gather_evidence

    if rollout.champion is None:
        return None
    candidate, champion = rollout.version, rollout.champion
    watched = rollout.stage is Stage.BAKING  # the former champion is the one that gets copies now
    model = platform.store.read_record(product.name, f"models/{candidate}", TrainedModel)
    try:
        found = gather_evidence(
            platform.settings.product_home(product.name) / "predictions",
            candidate=champion if watched else candidate,
            champion=candidate if watched else champion,
            since=rollout.since if watched else rollout.began,
            now=time.time(),
            metric=product.metric,
            classes=model.signature.classes if model else (),
        )
    except MeasurementError:
        return None  # said by the live metrics, which read the same log; no stage moves on without evidence
    return mirrored(found) if watched else found


def mirrored(found: RolloutEvidence) -> RolloutEvidence:
    """The same comparison seen from the other side; the shadow's own faults are then the champion's, and left out."""
    value, low, high = found.difference, found.difference_low, found.difference_high
    return replace(
        found,
        candidate=found.champion,
        champion=found.candidate,
        shadows=0,
        shadow_errors=0,
        difference=None if value is None else -value,
        difference_low=None if high is None else -high,
        difference_high=None if low is None else -low,
    )


def step_due(platform: Platform, product: ModelProduct) -> tuple[str, str] | None:
    """The name of the rollout's next piece of work, and why it is due; None where nothing is."""
    due = is_due(product.name, platform.runtime, platform.store, way(platform, product), now=time.time())
    if due is None:
        return None
    rollout, what = due
    return f"{product.name}/rollout/{rollout.version}/{rollout.sequence:06d}/{what}", f"{rollout.told}; next: {what}"


def regret(platform: Platform, product: ModelProduct) -> tuple[str, str] | None:
    """A version to return to, and the proof that the one which replaced it just now predicts worse; None mostly."""
    rollout = current_rollout(product.name, platform.store)
    if rollout is None or rollout.stage is not Stage.BAKING or not rollout.settled or rollout.champion is None:
        return None
    found = evidence(platform, product, rollout)
    worse = loss(found) if found is not None else None
    return (rollout.champion, f"version {rollout.version}: {worse}") if worse is not None else None


def candidates(platform: Platform, product: ModelProduct) -> frozenset[str]:
    """The version that runs beside its champion, if one does."""
    rollout = current_rollout(product.name, platform.store)
    return frozenset((rollout.version,)) if rollout is not None and rollout.under_way else frozenset()
