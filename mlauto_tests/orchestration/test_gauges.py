"""What the metrics of a product are gathered from, and where they go."""

import os
from pathlib import Path

import pytest

from mlauto.delivery.history import Served
from mlauto.monitoring.incidents import Incident
from mlauto.orchestration.gauges import counts_of, loop_seconds, note_waiting, queues_of, write_gauges
from mlauto.records import Action, Deployment, Problem
from mlauto.serving.measured import measured
from mlauto.store import Store
from mlauto.training.batches.landing import FolderLanding, plan
from mlauto_tests.monitoring.whole import INCIDENT, METRICS, VERDICT
from mlauto_tests.orchestration.conftest import World, made_product

ONE = Served(at=100.0, champion="1", why="went live")
CANARY = Served(at=210.0, champion="1", canary="2", percent=5.0, why="verified")
TWO = Served(at=230.0, champion="2", why="replaced")
BACK = Served(at=330.0, champion="1", why="rolled back")


def incident(opened: float, closed: float | None) -> Incident:
    return Incident(opened=opened, version="1", cause="", action=Action.RETRAIN, closed=closed)


@pytest.mark.parametrize(
    ("incidents", "expected"),
    [
        ([incident(200.0, 260.0)], 30.0),
        ([incident(200.0, 260.0), incident(300.0, 340.0)], 30.0),
        ([incident(300.0, 340.0)], None),
        ([incident(90.0, 220.0)], None),
        ([], None),
    ],
)
def test_the_loop_ends_when_a_newer_version_answers_everybody(
    incidents: list[Incident], expected: float | None
) -> None:
    """A canary does not, and neither does a rollback; of several incidents the newest that ended so counts."""
    assert loop_seconds(incidents, (ONE, CANARY, TWO, BACK)) == expected


def test_before_anything_happened_all_counts_are_0(store: Store) -> None:
    """Every outcome has its series from the start, so that the first one is an increase."""
    counts = counts_of(store, "tides", newest_label=None)

    assert counts.rollouts == {"promoted": 0, "aborted": 0, "rolled_back": 0, "superseded": 0}
    assert (counts.retrainings, counts.rollbacks, counts.loop_seconds) == (0, 0, None)


def test_rollbacks_are_those_of_production(store: Store) -> None:
    """As its record counts them."""
    live = Deployment(environment="production", version="1", image="i", since=1.0, rollbacks=2)
    store.write_record("tides", "production", live)

    assert counts_of(store, "tides", newest_label=9.0).rollbacks == 2
    assert counts_of(store, "tides", newest_label=9.0).newest_label == 9.0


def test_what_waits_is_as_old_as_its_oldest(store: Store, tmp_path: Path) -> None:
    """Batches since they arrived, commits since they were seen; what got its outcome does not count."""
    assert all((queue.waiting, queue.oldest) == (0, None) for queue in queues_of(store, "tides").values())
    folder = tmp_path / "landing"
    folder.mkdir()
    (folder / "a.csv").write_text("a\n1\n")
    os.utime(folder / "a.csv", (50, 50))
    plan(store, "tides", FolderLanding(folder), 100.0)
    note_waiting(store, "tides", ["b", "a"], 200.0)
    note_waiting(store, "tides", ["c", "b"], 300.0)

    found = queues_of(store, "tides")

    assert (found["batches"].waiting, found["batches"].oldest) == (1, 100.0)
    assert (found["commits"].waiting, found["commits"].oldest) == (2, 200.0)
    note_waiting(store, "tides", [], 400.0)
    assert queues_of(store, "tides")["commits"].oldest is None


def test_the_gateway_shows_what_was_written(world: World) -> None:
    """The record's rows with problems and the newest label's time, which is that of the log's file."""
    product, home = made_product("tides"), world.settings.home / "products"
    world.store.write_record("tides", "problems/data", Problem(where="data", since=1.0, text="no folder"))
    log = home / "tides" / "predictions"
    log.mkdir(parents=True)
    for name, moment in (
        ("imported-00000001.jsonl", 60),
        ("labels-00000002.jsonl", 70),
        ("predictions-00000001.jsonl", 90),
    ):
        (log / name).write_text("")
        os.utime(log / name, (moment, moment))

    write_gauges(world.platform, product, METRICS, VERDICT, INCIDENT)
    found = "\n".join(measured(home, ["tides"]))

    assert 'mlauto_verdict{product="tides",status="degraded"} 1.0' in found
    assert 'mlauto_label_newest_timestamp_seconds{product="tides"} 70.0' in found
    assert 'mlauto_problem_seconds{product="tides",where="data"}' in found
    assert 'mlauto_gauges_refused{product="tides"} 0' in found
