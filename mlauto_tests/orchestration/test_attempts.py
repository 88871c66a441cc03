"""What a product's runs say about an incident."""

import time

import dagster as dg

from mlauto.orchestration.attempts import Retrainings, incident_id, retrainings
from mlauto.orchestration.names import INCIDENT_TAG, WORK_TAG
from mlauto_tests.orchestration.conftest import World, made_product

OPENED = 1_800_000_000.25


def retraining(world: World, number: int, status: dg.DagsterRunStatus, opened: float = OPENED) -> dg.DagsterRun:
    """A run of the incident's attempt of that number."""
    incident = incident_id(world.product, opened)
    tags = {INCIDENT_TAG: incident, WORK_TAG: f"{incident}/retraining/{number:03d}"}
    return world.start(dg.RunRequest(tags=tags), status)


def tried(world: World) -> Retrainings:
    return retrainings(world.instance, world.product, OPENED)


def test_an_incident_without_runs_was_not_tried(world: World) -> None:
    """Neither are runs of another incident, or of another product."""
    retraining(world, 1, dg.DagsterRunStatus.SUCCESS, opened=OPENED + 1)

    assert tried(world) == Retrainings()


def test_attempts_are_counted_by_their_work(world: World) -> None:
    """Ended, failed in a step, cancelled or still under way: each is one attempt; two runs of one work are one."""
    began = time.time()
    retraining(world, 1, dg.DagsterRunStatus.SUCCESS)
    retraining(world, 2, dg.DagsterRunStatus.CANCELED)
    retraining(world, 3, dg.DagsterRunStatus.STARTED)
    world.instance.report_run_failed(retraining(world, 3, dg.DagsterRunStatus.STARTED))

    found = tried(world)

    assert (found.attempts, found.lost) == (3, None)
    assert found.last is not None
    assert began - 1 <= found.last <= time.time() + 1


def test_a_lost_run_is_no_attempt_until_it_was_lost_three_times(world: World) -> None:
    """Its work is named, so that it is asked for again; then it counts, and the next attempt may come."""
    work = f"{incident_id(world.product, OPENED)}/retraining/001"
    seen = []
    for _ in range(3):
        world.instance.report_run_failed(retraining(world, 1, dg.DagsterRunStatus.STARTED), "killed")
        seen.append((tried(world).attempts, tried(world).lost))

    assert seen == [(0, work), (0, work), (1, None)]


def test_incidents_have_names_of_their_own() -> None:
    """Product and time of opening, to the millisecond."""
    assert incident_id(made_product("tides"), 12.3456) == "tides/12.346"


def test_more_attempts_than_are_read(world: World) -> None:
    """Their names are numbered, so that none is ever asked for twice."""
    for number in range(1, 61):
        retraining(world, number, dg.DagsterRunStatus.SUCCESS)

    assert tried(world).attempts == 60
