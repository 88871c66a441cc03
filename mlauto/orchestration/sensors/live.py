"""The live sensor: evaluates the live metrics, retrains or rolls back when triage says so, finishes what was begun."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from mlauto.delivery.decisions import approved, rejected_versions
from mlauto.delivery.reconcile import wanted
from mlauto.delivery.rollout import retire_expired
from mlauto.monitoring.compaction import due_groups
from mlauto.monitoring.incidents import open_incident, record_verdict
from mlauto.monitoring.keyjoin import join_keys
from mlauto.monitoring.labelfiles import import_labels
from mlauto.orchestration import render, rollouts
from mlauto.orchestration.deployments import production_event
from mlauto.orchestration.driftpages import findings
from mlauto.orchestration.gauges import write_gauges
from mlauto.orchestration.launcher import prewarm, reap_orphans
from mlauto.orchestration.live import Observation, Retrainings, incident_id, observe, retrainings, with_action
from mlauto.orchestration.names import (
    DELIVERS_TAG,
    PRODUCT_TAG,
    REASON_TAG,
    TRIGGER_TAG,
    asset_key,
    delivery_keys,
)
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import kept_problem
from mlauto.orchestration.sensors.requests import delivery, retraining, rollback
from mlauto.orchestration.sensors.work import Tick, Work, active, each_product
from mlauto.product import ModelProduct
from mlauto.records import Action, Deployment, Image, TrainedModel, TrainingSet, Verdict, VerifiedCommit
from mlauto.training.policy import why_train
from mlauto.training.prequential import scores_of

__all__ = ["live_sensor"]


def live_sensor(products: Sequence[ModelProduct], platform: Platform) -> dg.SensorDefinition:
    """One sensor for the live deployments of all products."""
    begun: list[subprocess.Popen[bytes]] = []  # the newest warm process that this code server started

    def look(tick: Tick, product: ModelProduct) -> None:
        with kept_problem(platform.store, product.name, "live"):
            _tick(tick, platform, product)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not begun or begun[0].poll() is not None:  # one that still imports must not be given up for another
            begun[:] = [process] if (process := prewarm(context.instance, platform.warm)) else []
        reap_orphans(context.instance)
        return each_product(context, products, look)

    return dg.SensorDefinition(
        name="live",
        evaluation_fn=evaluate,
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=platform.settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Live metrics: judged, and acted upon. Deliveries that were begun are finished.",
    )


def _tick(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    delivering = active(tick.instance, {DELIVERS_TAG: product.name})
    if not delivering:
        delivering = _finish_delivery(tick, platform, product)
    memory = tick.cursors.setdefault(product.name, {})
    due, now = memory.get("due"), time.time()
    if isinstance(due, int | float) and now < due:
        return
    memory["due"] = now + product.monitoring.every
    _import_labels(tick, platform, product)
    _compact(tick, platform, product)
    observed = observe(platform, product)
    if observed.production is None:
        tick.notes.append(f"{product.name}: nothing is in production yet")
        return
    incident = open_incident(platform.store, product.name)
    tried = retrainings(tick.instance, product, incident.opened) if incident else Retrainings()
    beside = bool(rollouts.candidates(platform, product))  # a candidate on its way is the answer, not another one
    verdict = with_action(platform, product, observed, tried, delivering=delivering or beside)
    regret = None if delivering else rollouts.regret(platform, product)
    if regret is not None:  # a better version is warm: nothing that takes longer is tried first
        verdict = replace(verdict, action=Action.ROLL_BACK, cause=regret[1])
    incident = record_verdict(
        platform.store,
        product.name,
        verdict,
        version=observed.metrics.version,
        attempts=tried.attempts,
        now=observed.metrics.measured,
    )
    _report(tick, platform, product, observed, verdict, delivering=delivering)
    write_gauges(platform, product, observed.metrics, verdict, incident)
    if verdict.action is Action.RETRAIN and incident is not None:
        tick.ask(retraining(product, incident_id(product, incident.opened), tried, verdict.cause))
    elif verdict.action is Action.ROLL_BACK:
        in_vain = incident is not None and tried.attempts >= product.monitoring.max_attempts
        to = incident.version if incident is not None and in_vain else None
        tick.ask(rollback(product, observed.production, verdict.cause, regret[0] if regret else to))
    if not delivering:
        _keep_alive(tick, platform, product, observed)  # last: what was seen is reported even if this fails


def _import_labels(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    """Take label files that landed; each is imported once, by its content. The gateway hears what labels come by."""
    if (platform.store.read_record(product.name, "label_keys", tuple[str, ...]) or ()) != product.data.key:
        platform.store.write_record(product.name, "label_keys", product.data.key)
    folder = platform.settings.resolve(product.data.landing) / "labels"
    if folder.is_dir():
        home = platform.settings.product_home(product.name)
        data, log = product.data, home / "predictions"
        seen = home / "imported_labels.json"
        report = import_labels(folder, log, seen, now=time.time(), key=data.key, target=data.target)
        tick.notes += report.problems + report.waiting
        if data.key and join_keys(log, home / "label_keys.sqlite", data.key).behind:
            tick.notes.append(f"{product.name}: labels by key are behind the log: the next ticks go on with them")


def _compact(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    """Ask for old segments of the prediction log to be compacted when enough of them are full."""
    groups = due_groups(platform.settings.product_home(product.name) / "predictions")
    if groups:
        reason = f"{sum(len(group.segments) for group in groups)} full segments"
        name = f"{product.name}/prediction_log/{groups[0].name}"
        tick.ask(Work(name=name, selection=[asset_key(product, "prediction_log")], tags={REASON_TAG: reason}))


def _keep_alive(tick: Tick, platform: Platform, product: ModelProduct, observed: Observation) -> None:
    """Have the gateway and the live version run, and stop a fallback whose time is over."""
    if observed.production is None:
        return
    version = observed.production.version
    lost = platform.runtime.running(product.name).get(version) == "failed"  # its fallback may answer meanwhile
    if observed.metrics.problem is not None or lost:
        image = platform.store.read_record(product.name, f"images/{version}", Image)
        if image is not None:
            platform.runtime.start(product.name, image)
        return
    bake, outcome = rollouts.warm_for(product, platform.store)
    now = time.time()
    retired = retire_expired(product.name, platform.runtime, platform.store, bake=bake, now=now, outcome=outcome)
    if retired is not None:
        tick.events.append(production_event(product, retired, platform.store))


def _report(
    tick: Tick,
    platform: Platform,
    product: ModelProduct,
    observed: Observation,
    verdict: Verdict,
    *,
    delivering: bool,
) -> None:
    """Record metrics and checks in Dagster, when there is new evidence or another verdict."""
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
    said = [metrics.version, verdict.status.value, verdict.action.value, *failed]
    evidence = [metrics.newest, metrics.labelled, metrics.quality.value if metrics.quality else None]
    if memory.get("said") == said and memory.get("evidence") == evidence:
        return
    memory.update(said=said, evidence=evidence)
    platform.store.write_record(product.name, "verdict", verdict)
    platform.store.write_record(product.name, "live_metrics", metrics)
    key = asset_key(product, "live_metrics")
    shown = {**render.live_metrics(metrics, verdict), **findings(metrics.drifted)}
    tick.events.append(dg.AssetMaterialization(key, metadata=shown))
    for outcome in verdict.checks:
        checked = render.check(outcome)
        tick.events.append(
            dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=outcome.name,
                passed=outcome.passed,
                metadata=render.details(outcome),
                severity=checked.severity,
                description=outcome.summary,
            )
        )


def _finish_delivery(tick: Tick, platform: Platform, product: ModelProduct) -> bool:
    """Ask for the model that new code or the policy wants, or for what is left of a delivery; True when asked."""
    store = platform.store
    verified = store.read_record(product.name, "verified_commit", VerifiedCommit)
    training_set = store.read_record(product.name, "training_set", TrainingSet)
    current = store.read_record(product.name, "model", TrainedModel)
    production = store.read_record(product.name, "production", Deployment)
    if verified is not None and training_set is not None and training_set.batches:
        decision = why_train(
            current=current,
            product=product,
            tree=verified.commit.tree,
            training_set=training_set,
            lock_digest=platform.workshop.environment(),
            trigger="batch",
            live=production.version if production else None,
            scores=lambda: scores_of(store, product),
        )
        if decision.train:
            work = Work(
                name=f"{product.name}/model/{decision.key[:20]}",
                selection=delivery_keys(product),
                tags={
                    PRODUCT_TAG: product.name,
                    DELIVERS_TAG: product.name,
                    TRIGGER_TAG: "batch",
                    REASON_TAG: decision.reason,
                },
            )
            if tick.ask(work):
                return True
    steps = _unfinished(platform, product, current)
    if current is not None and steps:
        name, reason = f"{product.name}/deliver/{current.version}", f"finish version {current.version}"
        if tick.ask(delivery(product, name, reason, steps)):
            return True
    due = rollouts.step_due(platform, product)
    return due is not None and tick.ask(delivery(product, *due, ("production",)))


def _unfinished(platform: Platform, product: ModelProduct, current: TrainedModel | None) -> tuple[str, ...]:
    """The steps that are left between the newest model and production."""
    store = platform.store
    production = store.read_record(product.name, "production", Deployment)
    versions = {deployed.version for deployed in (current, production) if deployed is not None}
    return wanted(
        current,
        store.read_record(product.name, "image", Image),
        store.read_record(product.name, "test_deployment", Deployment),
        production,
        rejected=rejected_versions(product.name, store),
        mode=product.delivery.mode,
        approved={version for version in versions if approved(product.name, version, store)},
        under_way=rollouts.candidates(platform, product),
    )
