"""An incident in `mlauto status`: since when, what was found, what was decided, and what comes next."""

from mlauto.monitoring.incidents import Incident

__all__ = ["incident_lines", "span"]

SHOWN = 5  # decisions


def incident_lines(incident: Incident, now: float) -> list[tuple[str, str]]:
    """Name and text of each line: the incident, then its newest decisions, oldest first."""
    tried = f"{incident.attempts} {'retraining' if incident.attempts == 1 else 'retrainings'} so far"
    told = [f"{incident.kind}", tried, f"now: {incident.action}"]
    if incident.next_attempt is not None:
        told.append(f"next attempt in {span(incident.next_attempt - now)}")
    if incident.healthy:
        told.append(f"{incident.healthy} healthy {'window' if incident.healthy == 1 else 'windows'} in a row")
    lines = [("incident", f"since {span(now - incident.opened)} ago: {incident.cause} ({', '.join(told)})")]
    decided = incident.decisions[-SHOWN:]
    return lines + [("decided", f"{span(now - made.at)} ago {made.action}: {made.why}") for made in decided]


def span(seconds: float) -> str:
    """A length of time in its largest unit; nothing is shorter than 0 s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
