"""The commit sensor over real repositories; runs are executed here, or lost."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from mlauto.errors import MlautoError
from mlauto.integration.tracking import has_report
from mlauto.orchestration.gauges import queues_of
from mlauto.orchestration.names import PRODUCT_TAG, WORK_TAG
from mlauto.orchestration.sensors import commits
from mlauto.records import VerifiedCommit
from mlauto_tests.orchestration.conftest import Origin, World, made_product


def asked(result: dg.SensorResult) -> Sequence[dg.RunRequest]:
    return result.run_requests or ()


def shas(result: dg.SensorResult) -> list[str | None]:
    return [request.partition_key for request in asked(result)]


def names(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or ()]


def verified(world: World) -> str | None:
    """The verified commit on record."""
    found = world.store.read_record("tides", "verified_commit", VerifiedCommit)
    return found.commit.sha if found else None


def recorded(world: World) -> str | None:
    """The verified commit's tree in Dagster's log."""
    event = world.instance.get_latest_materialization_event(dg.AssetKey(["tides", "verified_commit"]))
    materialization = event.asset_materialization if event else None
    return (materialization.tags or {}).get("dagster/data_version") if materialization else None


@pytest.fixture
def origin(world: World) -> Origin:
    """The product's repository; it has one green commit."""
    return world.repository()


def test_at_first_sight_the_tip_alone_is_tested(world: World, origin: Origin) -> None:
    """What was there before is no news: one partition, one materialization of the commit, one request."""
    origin.many(3)
    tip = origin.git("rev-parse", "HEAD")

    result = world.tick("commits")

    [request] = asked(result)
    assert request.partition_key == tip
    assert request.run_key == f"tides/commit/{tip}#1"
    assert names(request) == ["ci_report", "verified_commit"]
    assert PRODUCT_TAG not in request.tags
    assert world.instance.get_dynamic_partitions("tides_commits") == [tip]
    [event] = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert (event.asset_key, event.partition) == (dg.AssetKey(["tides", "commit"]), tip)
    assert (event.tags or {})["dagster/data_version"] == tip


def test_a_green_commit_becomes_the_verified_one_and_all_is_quiet(world: World, origin: Origin) -> None:
    """After its run the record and Dagster's log agree, and nothing more is asked for."""
    [request] = world.loop("commits")
    quiet = world.tick("commits")

    assert verified(world) == request.partition_key == origin.git("rev-parse", "HEAD")
    assert recorded(world) is not None
    assert asked(quiet) == ()
    assert quiet.asset_events == []
    assert quiet.dynamic_partitions_requests == []


def test_every_new_commit_is_tested_once(world: World, origin: Origin) -> None:
    """Ten at once are ten requests, newest first; while they go on nothing is asked for again."""
    world.loop("commits")
    new = origin.many(10)

    first = world.tick("commits")
    for request in asked(first):
        world.start(request)
    second = world.tick("commits")

    assert shas(first) == new[::-1]
    assert len({request.run_key for request in asked(first)}) == 10
    assert len(first.asset_events) == 10
    assert asked(second) == ()
    assert second.asset_events == []


def test_more_commits_than_a_tick_takes_wait_for_their_turn(world: World, origin: Origin) -> None:
    """None is forgotten: those that wait are asked for when the first are through."""
    world.loop("commits")
    new = origin.many(12)

    first = world.tick("commits")
    record = world.store.read_record("tides", "queues/commits", dict[str, float]) or {}
    waiting = (queues_of(world.store, "tides")["commits"].waiting, list(record)[-1])
    for request in asked(first):
        world.run(request)
    second = world.tick("commits")

    assert shas(first) == new[:1:-1]
    assert waiting == (11, new[0])
    assert shas(second) == new[1::-1]
    for request in asked(second):
        world.run(request)
    assert asked(world.tick("commits")) == ()
    assert queues_of(world.store, "tides")["commits"].waiting == 0
    assert all(has_report(world.store, "tides", sha) for sha in new)
    assert verified(world) == new[-1]


def test_a_red_commit_leaves_the_verified_one_alone(world: World, origin: Origin) -> None:
    """Its report is there and red, it is not tested again, and the older commit stays the last good one."""
    world.loop("commits")
    good, tree = verified(world), recorded(world)
    red = origin.commit("Break it", src__tide__broken_py="this is no Python")

    [request] = world.loop("commits")

    assert request.partition_key == red
    assert has_report(world.store, "tides", red)
    assert (verified(world), recorded(world)) == (good, tree)
    assert asked(world.tick("commits")) == ()


def test_a_fix_after_a_red_commit_is_verified(world: World, origin: Origin) -> None:
    """The newest green commit counts, whatever lies between."""
    world.loop("commits")
    origin.commit("Break it", src__tide__broken_py="this is no Python")
    fixed = origin.commit("Mend it", src__tide__broken_py="MENDED = True")

    world.loop("commits")

    assert verified(world) == fixed


def test_a_rewound_branch_takes_the_verified_commit_back(world: World, origin: Origin) -> None:
    """The older commit is not tested again, but Dagster's log is told which one counts; as often as it happens."""
    world.loop("commits")
    old = origin.git("rev-parse", "HEAD")
    new = origin.commit("Further", src__tide__more_py="MORE = 1")
    world.loop("commits")
    trees = [recorded(world)]

    asked_for = []
    for target in (old, new, old, new, old):
        origin.git("reset", "-q", "--hard", target)
        asked_for += [names(request) for request in world.loop("commits")]
        assert verified(world) == target
        trees.append(recorded(world))

    assert asked_for == [["verified_commit"]] * 5
    assert trees[0] != trees[1]
    assert trees == [trees[0], trees[1]] * 3


def test_a_rewritten_branch_is_tested_afresh(world: World, origin: Origin) -> None:
    """A forced push to another history: its tip is tested and verified."""
    world.loop("commits")
    origin.git("checkout", "-q", "--orphan", "rewritten")
    fresh = origin.commit("Begin anew", src__tide__fresh_py="FRESH = 1")
    origin.git("branch", "-M", "main")

    [request] = world.loop("commits")

    assert request.partition_key == fresh
    assert verified(world) == fresh


def test_a_branch_that_goes_away_asks_for_nothing(world: World, origin: Origin) -> None:
    """What was verified last stays."""
    [request] = world.loop("commits")
    origin.git("checkout", "-q", "--detach")
    origin.git("branch", "-D", "main")

    result = world.tick("commits")

    assert asked(result) == ()
    assert verified(world) == request.partition_key


def test_a_lost_run_is_asked_for_again_and_then_given_up(world: World, origin: Origin) -> None:
    """Three attempts, then the commit counts as settled and later ones are tested."""
    keys = []
    for _ in range(3):
        [request] = asked(world.tick("commits"))
        keys.append(request.run_key)
        world.lose(request)

    given_up = world.tick("commits")
    after = world.tick("commits")
    new = origin.commit("Next", src__tide__next_py="NEXT = 1")

    sha = request.partition_key
    assert keys == [f"tides/commit/{sha}#{attempt}" for attempt in (1, 2, 3)]
    assert asked(given_up) == asked(after) == ()
    assert json.loads(world.cursors["commits"] or "")["tides"]["given_up"] == [sha]
    assert f"gave up on commit {str(sha)[:12]}" in str(given_up.skip_reason)
    assert shas(world.tick("commits")) == [new]


def test_a_report_that_dagster_never_saw_is_asked_for_again(world: World, origin: Origin) -> None:
    """The run died between the record and the event: the test is not repeated, but the asset gets its event."""
    [request] = asked(world.tick("commits"))
    world.run(request)
    with dg.DagsterInstance.ephemeral() as fresh:
        world.instance = fresh

        [again] = asked(world.tick("commits"))

        assert again.partition_key == request.partition_key
        assert world.run(again).success
        assert asked(world.tick("commits")) == ()


def test_a_lost_verification_is_asked_for_alone(world: World, origin: Origin) -> None:
    """The report is there, the verified commit is not; while the commit's own run goes on it is left to do that."""
    [request] = asked(world.tick("commits"))
    report = dg.RunRequest(
        asset_selection=[dg.AssetKey(["tides", "ci_report"])],
        partition_key=request.partition_key,
        tags={WORK_TAG: "by hand"},
    )
    world.run(report)
    busy = world.start(request)

    waiting = world.tick("commits")
    world.instance.report_run_failed(busy)
    [alone] = asked(world.tick("commits"))

    assert asked(waiting) == ()
    assert names(alone) == ["verified_commit"]
    world.run(alone)
    assert recorded(world) is not None
    assert asked(world.tick("commits")) == ()


def test_a_restarted_process_asks_for_nothing_twice(world: World, origin: Origin) -> None:
    """Without what a process remembers, and without a cursor, settled commits stay settled."""
    world.loop("commits")
    world.sensors.clear()
    world.served.clear()
    world.cursors.clear()

    assert asked(world.tick("commits")) == ()


def test_old_partitions_are_dropped(world: World, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of partitions is bounded; the newest stay."""
    monkeypatch.setattr(commits, "PARTITIONS_KEPT", 3)
    world.instance.add_dynamic_partitions("tides_commits", ["a", "b", "c", "d"])

    [sha] = shas(world.tick("commits"))

    assert world.instance.get_dynamic_partitions("tides_commits") == ["c", "d", sha]


def test_a_missing_repository_does_not_stop_another_product(
    tmp_path: Path, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one's commit is asked for; alone, the fault fails the tick and names the repository."""
    world = World.made(tmp_path, instance, made_product("missing"), made_product("present"))
    origin = world.repository(world.products[1])

    result = world.tick("commits")
    for request in asked(result):
        world.start(request)
    with pytest.raises(MlautoError, match=r"missing: git repository .*models/missing cannot be read"):
        world.tick("commits")

    assert shas(result) == [origin.git("rev-parse", "HEAD")]
    assert asked(result)[0].run_key == f"present/commit/{shas(result)[0]}#1"


def test_a_repository_that_appears_later_is_taken_up(world: World) -> None:
    """Nothing has to be reset by hand."""
    with pytest.raises(MlautoError, match="cannot be read"):
        world.tick("commits")
    origin = world.repository()

    assert shas(world.tick("commits")) == [origin.git("rev-parse", "HEAD")]


def test_an_empty_repository_asks_for_nothing(world: World) -> None:
    """Until the first commit there is nothing to test."""
    folder = world.settings.root / "models"
    folder.mkdir(parents=True)
    origin = Origin(folder / "tides")

    empty = world.tick("commits")
    first = origin.commit("First", src__tide__model_py="")

    assert asked(empty) == ()
    assert shas(world.tick("commits")) == [first]


def test_a_deleted_mirror_is_made_again(world: World, origin: Origin) -> None:
    """It is a cache; without it nothing is tested twice."""
    world.loop("commits")
    shutil.rmtree(world.settings.product_home("tides") / "mirror.git")

    assert asked(world.tick("commits")) == ()
    new = origin.commit("Next", src__tide__next_py="NEXT = 1")
    assert shas(world.tick("commits")) == [new]
