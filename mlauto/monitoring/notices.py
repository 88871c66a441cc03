"""Which notices are due to people: one for each change, from what is there now and what was told before. Pure.

Nothing is handed over at the moment of the change: whoever was killed in between compares again, and finds the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mlauto.monitoring.incidents import Incident
from mlauto.records import Action, Problem

__all__ = ["Event", "Notice", "Seen", "Told", "due"]

LASTING_SECONDS = 300.0  # problems that are gone sooner are nobody's news
REMEMBERED = 200  # events that were told; far more than are ever looked at
TOLD_ACTIONS = frozenset({Action.ALERT, Action.WAIT_FOR_DATA, Action.RETRAIN, Action.ROLL_BACK})


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened once: `kind` and `key` are its identity."""

    kind: str
    key: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message to people. `key` is its identity: a second one with the same key is the same message again."""

    key: str
    product: str
    kind: str
    at: float
    title: str
    text: str
    incident: float | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What there is to tell of: the open incident, the closed ones, problems, and what happened lately."""

    incident: Incident | None = None
    closed: Sequence[Incident] = ()
    problems: Sequence[Problem] = ()
    events: Sequence[Event] = ()


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told so far: the open incident and the time of its newest decision told, when the newest was closed.

    `events` are the keys of those told, oldest first; `problems`: place -> since when, and whether that was told.
    """

    incident: float | None = None
    decided: float = 0.0
    closed: float = 0.0
    events: tuple[str, ...] = ()
    problems: dict[str, tuple[float, bool]] = field(default_factory=dict)


def due(product: str, seen: Seen, told: Told | None, now: float) -> tuple[tuple[Notice, ...], Told]:
    """The notices that are due, oldest cause first, and what will have been told with them.

    The first time (`told` is None) what happened before is no news; an open incident is.
    """
    first = told is None
    told = told or Told(closed=max((one.closed or 0.0 for one in seen.closed), default=0.0))
    closed, told = _closed(product, seen, told)
    opened, told = _incident(product, seen.incident, told)
    problems, told = _problems(product, seen.problems, told, now)
    events, told = _events(product, seen.events, told, now)
    return (*closed, *opened, *problems, *(() if first else events)), told


def _closed(product: str, seen: Seen, told: Told) -> tuple[list[Notice], Told]:
    fresh = [one for one in seen.closed if one.closed is not None and one.closed > told.closed]
    notices = []
    for one in fresh:
        why = one.decisions[-1].why if one.decisions else one.cause
        notices.append(_notice(product, "incident_closed", one.closed or 0.0, why, key=f"{one.opened}", incident=one))
    return notices, replace(told, closed=max((one.closed or 0.0 for one in fresh), default=told.closed))


def _incident(product: str, incident: Incident | None, told: Told) -> tuple[list[Notice], Told]:
    """Its opening, with what was decided first, then each decision that people should know of."""
    if incident is None:
        return [], replace(told, incident=None)
    notices = []
    decisions = incident.decisions
    if told.incident != incident.opened:
        why = f"{incident.kind}: {decisions[0].why if decisions else incident.cause} (now: {incident.action})"
        notices.append(
            _notice(product, "incident_opened", incident.opened, why, key=f"{incident.opened}", incident=incident)
        )
        told = replace(told, incident=incident.opened, decided=decisions[0].at if decisions else incident.opened)
    for made in (one for one in decisions if one.at > told.decided):
        key = f"{incident.opened}/{made.at}"
        if made.action is Action.ESCALATE:
            notices.append(_notice(product, "escalated", made.at, made.why, key=key, incident=incident))
        elif made.action in TOLD_ACTIONS:
            notices.append(
                _notice(product, "action", made.at, f"{made.action}: {made.why}", key=key, incident=incident)
            )
    return notices, replace(told, decided=max([told.decided, *(one.at for one in decisions)]))


def _problems(product: str, problems: Iterable[Problem], told: Told, now: float) -> tuple[list[Notice], Told]:
    """Those that have lasted; their words may have changed meanwhile."""
    known: dict[str, tuple[float, bool]] = {}
    notices = []
    for problem in problems:
        since, said = told.problems.get(problem.where, (now, False))
        if not said and now - since >= LASTING_SECONDS:
            text = f"{problem.where}: {problem.text}"
            notices.append(_notice(product, "problem", since, text, key=f"{problem.where}/{since}"))
            said = True
        known[problem.where] = (since, said)
    return notices, replace(told, problems=known)


def _events(product: str, events: Iterable[Event], told: Told, now: float) -> tuple[list[Notice], Told]:
    fresh = [event for event in events if f"{event.kind}/{event.key}" not in told.events]
    notices = [_notice(product, event.kind, now, event.text, key=event.key) for event in fresh]
    keys = (*told.events, *(f"{event.kind}/{event.key}" for event in fresh))[-REMEMBERED:]
    return notices, replace(told, events=keys)


def _notice(product: str, kind: str, at: float, text: str, *, key: str, incident: Incident | None = None) -> Notice:
    title = f"{product}: {kind.replace('_', ' ')}"
    opened = incident.opened if incident else None
    return Notice(
        key=f"{product}/{kind}/{key}", product=product, kind=kind, at=at, title=title, text=text, incident=opened
    )
