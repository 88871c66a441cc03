"""The data sensor over real folders and real batches; runs are executed here, or lost."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest

from mlauto.errors import MlautoError
from mlauto.orchestration.names import DELIVERS_TAG, PRODUCT_TAG
from mlauto.orchestration.sensors import data
from mlauto.records import Batch, TrainingSet, VerifiedCommit
from mlauto.training.batches.landing import pending, settle
from mlauto.training.training_set import accepted_batches, assemble
from mlauto.training.weighting import members_of
from mlauto_tests.orchestration.conftest import World, made_product, rows


def asked(result: dg.SensorResult) -> Sequence[dg.RunRequest]:
    return result.run_requests or ()


def names(request: dg.RunRequest) -> list[str]:
    return [key.path[-1] for key in request.asset_selection or ()]


def reason(result: dg.SensorResult) -> str:
    assert result.skip_reason is not None
    return str(result.skip_reason.skip_message)


def test_an_arrival_is_asked_for_once(world: World) -> None:
    """The file becomes a planned batch with a partition and a request; while its run goes on nothing more is asked."""
    world.land(rows(50), "a.csv")

    first = world.tick("data")
    [request] = asked(first)
    world.start(request)
    second = world.tick("data")

    [key] = pending(world.store, "tides")
    assert request.partition_key == key
    assert request.run_key == f"tides/batch/{key}#1"
    assert names(request) == ["batch", "training_set"]
    assert request.tags[PRODUCT_TAG] == "tides"
    assert world.instance.get_dynamic_partitions("tides_batches") == [key]
    assert asked(second) == ()
    assert second.dynamic_partitions_requests == []
    assert reason(second) == f"tides/batch/{key}: in progress"


def test_a_lost_run_is_asked_for_again_and_then_given_up(world: World) -> None:
    """Attempt 2 and 3 follow; then it is said, tick by tick, and later arrives are not held up."""
    world.land(rows(50), "a.csv")
    keys = []
    for _ in range(3):
        [request] = asked(world.tick("data"))
        keys.append(request.run_key)
        world.lose(request)

    given_up = world.tick("data")
    said_again = world.tick("data")
    world.land(rows(50, 2), "b.csv")
    [later] = asked(world.tick("data"))

    [old, new] = pending(world.store, "tides")
    assert keys == [f"tides/batch/{old}#{attempt}" for attempt in (1, 2, 3)]
    assert asked(given_up) == ()
    assert f"gave up on 1 batches, first {old}: see its failed runs" in reason(given_up)
    assert "gave up on 1 batches" in reason(said_again)
    assert later.partition_key == new


def test_batches_that_were_given_up_stand_in_nobodys_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More hopeless batches than are asked for in a tick, and the next good one is asked for."""
    monkeypatch.setattr(data, "ASKED_PER_TICK", 2)
    for number in range(2):
        world.land(rows(10, number), f"{number}.csv")
        world.tick("data")
    for _ in range(3):
        for request in asked(world.tick("data")):
            world.lose(request)
    world.tick("data")

    world.land(rows(10, 5), "good.csv")
    [request] = asked(world.tick("data"))

    assert request.partition_key == pending(world.store, "tides")[-1]


def test_a_good_file_is_taken_in_and_then_there_is_nothing_new(world: World) -> None:
    """Validated, stored, in the training set; without a verified commit nothing is trained."""
    world.land(rows(50), "a.csv")

    [request] = world.loop("data")
    after = world.tick("data")

    training_set = world.store.read_record("tides", "training_set", TrainingSet)
    assert training_set is not None
    assert [batch.key for batch in training_set.batches] == [request.partition_key]
    assert reason(after) == "nothing new"
    assert json.loads(world.cursors["data"] or "")["tides"]["open"] == []


def test_a_corrupt_file_is_quarantined_and_asked_for_once(world: World) -> None:
    """The run fails at its blocking check, which is the outcome: it is not asked for again, the training set stays."""
    spoiled = rows(50)
    spoiled["x"] = 99.0
    world.land(spoiled, "bad.csv")

    [request] = world.loop("data")

    key = request.partition_key
    batch = world.store.read_record("tides", f"batches/{key}", Batch)
    assert batch is not None
    assert batch.outcome == "quarantined"
    assert [failure.column for failure in batch.validation.failures] == ["x"]
    folder = world.settings.product_home("tides") / "quarantine" / str(key)
    assert sorted(path.name for path in folder.iterdir()) == ["bad.csv", "reason.json"]
    assert world.store.read_record("tides", "training_set", TrainingSet) is None
    [run] = world.instance.get_runs()
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert world.instance.get_run_stats(run.run_id).steps_failed == 1


def test_a_batch_stays_open_until_dagster_has_seen_it(world: World) -> None:
    """A run that was killed after the batch was settled, before its event was written, is asked for again."""
    world.land(rows(50), "a.csv")
    [request] = asked(world.tick("data"))
    world.lose(request)
    settle(world.store, "tides", str(request.partition_key))

    [again] = asked(world.tick("data"))

    assert again.run_key == f"tides/batch/{request.partition_key}#2"


def test_a_training_set_that_lags_behind_is_asked_for(world: World) -> None:
    """The run died between batch and training set; while it goes on, it is left to do that itself."""
    world.land(rows(50), "a.csv")
    world.loop("data")
    world.gather()
    accepted = accepted_batches(world.store, "tides").batches
    world.store.record_path("tides", "training_set").unlink()
    busy = world.start(dg.RunRequest(run_key="x", tags={PRODUCT_TAG: "tides"}))

    waiting = asked(world.tick("data"))
    world.instance.report_run_failed(busy)
    [request] = asked(world.tick("data"))

    assert waiting == ()
    assert names(request) == ["training_set"]
    assert request.run_key == f"tides/training_set/{accepted[-1].key}#1"
    world.run(request)
    assert asked(world.tick("data")) == ()


def test_the_first_data_brings_the_first_model(world: World) -> None:
    """With a verified commit and no model, the batch's run goes on to production."""
    world.repository()
    world.loop("commits")
    world.land(rows(50), "a.csv")

    [request] = asked(world.tick("data"))

    assert names(request) == ["batch", "training_set", "model", "image", "test_deployment", "production"]
    assert request.tags[DELIVERS_TAG] == "tides"


def test_batches_that_come_together_are_trained_on_once(world: World) -> None:
    """Only the last one's run goes on to the model; the others say that they deliver nothing."""
    world.repository()
    world.loop("commits")
    for number in range(3):
        world.land(rows(20, number), f"{number}.csv")
        world.tick("data")

    requests = asked(world.tick("data"))

    assert [len(names(request)) for request in requests] == [2, 2, 6]
    assert [DELIVERS_TAG in request.tags for request in requests] == [False, False, True]
    assert [request.partition_key for request in requests] == list(pending(world.store, "tides"))


def test_a_batch_that_comes_during_a_delivery_delivers_nothing(world: World) -> None:
    """Two first models are not made at once: whoever looks after deliveries goes on from there."""
    world.repository()
    world.loop("commits")
    busy = world.start(dg.RunRequest(tags={DELIVERS_TAG: "tides", PRODUCT_TAG: "tides"}))
    world.land(rows(20, 1), "a.csv")

    [during] = asked(world.tick("data"))
    world.run(during)
    world.instance.report_run_failed(busy)
    [after] = asked(world.tick("live"))

    assert names(during) == ["batch", "training_set"]
    assert DELIVERS_TAG not in during.tags
    assert names(after) == ["model", "image", "test_deployment", "production"]


def test_a_run_that_is_lost_in_the_middle_of_a_tick_does_not_lose_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a delivery under way at one look, and at the next for a batch to be asked for again."""
    world.repository()
    world.loop("commits")
    world.land(rows(50), "a.csv")
    [first] = asked(world.tick("data"))
    run, look = world.start(first), data.active

    def then_lost(instance: dg.DagsterInstance, tags: dict[str, str]) -> bool:
        found = look(instance, tags)
        if look(instance, {DELIVERS_TAG: "tides"}):
            instance.report_run_failed(run, "the worker is gone")
        return found

    monkeypatch.setattr(data, "active", then_lost)
    during, after = asked(world.tick("data")), asked(world.tick("data"))

    assert during == ()
    assert [names(request) for request in after] == [names(first)]
    assert names(first)[-1] == "production"


@pytest.mark.parametrize(
    ("retrain", "gathered", "delivers"),
    [
        ("economy", 3, False),
        ("never", 3, False),
        ("every_batch", 0, True),
        ("quality", 0, True),
        ({"every_batches": 3}, 1, False),
        ({"every_batches": 3}, 2, True),
    ],
)
def test_the_policy_decides_whether_a_batch_is_trained_on(
    released: World, retrain: str | dict[str, int], gathered: int, delivers: bool
) -> None:
    """Economy waits for what the batch shows; a policy that counts batches counts those before and this one."""
    released.products = [made_product(training={"retrain": retrain})]
    for seed in range(gathered):
        released.gather(seed)
    released.land(rows(40, 9), "next.csv")

    [request] = asked(released.tick("data"))

    assert (len(names(request)) == 6) is delivers


def test_a_file_that_is_still_written_is_noted(world: World) -> None:
    """It is neither read nor asked for until it rests."""
    world.land(rows(5), "a.csv")
    world.loop("data")
    folder = world.settings.resolve("landing/tides")
    (folder / "b.csv").write_text("x,hour,y\n1,2,3")

    result = world.tick("data")

    assert asked(result) == ()
    assert reason(result) == "tides: 1 files are still being written"


def test_a_folder_that_cannot_be_read_does_not_stop_another_product(
    tmp_path: Path, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one's batch is asked for; alone, the fault fails the tick."""
    broken, sound = made_product("broken"), made_product("sound")
    world = World.made(tmp_path, instance, broken, sound)
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "broken").write_text("a file where a folder should be")
    world.land(rows(5), "a.csv", sound)

    [request] = asked(world.tick("data"))
    world.start(request)
    with pytest.raises(MlautoError, match=r"broken: .*landing/broken"):
        world.tick("data")

    assert request.tags[PRODUCT_TAG] == "sound"


def test_old_partitions_are_dropped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage is never asked about more partitions than are kept; the newest stay."""
    monkeypatch.setattr(data, "PARTITIONS_KEPT", 3)
    world.instance.add_dynamic_partitions("tides_batches", [f"2000010{n}" for n in range(5)])
    world.land(rows(5), "a.csv")

    [request] = asked(world.tick("data"))

    kept = world.instance.get_dynamic_partitions("tides_batches")
    assert sorted(kept) == ["20000102", "20000103", "20000104", request.partition_key]


def test_a_lost_memory_loses_no_batch(world: World) -> None:
    """With a cursor that was reset, what is pending is asked for under the same name."""
    world.land(rows(50), "a.csv")
    [request] = asked(world.tick("data"))
    world.cursors.clear()

    [again] = asked(world.tick("data"))

    assert again.run_key == request.run_key
    assert world.instance.get_dynamic_partitions("tides_batches") == [request.partition_key]


def test_a_quiet_tick_with_many_files_is_quick(world: World) -> None:
    """Two thousand files that are known already cost a fraction of a second of a processor."""
    folder = world.settings.resolve("landing/tides")
    folder.mkdir(parents=True)
    for number in range(2000):
        (folder / f"{number}.csv").touch()
    world.tick("data")

    began = time.process_time()
    world.tick("data")

    assert time.process_time() - began < 2.0


def test_a_verified_commit_alone_asks_for_no_batch(released: World) -> None:
    """Nothing landed, nothing is asked for; the training set is current."""
    assert released.store.read_record("tides", "verified_commit", VerifiedCommit) is not None
    assemble(released.store, "tides", members_of(released.product.training))

    assert asked(released.tick("data")) == ()
