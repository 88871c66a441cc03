"""What was tried in an incident, as its runs' tags tell: nothing about it is stored outside of Dagster's instance."""

from dataclasses import dataclass

import dagster as dg

from mlauto.orchestration.names import INCIDENT_TAG, WORK_TAG
from mlauto.orchestration.sensors.work import MAX_ATTEMPTS
from mlauto.product import ModelProduct

__all__ = ["Retrainings", "incident_id", "retrainings"]

RUNS_READ = 50  # the newest; the work's name says which attempt it is


@dataclass(frozen=True, kw_only=True)
class Retrainings:
    """What was tried in an incident: attempts that ended by themselves, when the last began, and a lost one's work."""

    attempts: int = 0
    last: float | None = None
    lost: str | None = None


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
        attempts=max((int(work.rpartition("/")[2]) for work in works if work not in lost), default=0),
        last=max((record.create_timestamp.timestamp() for record in records), default=None),
        lost=max(lost, default=None),
    )


def _was_lost(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run's process went away: it failed although no step did."""
    return run.status is dg.DagsterRunStatus.FAILURE and instance.get_run_stats(run.run_id).steps_failed == 0
