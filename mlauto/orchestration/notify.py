"""What people are told of a product: gathered from its records, put into the outbox, then remembered as told."""

from mlauto.delivery.progress import Stage
from mlauto.delivery.stages import current_rollout
from mlauto.monitoring.incidents import closed_incidents, open_incident
from mlauto.monitoring.notices import Event, Seen, Told, due
from mlauto.orchestration.arrivals import why_quarantined
from mlauto.orchestration.outbox import Outbox
from mlauto.records import CiReport, Deployment, Problem, TrainedModel
from mlauto.store import Store

__all__ = ["announce", "seen_of"]

QUARANTINED = 10  # newest batches looked at
REFUSED = frozenset({Stage.ABORTED, Stage.ROLLED_BACK})


def announce(store: Store, product: str, outbox: Outbox, now: float) -> int:
    """Put a letter for each change into the outbox, and say how many; after a kill the same ones are put again."""
    if not outbox.receivers:
        return 0
    told = store.read_record(product, "told", Told)
    notices, after = due(product, seen_of(store, product), told, now)
    if not outbox.put(notices):
        return 0
    if after != told:
        store.write_record(product, "told", after)
    return len(notices)


def seen_of(store: Store, product: str) -> Seen:
    """What there is to tell of, in bounds."""
    names = store.record_names(product, "problems")
    problems = [store.read_record(product, f"problems/{name}", Problem) for name in names if name != "notices"]
    return Seen(
        incident=open_incident(store, product),
        closed=closed_incidents(store, product),
        problems=[problem for problem in problems if problem is not None],
        events=[*_commit(store, product), *_quarantined(store, product), *_refused(store, product)],
    )


def _commit(store: Store, product: str) -> list[Event]:
    """The newest commit that was tested, if it is red."""
    folder = store.record_path(product, "reports").with_suffix("")
    newest = max(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, default=None)
    report = store.read_record(product, f"reports/{newest.stem}", CiReport) if newest else None
    if report is None or report.passed:
        return []
    failed = ", ".join(result.command for result in report.results if not result.passed)
    text = f"commit {report.commit.sha[:12]} {report.commit.subject} failed {failed}"
    return [Event(kind="red_commit", key=report.commit.sha, text=text)]


def _quarantined(store: Store, product: str) -> list[Event]:
    from mlauto.training.batches.ingest import quarantined

    batches = quarantined(store, product, QUARANTINED)
    return [
        Event(kind="batch_quarantined", key=batch.key, text=f"batch {batch.key}: {why_quarantined(batch)}")
        for batch in reversed(batches)
    ]


def _refused(store: Store, product: str) -> list[Event]:
    """A model or a test that did not pass, and a rollout that was given up or taken back."""
    events = []
    model = store.read_record(product, "model", TrainedModel)
    if model is not None and not model.passed:
        why = "; ".join(f"{check.name}: {check.summary}" for check in model.checks if not check.passed)
        events.append(Event(kind="model_refused", key=model.version, text=f"version {model.version}: {why}"))
    test = store.read_record(product, "test_deployment", Deployment)
    failed = [check for check in test.checks if not check.passed] if test is not None else []
    if test is not None and failed:
        why = "; ".join(f"{check.name}: {check.summary}" for check in failed)
        events.append(Event(kind="test_failed", key=test.version, text=f"version {test.version}: {why}"))
    rollout = current_rollout(product, store)
    if rollout is not None and rollout.stage in REFUSED:
        key = f"{rollout.version}/{rollout.sequence}"
        events.append(Event(kind="rollout_refused", key=key, text=rollout.told))
    return events
