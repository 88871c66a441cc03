"""What the live deployment is doing: measured, judged, and triaged against what could be done about it; its log."""

import time
from dataclasses import dataclass, replace

import dagster as dg

from mlauto.errors import DeliveryError, MeasurementError
from mlauto.measured import LiveMetrics
from mlauto.monitoring.compaction import Compaction, compact
from mlauto.monitoring.drift import Profile
from mlauto.monitoring.incidents import open_incident
from mlauto.monitoring.judge import Limits, is_full, judge, proven
from mlauto.monitoring.labels import read_join
from mlauto.monitoring.metrics import measure, unmeasured
from mlauto.monitoring.scores import better
from mlauto.monitoring.triage import Context, triage
from mlauto.orchestration.known import read_known
from mlauto.orchestration.names import INCIDENT_TAG, WORK_TAG
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import keeps_problem
from mlauto.orchestration.sensors.work import MAX_ATTEMPTS
from mlauto.product import ModelProduct
from mlauto.records import Deployment, Score, Status, TrainedModel, TrainingSet, Verdict, VerifiedCommit
from mlauto.training.policy import evidence_of, on_new_data
from mlauto.training.prequential import scores_of

__all__ = ["Observation", "Retrainings", "compact_log", "incident_id", "observe", "retrainings", "with_action"]

RUNS_READ = 50


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One look at the live version; `production` is None before anything was released."""

    production: Deployment | None
    metrics: LiveMetrics
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Retrainings:
    """What was tried in an incident: attempts that ended by themselves, when the last began, and a lost one's work."""

    attempts: int = 0
    last: float | None = None
    lost: str | None = None


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
    platform: Platform, product: ModelProduct, version: str | None, model: TrainedModel | None, now: float
) -> LiveMetrics:
    """Metrics of one version; what cannot be measured says so."""
    home = platform.settings.product_home(product.name)
    known = read_known(platform, product, version)
    profiles = platform.store.read_record(product.name, f"profiles/{version or 'none'}", dict[str, Profile])
    try:
        return measure(
            home / "predictions",
            home / "monitoring.json",
            version=version,
            metric=product.metric,
            window=product.monitoring.window,
            now=now,
            classes=model.signature.classes if model else (),
            profiles=profiles,
            known=known,
        )
    except MeasurementError as error:
        return unmeasured(version, str(error), now=now)


def incident_id(product: ModelProduct, opened: float) -> str:
    """The tag that ties a retraining to the incident it is meant to end."""
    return f"{product.name}/{opened:.3f}"


def retrainings(instance: dg.DagsterInstance, product: ModelProduct, opened: float) -> Retrainings:
    """The incident's retrainings, from their runs' tags. A run that was killed is no attempt: it is asked for again.

    Work whose every permitted run was killed counts as an attempt that failed, so that an incident goes on.
    """
    tags = {INCIDENT_TAG: incident_id(product, opened)}
    records = instance.get_run_records(dg.RunsFilter(tags=tags), limit=RUNS_READ)
    works: dict[str, list[bool]] = {}
    for record in records:
        runs = works.setdefault(record.dagster_run.tags[WORK_TAG], [])
        runs.append(_was_lost(instance, record.dagster_run))
    lost = [work for work, runs in works.items() if all(runs) and len(runs) < MAX_ATTEMPTS]
    return Retrainings(
        attempts=len(works) - len(lost),
        last=max((record.create_timestamp.timestamp() for record in records), default=None),
        lost=max(lost, default=None),
    )


def _was_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run's process went away: it failed although no step did."""
    return run.status is dg.DagsterRunStatus.FAILURE and instance.get_run_stats(run.run_id).steps_failed == 0


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
    known = {batch.digest for batch in newest.training_set.batches} if newest else set()
    production, bad = observed.production, observed.verdict.status is Status.DEGRADED
    context = Context(
        now=observed.metrics.measured,
        new_data=training_set is not None and any(batch.digest not in known for batch in training_set.batches),
        new_code=bool(verified and newest and verified.commit.tree != newest.commit.tree),
        attempts=tried.attempts,
        max_attempts=product.monitoring.max_attempts,
        cooldown=product.monitoring.cooldown,
        delivering=delivering,
        on_degraded=product.training.policy.on_degraded,
        last_retraining=None if tried.lost else tried.last,
        rolled_out=production.since if production else None,
        fallback=production.fallback if production else None,
        better=_better_version(platform, product, observed) if tried.attempts else None,
        refused=_refusal(platform, product, newest, training_set, production)
        if bad and newest and training_set
        else "",
    )
    return triage(observed.verdict, context)


def _refusal(
    platform: Platform,
    product: ModelProduct,
    newest: TrainedModel,
    training_set: TrainingSet,
    production: Deployment | None,
) -> str:
    """Why the product's policy does not want to train on what is new; "" when it may."""
    live = production.version if production else None
    evidence = evidence_of(newest, training_set, live=live, scores=scores_of(platform.store, product))
    allowed, reason = on_new_data(product.training.policy, "incident", evidence)
    return "" if allowed else reason


def _better_version(platform: Platform, product: ModelProduct, observed: Observation) -> str | None:
    """The version that was live when the incident began, if its last labelled window was better than this one's."""
    incident = open_incident(platform.store, product.name)
    live = observed.metrics.quality
    if incident is None or incident.version in (None, observed.metrics.version) or live is None:
        return None
    model = platform.store.read_record(product.name, f"models/{incident.version}", TrainedModel)
    before = _measured(platform, product, incident.version, model, observed.metrics.measured).quality
    return incident.version if before is not None and better(before.metric, before.value, live.value) else None


@keeps_problem("prediction_log")
def compact_log(platform: Platform, product: ModelProduct) -> Compaction:
    """Full segments of the prediction log as Parquet, within the bound on history."""
    return compact(platform.settings.product_home(product.name) / "predictions")
