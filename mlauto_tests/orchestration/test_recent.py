"""Users' newest requests, out of the log: which count, how many, and how much of the log is looked at."""

import json
from dataclasses import replace
from typing import Any

import pytest

from mlauto.delivery.replay import LoggedRequest
from mlauto.orchestration import recent, steps
from mlauto.orchestration.recent import recent_requests
from mlauto.records import TrainedModel
from mlauto_tests.orchestration.conftest import World, made_product


def log(world: World, *lines: dict[str, Any]) -> None:
    """Append to the log of predictions."""
    folder = world.settings.product_home("tides") / "predictions"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "predictions-00000000.jsonl"
    first = len(path.read_text().splitlines()) if path.exists() else 0
    with path.open("a") as stream:
        for number, line in enumerate(lines, first):
            written = {"id": f"00000000-{number:08x}-abcd", "t": 1.0 + number, "v": "1", "ms": 5.0, **line}
            stream.write(json.dumps(written) + "\n")


def row(x: float = 0.5, **more: Any) -> dict[str, Any]:
    """A line of a request of one row."""
    return {"rows": [{"x": x, "hour": 3}], "y": [x], **more}


def test_before_anything_is_live_there_is_none(world: World) -> None:
    """A log of which nothing is in production is not asked for."""
    log(world, row())

    assert recent_requests(world.platform, world.product) == []


def test_newest_first_and_so_many(released: World) -> None:
    """Whole requests with the answers that users got."""
    log(released, *[row(float(n)) for n in range(300)])
    found = recent_requests(released.platform, released.product)

    assert len(found) == 200
    assert found[0] == LoggedRequest([{"x": 299.0, "hour": 3}], [299.0], "1")
    assert found[-1].predictions == [100.0]


def test_nothing_is_read_where_nothing_is_wanted(released: World) -> None:
    """`delivery.replay: 0`."""
    log(released, row())

    assert recent_requests(released.platform, made_product(delivery={"replay": 0})) == []


def test_what_got_no_answer_does_not_count(released: World) -> None:
    """Failed requests, damaged lines, and requests of more than a thousand rows."""
    log(
        released, row(), {"error": "no version is ready", "code": 503}, {"rows": [{"x": 1.0}] * 1001, "y": [1.0] * 1001}
    )
    with (released.settings.product_home("tides") / "predictions" / "predictions-00000000.jsonl").open("a") as stream:
        stream.write('{"id": "half a li')

    assert [request.predictions for request in recent_requests(released.platform, released.product)] == [[0.5]]


def test_clients_of_older_columns_do_not_count(released: World) -> None:
    """Only versions whose columns are those of the live one; what is not on record is not known to be."""
    model = released.store.read_record("tides", "models/1", TrainedModel)
    assert model is not None
    older = replace(model.signature, columns={**model.signature.columns, "moon": "string"})
    released.store.write_record("tides", "models/0", replace(model, version="0", signature=older))
    released.store.write_record("tides", "models/2", replace(model, version="2"))
    log(released, row(1.0, v="0"), row(2.0, v="1"), row(3.0, v="2"), row(4.0, v="99"))

    assert [request.version for request in recent_requests(released.platform, released.product)] == ["2", "1"]


def test_a_bounded_part_of_the_log_is_read(released: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is."""
    log(released, *[row(float(n)) for n in range(100)])
    monkeypatch.setattr(recent, "READ_BYTES", 1000)

    assert 5 < len(recent_requests(released.platform, released.product)) < 15


def test_a_candidate_is_asked_what_users_asked(released: World) -> None:
    """The test deployment has the check, which says how many; the log is as long as before."""
    log(released, *[row(float(n)) for n in range(30)])
    released.train()
    steps.build_model_image(released.platform, released.product)
    path = released.settings.product_home("tides") / "predictions" / "predictions-00000000.jsonl"
    before = path.read_bytes()
    deployment = steps.deploy_to_test(released.platform, released.product)

    check = deployment.checks[-1]
    assert (check.name, check.passed, check.details["requests"]) == ("replay", True, 30)
    assert path.read_bytes() == before


def test_a_candidate_that_refuses_a_user_is_not_delivered(released: World) -> None:
    """A request that the live version answered fails the check, and with it the deployment."""
    log(released, row(), {"rows": [{"x": "a word", "hour": 3}], "y": [1.0]})
    released.train()
    steps.build_model_image(released.platform, released.product)
    deployment = steps.deploy_to_test(released.platform, released.product)

    assert not deployment.checks[-1].passed
    assert "1 of users' newest 2 requests fail: column 'x' takes no 'a word'" in deployment.checks[-1].summary
    assert released.runtime.running("tides") == {"1": "ready"}


def test_the_check_may_be_switched_off(released: World) -> None:
    """Then there is none, and nothing is read."""
    product = made_product(delivery={"replay": 0})
    released.train()
    steps.build_model_image(released.platform, product)

    assert [check.name for check in steps.deploy_to_test(released.platform, product).checks] == [
        "contract",
        "parity",
        "latency",
    ]
