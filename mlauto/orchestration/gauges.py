"""Gathers from a product's records what its metrics are made of, and writes them where the gateway finds them."""

import os
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from mlauto.delivery.history import Served, changes
from mlauto.delivery.stages import current_rollout
from mlauto.measured import LiveMetrics
from mlauto.monitoring.gauges import Counts, Queue, gauges
from mlauto.monitoring.incidents import Incident, closed_incidents
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct
from mlauto.records import Deployment, Problem, TrainedModel, Verdict
from mlauto.store import Store
from mlauto.training.batches.landing import pending, planned

__all__ = ["counts_of", "loop_seconds", "note_waiting", "queues_of", "write_gauges"]

COMMITS = "queues/commits"
LABELS = ("labels-", "imported-")  # segments of the prediction log that labels come in


def write_gauges(
    platform: Platform, product: ModelProduct, metrics: LiveMetrics, verdict: Verdict, incident: Incident | None
) -> None:
    """Replace the record `gauges` of the product: see `serving.measured`, which shows it."""
    store, name, now = platform.store, product.name, time.time()
    names = store.record_names(name, "problems")
    found = (store.read_record(name, f"problems/{place}", Problem) for place in names)
    rows = gauges(
        metrics,
        verdict,
        incident,
        counts_of(store, name, newest_label=_newest(platform.settings.product_home(name) / "predictions")),
        queues=queues_of(store, name),
        problems=sorted((problem for problem in found if problem is not None), key=lambda problem: problem.where),
        now=now,
    )
    store.write_record(name, "gauges", rows)


def note_waiting(store: Store, product: str, waiting: Sequence[str], now: float) -> None:
    """Remember the commits that wait for their verdict, and since when each does."""
    known = store.read_record(product, COMMITS, dict[str, float]) or {}
    now_waiting = {sha: known.get(sha, now) for sha in waiting}
    if now_waiting != known:
        store.write_record(product, COMMITS, now_waiting)


def queues_of(store: Store, product: str) -> dict[str, Queue]:
    """What waits: batches that landed and have no outcome, commits without a verdict."""
    batches = pending(store, product)
    commits = store.read_record(product, COMMITS, dict[str, float]) or {}
    return {
        "batches": Queue(waiting=len(batches), oldest=planned(store, product, batches[0]).arrived if batches else None),
        "commits": Queue(waiting=len(commits), oldest=min(commits.values(), default=None)),
    }


def counts_of(store: Store, product: str, *, newest_label: float | None) -> Counts:
    """What happened so far, by the records; a model's version counts those that were registered."""
    model = store.read_record(product, "model", TrainedModel)
    rollout = current_rollout(product, store)
    production = store.read_record(product, "production", Deployment)
    ends = {"promoted": 0, "aborted": 0, "rolled_back": 0, "superseded": 0}
    return Counts(
        retrainings=max(0, int(model.version) - 1) if model is not None and model.version.isdecimal() else 0,
        rollouts=ends | (rollout.ends if rollout is not None else {}),
        rollbacks=production.rollbacks if production is not None else 0,
        loop_seconds=loop_seconds(closed_incidents(store, product), changes(store, product)),
        newest_label=newest_label,
    )


def loop_seconds(incidents: Iterable[Incident], history: Sequence[Served]) -> float | None:
    """From the newest closed incident's first failing check until a newer version answered everybody.

    The newest incident that ended so counts; None where none did: rollbacks and passing faults are no loop.
    """
    for incident in sorted(incidents, key=lambda one: one.opened, reverse=True):
        for before, after in pairwise(history):
            in_it = incident.opened <= after.at <= (incident.closed or after.at)
            if in_it and after.canary is None and _is_newer(after.champion, before.champion):
                return after.at - incident.opened
    return None


def _is_newer(version: str, other: str) -> bool:
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)


def _newest(folder: Path) -> float | None:
    """When a label was written last; None before the first one."""
    try:
        with os.scandir(folder) as entries:
            return max((entry.stat().st_mtime for entry in entries if entry.name.startswith(LABELS)), default=None)
    except FileNotFoundError:
        return None
