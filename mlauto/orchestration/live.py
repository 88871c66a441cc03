"""What the live deployment is doing: measured, judged, and triaged against what could be done about it; its log."""

import math
import time
from dataclasses import dataclass, replace

from mlauto.errors import DeliveryError, MeasurementError
from mlauto.measured import LiveMetrics
from mlauto.monitoring.cause import broken_inputs, moved_inputs
from mlauto.monitoring.drift.profile import Profile
from mlauto.monitoring.incidents import Incident, open_incident
from mlauto.monitoring.judge import Limits, is_full, judge, label_fault, proven
from mlauto.monitoring.labels.joining import read_join
from mlauto.monitoring.log.compaction import Compaction, compact
from mlauto.monitoring.metrics import measure, unmeasured
from mlauto.monitoring.scores import better
from mlauto.monitoring.triage import Context, triage
from mlauto.orchestration.arrivals import quarantined_last
from mlauto.orchestration.attempts import Retrainings
from mlauto.orchestration.known import read_known
from mlauto.orchestration.live_model import live_model
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import keeps_problem
from mlauto.orchestration.service import with_service_level
from mlauto.product import ModelProduct
from mlauto.records import Deployment, Score, Status, TrainedModel, TrainingSet, Verdict, VerifiedCommit
from mlauto.training.policy import evidence_of, on_new_data
from mlauto.training.prequential import scores_of

__all__ = ["Observation", "compact_log", "observe", "oldest_kept", "with_action"]


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at the live version; `production` is None before anything was released."""

    production: Deployment | None
    metrics: LiveMetrics
    verdict: Verdict


def observe(platform: Platform, product: ModelProduct) -> Observation:
    """Measure and judge the live version now."""
    now = time.time()
    store = platform.store
    production = store.read_record(product.name, "production", Deployment)
    model = store.read_record(product.name, f"models/{production.version}", TrainedModel) if production else None
    problem = _unreachable(platform, product) if production else None
    if production is not None and problem is not None:
        metrics = unmeasured(production.version, problem, now=now)
    else:
        metrics = _measured(platform, product, production.version if production else None, model, now)
        metrics = with_service_level(platform, product, metrics)
    reference = _reference(platform, product, model, metrics) if model else None
    if model is not None and reference is not None and metrics.problem is None:
        metrics = _tested(platform, product, metrics, model, reference)
    verdict = judge(metrics, reference, Limits.of(product), now)
    return Observation(production=production, metrics=metrics, verdict=verdict)


def _reference(platform: Platform, product: ModelProduct, model: TrainedModel, metrics: LiveMetrics) -> Score:
    """What the version has shown it can do; its first full live window is written down when it is there."""
    name = f"references/{model.version}"
    start = platform.store.read_record(product.name, name, Score)
    live = metrics.quality
    full = is_full(metrics.labelled, product.monitoring.window)
    if start is None and live is not None and full and metrics.version == model.version:
        platform.store.write_record(product.name, name, live)
        start = live
    return proven(model.reference, start)


def _tested(
    platform: Platform, product: ModelProduct, metrics: LiveMetrics, model: TrainedModel, reference: Score
) -> LiveMetrics:
    """The metrics with what the detectors make of the labels that came since the last look."""
    from mlauto.monitoring.quality.limits import spread_of
    from mlauto.monitoring.quality.watching import Standard, look

    if reference.metric != product.metric:
        return metrics
    home = platform.settings.product_home(product.name)
    try:
        found = look(
            home / "quality.json",
            read_join(home / "monitoring.json").windows.get(model.version, ()),
            version=model.version,
            standard=Standard(
                reference=reference,
                tolerance=product.tolerance,
                spread=spread_of(model.scores),
                known=read_known(platform, product, model.version),
            ),
            quality=metrics.quality,
            now=metrics.measured,
            classes=model.signature.classes,
        )
    except MeasurementError as error:
        return unmeasured(model.version, str(error), now=metrics.measured)
    if found is None:
        return metrics
    return replace(metrics, detection=found.beyond, worse=found.worse, segments=found.segments)


def _unreachable(platform: Platform, product: ModelProduct) -> str | None:
    """Why users get no answer from the product's address; None when they do."""
    try:
        live = platform.runtime.live(product.name)
    except DeliveryError as error:
        return str(error)
    return "the gateway does not answer: it is being started again" if live is None else None


def _measured(
    platform: Platform,
    product: ModelProduct,
    version: str | None,
    model: TrainedModel | None,
    now: float,
    *,
    drift: bool = True,
) -> LiveMetrics:
    """Metrics of one version; what cannot be measured says so. Only the live version has a window for its drift."""
    home = platform.settings.product_home(product.name)
    known = read_known(platform, product, version)
    profile = platform.store.read_record(product.name, f"profiles/{version}", Profile) if drift else None
    try:
        return measure(
            home / "predictions",
            home / "monitoring.json",
            version=version,
            metric=product.metric,
            window=product.monitoring.window,
            now=now,
            classes=model.signature.classes if model else (),
            profile=profile,
            every=product.monitoring.every,
            patience=product.monitoring.stale_after,
            known=known,
        )
    except MeasurementError as error:
        return unmeasured(version, str(error), now=now)


def with_action(
    platform: Platform,
    product: ModelProduct,
    observed: Observation,
    tried: Retrainings,
    *,
    delivering: bool,
) -> Verdict:
    """The verdict with what to do about it, given what is new and what was tried."""
    store = platform.store
    newest = store.read_record(product.name, "model", TrainedModel)
    training_set = store.read_record(product.name, "training_set", TrainingSet)
    verified = store.read_record(product.name, "verified_commit", VerifiedCommit)
    known = newest.attempted if newest else frozenset()
    production, bad = observed.production, observed.verdict.status is Status.DEGRADED
    incident = open_incident(store, product.name)
    in_vain = max(0, tried.attempts - (incident.helped if incident else 0))
    drifted = observed.metrics.drifted
    context = Context(
        now=observed.metrics.measured,
        new_data=training_set is not None and any(batch.digest not in known for batch in training_set.batches),
        new_code=bool(verified and newest and verified.commit.tree != newest.commit.tree),
        attempts=in_vain,
        max_attempts=product.monitoring.max_attempts,
        cooldown=product.monitoring.cooldown,
        delivering=delivering,
        on_degraded=product.training.policy.on_degraded,
        last_retraining=tried.last if in_vain and not tried.lost else None,
        rolled_out=production.since if production else None,
        fallback=production.fallback if production else None,
        better=_better_version(platform, product, observed, incident) if in_vain else None,
        refused=_refusal(platform, product, newest, training_set) if bad and newest and training_set else "",
        broken=observed.metrics.inputs_broken or broken_inputs(drifted),
        quarantined=quarantined_last(store, product.name) if bad else "",
        labels=label_fault(observed.metrics, failed=True),
        moved=moved_inputs(drifted),
    )
    return triage(observed.verdict, context)


def _refusal(
    platform: Platform,
    product: ModelProduct,
    newest: TrainedModel,
    training_set: TrainingSet,
) -> str:
    """Why the product's policy does not want to train on what is new; "" when it may."""
    live = live_model(platform.store, product)
    evidence = evidence_of(newest, training_set, live=live, scores=scores_of(platform.store, product))
    allowed, reason = on_new_data(product.training.policy, "incident", evidence)
    return "" if allowed else reason


def _better_version(
    platform: Platform, product: ModelProduct, observed: Observation, incident: Incident | None
) -> str | None:
    """The version that was live when the incident began, if its last labelled window was better than this one's."""
    live = observed.metrics.quality
    if incident is None or incident.version in (None, observed.metrics.version) or live is None:
        return None
    model = platform.store.read_record(product.name, f"models/{incident.version}", TrainedModel)
    before = _measured(platform, product, incident.version, model, observed.metrics.measured, drift=False).quality
    return incident.version if before is not None and better(before.metric, before.value, live.value) else None


@keeps_problem("prediction_log")
def compact_log(platform: Platform, product: ModelProduct) -> Compaction:
    """Full segments of the prediction log as Parquet, within the product's bounds on history."""
    folder = platform.settings.product_home(product.name) / "predictions"
    return compact(folder, most_bytes=int(product.monitoring.keep_gb * 2**30), oldest=oldest_kept(product))


def oldest_kept(product: ModelProduct) -> float:
    """Since when the product's history is kept now, seconds since the epoch; -inf for all of it."""
    retention = product.monitoring.retention
    return -math.inf if retention is None else time.time() - retention
