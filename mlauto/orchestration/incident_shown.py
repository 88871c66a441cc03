"""An incident as Dagster metadata: what a person reads on `live_metrics`."""

import time
from collections.abc import Mapping
from typing import Any

import dagster as dg

from mlauto.monitoring.incidents import Incident
from mlauto.orchestration.render import table

__all__ = ["incident_metadata"]


def incident_metadata(incident: Incident | None) -> Mapping[str, dg.MetadataValue[Any]]:
    """Since when, why, how often tried, when next, and every decision, the newest first.

    The number draws incidents over time: 1 while one is open.
    """
    is_open = incident is not None and incident.closed is None
    shown: dict[str, dg.MetadataValue[Any]] = {"incident_open": dg.MetadataValue.int(int(is_open))}
    if incident is None:
        return shown
    shown |= {
        "incident_opened": dg.MetadataValue.timestamp(incident.opened),
        "incident_kind": dg.MetadataValue.text(incident.kind.value),
        "incident_cause": dg.MetadataValue.text(incident.cause),
        "incident_attempts": dg.MetadataValue.int(incident.attempts),
        "incident_healthy_windows": dg.MetadataValue.int(incident.healthy),
    }
    if incident.next_attempt is not None:
        shown["incident_next_attempt"] = dg.MetadataValue.timestamp(incident.next_attempt)
    if incident.closed is not None:
        shown["incident_closed"] = dg.MetadataValue.timestamp(incident.closed)
    rows = [(_clock(one.at), one.action, one.kind, one.why) for one in reversed(incident.decisions)]
    return {**shown, "incident_decisions": table(("time (UTC)", "action", "cause", "why"), rows)}


def _clock(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when))
