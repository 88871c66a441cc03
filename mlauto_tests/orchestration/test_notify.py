"""What people are told of a product, from its records, until it arrives at a real web server."""

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mlauto.commands.loop import free_port
from mlauto.delivery.progress import Rollout, Stage
from mlauto.orchestration.notify import announce, seen_of
from mlauto.orchestration.outbox import Outbox
from mlauto.orchestration.receivers import receivers
from mlauto.records import Batch, CheckOutcome, CheckResult, CiReport, Commit, Deployment, Problem, Validation
from mlauto_tests.orchestration.conftest import World, made_product
from mlauto_tests.orchestration.listeners import Heard, http_listener

TRUTH = [float(number % 24) for number in range(40)]
BAD = [y + 9.0 for y in TRUTH]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http_listener() as listener:
        yield listener


def told(world: World, port: int) -> World:
    """The same installation, with a webhook."""
    settings = replace(world.settings, notify_webhook=f"http://127.0.0.1:{port}/hook")
    return replace(world, settings=settings, platform=replace(world.platform, settings=settings))


def settle() -> None:
    """Wait for what the sensor's own threads send."""
    for thread in threading.enumerate():
        if thread.name == "notices":
            thread.join(20)


def sent(world: World, heard: Heard) -> list[tuple[str, str]]:
    """Kind and text of what arrived, after all that waits was sent."""
    settle()
    Outbox(world.store, receivers(world.settings)).send()
    return [(body["kind"], body["text"]) for body in heard.bodies]


def test_an_incident_is_told_from_the_sensor_s_ticks(released: World, heard: Heard) -> None:
    """Opening with the retraining, and the end; a check that fails needs no run that fails."""
    world = told(released, heard.port)
    world.products = [made_product(monitoring={"every": "0s", "min_labels": 20, "window": 40, "max_attempts": 1})]
    world.tick("live")
    world.serve(TRUTH, BAD)
    world.gather()
    [request] = world.tick("live").run_requests or ()
    world.run(request)
    for _ in range(3):
        world.serve(TRUTH, TRUTH)
        world.tick("live")

    arrived = sent(world, heard)

    assert [kind for kind, _ in arrived] == ["incident_opened", "incident_closed"]
    assert arrived[0][1].startswith("quality: attempt 1 of 1, on new data: mae 9")
    assert arrived[1][1].startswith("3 healthy windows: mae")


def test_a_receiver_that_is_down_fails_no_tick(released: World) -> None:
    """The letter waits, `mlauto status` has the problem, and the retraining is asked for all the same."""
    world = told(released, free_port())
    world.tick("live")
    world.serve(TRUTH, BAD)
    world.gather()

    [request] = world.tick("live").run_requests or ()
    settle()
    Outbox(world.store, receivers(world.settings)).send(9e9)

    assert request.tags["mlauto/trigger"] == "incident"
    problem = world.store.read_record("tides", "problems/notices", Problem)
    assert problem is not None
    assert problem.text == "notices are not sent, and tried again: webhook: ConnectError"
    assert len(list((world.settings.home / "outbox").glob("*.json"))) == 1


def test_a_record_that_cannot_be_read_fails_no_tick(released: World) -> None:
    """It is the problem `told`, and the tick goes on to its end."""
    world = told(released, free_port())
    world.tick("live")
    world.store.record_path("tides", "told").write_text("{")
    world.serve(TRUTH, TRUTH)

    result = world.tick("live")

    assert "nobody is told of changes" in str(result.skip_reason)
    assert len(result.asset_events) == 5
    problem = world.store.read_record("tides", "problems/told", Problem)
    assert problem is not None


def test_killed_between_the_letter_and_its_memory(released: World, heard: Heard) -> None:
    """The same letter again: never none."""
    world = told(released, heard.port)
    outbox = Outbox(world.store, receivers(world.settings))
    announce(world.store, "tides", outbox, 1.0)
    before = world.store.record_path("tides", "told").read_bytes()
    red(world)
    assert announce(world.store, "tides", outbox, 2.0) == 1
    world.store.record_path("tides", "told").write_bytes(before)
    assert announce(world.store, "tides", outbox, 3.0) == 1

    assert sent(world, heard) == [("red_commit", "commit bad000000000 Break it failed pytest -q")]
    assert announce(world.store, "tides", outbox, 4.0) == 0


def test_nobody_to_tell_costs_nothing(released: World) -> None:
    """No record is read or written."""
    assert announce(released.store, "tides", Outbox(released.store, {}), 1.0) == 0
    assert not released.store.record_path("tides", "told").exists()


def red(world: World) -> None:
    commit = Commit(sha="bad" + "0" * 37, tree="t", subject="Break it", author="Bob", time=5.0)
    result = CheckResult(kind="tests", command="pytest -q", passed=False, seconds=1.0, output="boom")
    world.store.write_record("tides", f"reports/{commit.sha}", CiReport(commit=commit, results=(result,)))
    os.utime(world.store.record_path("tides", f"reports/{commit.sha}"), (9e9, 9e9))


def write(world: World, records: Mapping[str, Any]) -> None:
    for name, record in records.items():
        world.store.write_record("tides", name, record)


def test_what_there_is_to_tell(released: World) -> None:
    """A red commit, a batch in quarantine, a model and a test that failed, a rollout that was given up."""
    assert seen_of(released.store, "tides").events == []
    failed = CheckOutcome(name="valid", passed=False, summary="not finite")
    red(released)
    batch = Batch(
        key="b9", files=(), rows=0, digest=None, validation=Validation(passed=False, evaluated=1), arrived=1.0
    )
    folder = released.settings.product_home("tides") / "quarantine" / "b9"
    folder.mkdir(parents=True)
    (folder / "reason.json").write_bytes(msgspec.json.encode(batch))
    released.train(checks=(failed,))
    test = Deployment(environment="test", version="2", image="d", since=1.0, checks=(failed,))
    rollout = Rollout(
        version="2", image="d", champion="1", began=1.0, since=2.0, stage=Stage.ABORTED, why="it fails", sequence=7
    )
    write(
        released, {"test_deployment": test, "rollout": rollout, "problems/x": Problem(where="x", since=1.0, text="y")}
    )

    seen = seen_of(released.store, "tides")

    assert [(event.kind, event.key, event.text) for event in seen.events[1:]] == [
        ("batch_quarantined", "b9", "batch b9: see reason.json"),
        ("model_refused", "2", "version 2: valid: not finite"),
        ("test_failed", "2", "version 2: valid: not finite"),
        ("rollout_refused", "2/7", "version 2 aborted: it fails"),
    ]
    assert seen.events[0].kind == "red_commit"
    assert [problem.where for problem in seen.problems] == ["x"]
