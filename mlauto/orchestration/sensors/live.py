"""The live sensor: evaluates the live metrics, retrains or rolls back when triage says so, finishes what was begun."""

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg

from mlauto.delivery.rollout import retire_expired
from mlauto.errors import MlautoError
from mlauto.monitoring.incidents import evidence_of, open_incident, record_verdict
from mlauto.monitoring.labels.files import import_labels
from mlauto.monitoring.labels.keyjoin import join_keys
from mlauto.monitoring.log.compaction import due_groups, expired
from mlauto.orchestration import rollouts
from mlauto.orchestration.attempts import Retrainings, incident_id, retrainings
from mlauto.orchestration.deployments import production_event
from mlauto.orchestration.gauges import write_gauges
from mlauto.orchestration.launcher import prewarm, reap_orphans
from mlauto.orchestration.live import Observation, observe, oldest_kept, with_action
from mlauto.orchestration.names import DELIVERS_TAG, REASON_TAG, asset_key
from mlauto.orchestration.notify import announce
from mlauto.orchestration.outbox import Outbox
from mlauto.orchestration.platform import Platform
from mlauto.orchestration.problems import kept_problem
from mlauto.orchestration.receivers import receivers
from mlauto.orchestration.sensors.report import report
from mlauto.orchestration.sensors.requests import retraining, rollback
from mlauto.orchestration.sensors.unfinished import average_anew, finish_delivery
from mlauto.orchestration.sensors.work import Tick, Work, active, each_product
from mlauto.product import ModelProduct
from mlauto.records import Action, Image

__all__ = ["live_sensor"]


def live_sensor(products: Sequence[ModelProduct], platform: Platform) -> dg.SensorDefinition:
    """One sensor for the live deployments of all products."""
    begun: list[subprocess.Popen[bytes]] = []  # the newest warm process that this code server started

    outbox = Outbox(platform.store, receivers(platform.settings))

    def look(tick: Tick, product: ModelProduct) -> None:
        try:
            with kept_problem(platform.store, product.name, "live"):
                _tick(tick, platform, product)
        finally:  # people hear of a product whose every tick fails, too
            _announce(tick, platform, product, outbox)

    def evaluate(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not begun or begun[0].poll() is not None:  # one that still imports must not be given up for another
            begun[:] = [process] if (process := prewarm(context.instance, platform.warm)) else []
        reap_orphans(context.instance)
        try:
            return each_product(context, products, look)
        finally:
            outbox.send_soon()

    return dg.SensorDefinition(
        name="live",
        evaluation_fn=evaluate,
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=platform.settings.tick_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Live metrics: judged, and acted upon. Deliveries that were begun are finished.",
    )


def _announce(tick: Tick, platform: Platform, product: ModelProduct, outbox: Outbox) -> None:
    """Have people told of changes; that this cannot be done fails no tick."""
    try:
        with kept_problem(platform.store, product.name, "told"):
            announce(platform.store, product.name, outbox, time.time())
    except MlautoError as error:
        tick.notes.append(f"{product.name}: nobody is told of changes: {error}")


def _tick(tick: Tick, platform: Platform, product: ModelProduct) -> None:
    delivering = active(tick.instance, {DELIVERS_TAG: product.name})
    if not delivering:
        delivering = finish_delivery(tick, platform, product)
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
        needed=product.monitoring.healthy_windows,
        evidence=evidence_of(observed.metrics, incident.kind) if incident else None,
    )
    acts = verdict.action in (Action.RETRAIN, Action.ROLL_BACK) or delivering or beside
    renewing = not acts and average_anew(tick, platform, product)
    report(tick, platform, product, observed, verdict=verdict, incident=incident, delivering=delivering or renewing)
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
    """Ask for the prediction log to be compacted when enough of its segments are full, or the oldest are too old."""
    folder = platform.settings.product_home(product.name) / "predictions"
    if groups := due_groups(folder):
        name, reason = groups[0].name, f"{sum(len(group.segments) for group in groups)} full segments"
    elif old := expired(folder, oldest_kept(product)):
        name, reason = old[-1].name, "files older than monitoring.retention"
    else:
        return
    work = f"{product.name}/prediction_log/{name}"
    tick.ask(Work(name=work, selection=[asset_key(product, "prediction_log")], tags={REASON_TAG: reason}))


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
