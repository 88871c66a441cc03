"""Incidents: from a product's first degraded verdict until it is healthy again, as small records that people read.

`incident` is there while one is open; `incidents` holds the newest twenty that were closed.
"""

from dataclasses import dataclass, replace

from mlauto.records import Action, Status, Verdict
from mlauto.store import Store

__all__ = ["Incident", "advance", "closed_incidents", "open_incident", "record_verdict"]

HISTORY = 20


@dataclass(frozen=True, kw_only=True)
class Incident:
    """`cause` and `action` are of the newest degraded verdict; `version` is what was live at the start."""

    opened: float
    version: str | None
    cause: str
    action: Action
    attempts: int = 0
    closed: float | None = None


def advance(incident: Incident | None, verdict: Verdict, *, version: str | None, attempts: int, now: float) -> Incident:
    """The incident after a verdict, with `closed` set when that ended it. Only a healthy verdict does.

    Raises `ValueError` when there is neither an open incident nor a degraded verdict.
    """
    if incident is None:
        if verdict.status is not Status.DEGRADED:
            raise ValueError(f"a {verdict.status} verdict opens no incident")
        return Incident(opened=now, version=version, cause=verdict.cause, action=verdict.action, attempts=attempts)
    if verdict.status is Status.HEALTHY:
        return replace(incident, closed=now, attempts=attempts)
    if verdict.status is Status.DEGRADED:
        return replace(incident, cause=verdict.cause, action=verdict.action, attempts=attempts)
    return replace(incident, attempts=attempts)


def record_verdict(
    store: Store, product: str, verdict: Verdict, *, version: str | None, attempts: int, now: float
) -> Incident | None:
    """Open, update or close the product's incident after a verdict, and return it; None when all was and is well.

    `attempts` are the retrainings in this incident, as the caller counts them.
    """
    incident = open_incident(store, product)
    if incident is None and verdict.status is not Status.DEGRADED:
        return None
    after = advance(incident, verdict, version=version, attempts=attempts, now=now)
    if after.closed is None:
        if after != incident:
            store.write_record(product, "incident", after)
        return after
    history = closed_incidents(store, product)
    if not any(past.opened == after.opened for past in history):  # killed between the two steps, the last time
        store.write_record(product, "incidents", (*history, after)[-HISTORY:])
    store.record_path(product, "incident").unlink(missing_ok=True)
    return after


def open_incident(store: Store, product: str) -> Incident | None:
    """The incident that is open now."""
    return store.read_record(product, "incident", Incident)


def closed_incidents(store: Store, product: str) -> tuple[Incident, ...]:
    """The newest twenty incidents that were closed, oldest first."""
    return store.read_record(product, "incidents", tuple[Incident, ...]) or ()
