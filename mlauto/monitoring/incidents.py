"""Incidents: from a product's first degraded verdict until it has been healthy for some windows, as small records.

`incident` is there while one is open, `incidents` holds the newest twenty that were closed, and `alerting` since when
there is no verdict to be had while none is open. Each may be written again after a kill between any two steps.
"""

from dataclasses import dataclass, replace

from mlauto.measured import LiveMetrics
from mlauto.records import Action, Cause, Status, Verdict
from mlauto.store import Store

__all__ = ["Decision", "Incident", "advance", "closed_incidents", "evidence_of", "open_incident", "record_verdict"]

HISTORY = 20
DECISIONS = 50  # the newest of an incident that are kept
HEALTHY_WINDOWS = 3
LASTING_SECONDS = 300.0  # without any verdict, after which that is an incident: restarts and deployments are shorter
ABSENCE = frozenset({Cause.NO_DATA, Cause.UNMEASURABLE})  # nothing was seen, as opposed to something bad
LOSS = frozenset({Cause.QUALITY, Cause.COVARIATE_DRIFT, Cause.CONCEPT_DRIFT, Cause.STILL_BAD, Cause.SERVING_FAULT})


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided at a time, over what was found, after how many retrainings, in words."""

    at: float
    action: Action
    kind: Cause
    why: str
    attempts: int = 0


@dataclass(frozen=True, kw_only=True)
class Incident:
    """`cause`, `kind` and `action` are of the newest bad verdict; `version` is what was live when it last began.

    `attempts` are the retrainings so far, of which `helped` came before the newest healthy verdict. `healthy` counts
    the healthy windows in a row, the last one seen on `evidence`. The next retraining may begin at `next_attempt`.
    """

    opened: float
    version: str | None
    cause: str
    action: Action
    attempts: int = 0
    closed: float | None = None
    kind: Cause = Cause.QUALITY
    next_attempt: float | None = None
    helped: int = 0
    healthy: int = 0
    evidence: str = ""
    decisions: tuple[Decision, ...] = ()

    @property
    def in_vain(self) -> int:
        """Retrainings since the product was last seen healthy."""
        return max(0, self.attempts - self.helped)

    @property
    def is_loss(self) -> bool:
        """Whether the live version itself was measured to be bad: what it is, not what it is fed."""
        return self.kind in LOSS


@dataclass(frozen=True, kw_only=True)
class _Alerting:
    """There has been no verdict to be had since then."""

    since: float


def evidence_of(metrics: LiveMetrics, kind: Cause) -> str:
    """What a window rests on: as long as it is the same, it is the same window. The newest label, or else request."""
    if kind in {Cause.SERVING_FAULT, *ABSENCE} or metrics.newest_label is None:
        return f"{metrics.newest}"
    return f"{metrics.newest_label}"


def advance(
    incident: Incident | None,
    verdict: Verdict,
    *,
    version: str | None,
    attempts: int,
    now: float,
    needed: int = HEALTHY_WINDOWS,
    evidence: str | None = None,
) -> Incident:
    """The incident after a verdict, with `closed` set when that ended it: `needed` healthy windows in a row do.

    A healthy verdict on the `evidence` of the one before is no other window (None: it is), and a doubtful one is no
    healthy window: nothing changes. A relapse goes on with the same incident as if it had just begun: with the version
    that is live now, and no attempt counted against it. Raises `ValueError` when there is neither an open incident nor
    a bad verdict.
    """
    if incident is None:
        if not _is_bad(verdict):
            raise ValueError(f"a {verdict.status} verdict opens no incident")
        begun = Incident(opened=now, version=version, cause=verdict.cause, action=verdict.action, attempts=attempts)
        return _decided(replace(begun, kind=verdict.kind, next_attempt=verdict.due), verdict, now)
    incident = replace(incident, attempts=attempts)
    if verdict.doubtful and not _is_bad(verdict):
        return incident
    if verdict.status is Status.HEALTHY and not _is_bad(verdict):
        return _healthier(incident, verdict, now, needed, evidence)
    if not _is_bad(verdict):
        return incident
    if incident.healthy or (verdict.status is Status.DEGRADED and not incident.is_loss):
        incident = replace(incident, healthy=0, version=version, helped=attempts)
    if incident.is_loss and verdict.kind in ABSENCE:  # does not say that the loss is over, nor what it was
        return _decided(incident, verdict, now)
    changed = replace(incident, cause=verdict.cause, kind=verdict.kind, action=verdict.action, next_attempt=verdict.due)
    return _decided(changed, verdict, now)


def _is_bad(verdict: Verdict) -> bool:
    return verdict.status is Status.DEGRADED or verdict.action is Action.ALERT


def _healthier(incident: Incident, verdict: Verdict, now: float, needed: int, evidence: str | None) -> Incident:
    """One healthy window more, if it is another one."""
    if incident.healthy and evidence is not None and evidence == incident.evidence:
        return replace(incident, helped=incident.attempts)
    windows = incident.healthy + 1
    after = replace(
        incident,
        helped=incident.attempts,
        healthy=windows,
        evidence=evidence or "",
        action=Action.NONE,
        next_attempt=None,
    )
    if windows < needed:
        return _decided(after, verdict, now)
    why = f"{windows} healthy window{'s' if windows > 1 else ''}: {verdict.cause}"
    return _decided(replace(after, closed=now), replace(verdict, cause=why), now, again=True)


def _decided(incident: Incident, verdict: Verdict, now: float, *, again: bool = False) -> Incident:
    """With the verdict's action among the decisions, unless it is what was decided last."""
    made = Decision(at=now, action=verdict.action, kind=verdict.kind, why=verdict.cause, attempts=incident.attempts)
    last = incident.decisions[-1] if incident.decisions else None
    same = last is not None and (last.action, last.kind) == (made.action, made.kind)
    if same and last is not None and made.action is Action.RETRAIN and last.attempts != made.attempts:
        same = False
    if same and not again:
        return incident
    return replace(incident, decisions=(*incident.decisions, made)[-DECISIONS:])


def record_verdict(
    store: Store,
    product: str,
    verdict: Verdict,
    *,
    version: str | None,
    attempts: int,
    now: float,
    needed: int = HEALTHY_WINDOWS,
    evidence: str | None = None,
) -> Incident | None:
    """Open, update or close the product's incident after a verdict, and return it; None when all was and is well.

    `attempts` are the retrainings in this incident, as the caller counts them. Where nothing can be seen, that is an
    incident once it has lasted for five minutes.
    """
    _finish_closing(store, product)
    incident = open_incident(store, product)
    if incident is None and not _opens(store, product, verdict, now):
        return None
    after = advance(incident, verdict, version=version, attempts=attempts, now=now, needed=needed, evidence=evidence)
    if after != incident:
        store.write_record(product, "incident", after)
    store.record_path(product, "alerting").unlink(missing_ok=True)
    _finish_closing(store, product)
    return after


def _opens(store: Store, product: str, verdict: Verdict, now: float) -> bool:
    """Whether a verdict opens an incident; since when there is none to be had is remembered for that."""
    if not _is_bad(verdict):
        store.record_path(product, "alerting").unlink(missing_ok=True)
        return False
    if verdict.status is Status.DEGRADED or verdict.kind not in ABSENCE:
        return True
    known = store.read_record(product, "alerting", _Alerting)
    if known is None:
        store.write_record(product, "alerting", _Alerting(since=now))
    return known is not None and now - known.since >= LASTING_SECONDS


def _finish_closing(store: Store, product: str) -> None:
    """Enter an incident that is closed into the history, and forget it as the open one."""
    incident = store.read_record(product, "incident", Incident)
    if incident is None or incident.closed is None:
        return
    history = closed_incidents(store, product)
    if not any(past.opened == incident.opened for past in history):  # killed before it was forgotten, the last time
        store.write_record(product, "incidents", (*history, incident)[-HISTORY:])
    store.record_path(product, "incident").unlink(missing_ok=True)


def open_incident(store: Store, product: str) -> Incident | None:
    """The incident that is open now."""
    incident = store.read_record(product, "incident", Incident)
    return incident if incident is not None and incident.closed is None else None


def closed_incidents(store: Store, product: str) -> tuple[Incident, ...]:
    """The newest twenty incidents that were closed, oldest first."""
    return store.read_record(product, "incidents", tuple[Incident, ...]) or ()
