"""Traffic against the real gateway and real model servers: a rollout under load, labels, and the way back by `why`."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlauto.commands.client import GatewayClient
from mlauto.commands.gateway import gateway_state, render
from mlauto.commands.traffic import Request, Traffic
from mlauto.commands.why import explain
from mlauto.runtime.base import Route
from mlauto.runtime.local import LocalRuntime
from mlauto.settings import Settings
from mlauto_tests.serving.conftest import ROW, bundles, copied, eventually, free_port

__all__ = ["bundles", "copied"]

pytestmark = pytest.mark.live


@pytest.fixture
def here(settings: Settings) -> Settings:
    """Settings with a free port."""
    return dataclasses.replace(settings, gateway_port=free_port())


@pytest.fixture
def runtime(here: Settings) -> Iterator[LocalRuntime]:
    """A runtime whose gateway is ended after the test."""
    found = LocalRuntime(here)
    yield found
    found.shut_down()


def endless() -> Iterator[Request]:
    """Two rows a request, one with gaps, and their labels."""
    while True:
        yield Request(rows=[ROW, {**ROW, "temp": None, "sky": None}], labels=[40.0, 41.0])


def test_a_rollout_under_traffic_loses_nothing(
    here: Settings, runtime: LocalRuntime, copied: Callable[[str], Path]
) -> None:
    """Every request before, during and after the switch has a whole answer, and its labels are taken."""
    images = {v: runtime.build("bikes", v, "key", copied(f"bikes-{v}")) for v in ("1", "2")}
    runtime.start("bikes", images["1"])
    runtime.switch("bikes", Route("1"))

    with GatewayClient(here.gateway_url, "bikes") as client, Traffic(client, endless(), rate=300) as traffic:
        eventually(lambda: traffic.answering and traffic.answering.requests > 20, "traffic to version 1")
        runtime.start("bikes", images["2"])
        runtime.switch("bikes", Route("2", "1"))
        eventually(
            lambda: traffic.answering and traffic.answering.version == "2" and traffic.answering.requests > 20,
            "traffic to version 2",
        )
        tally = traffic.stop()

    tally.require_no_failure()
    assert set(tally.by_version) == {"1", "2"}
    assert tally.labelled == tally.rows == 2 * tally.requests
    assert [outcome.version for outcome in traffic.outcomes()] == sorted(o.version or "" for o in traffic.outcomes())
    text = render(gateway_state(here))
    assert "bikes 2: champion ready" in text
    assert "bikes 1: fallback ready" in text


def test_why_finds_what_a_client_was_told(here: Settings, runtime: LocalRuntime, copied: Callable[[str], Path]) -> None:
    """The id in the answer leads to the same rows, predictions, version and labels."""
    runtime.start("bikes", runtime.build("bikes", "1", "key", copied("bikes-1")))
    runtime.switch("bikes", Route("1"))

    with GatewayClient(here.gateway_url, "bikes") as client:
        outcome = client.ask([ROW])
        assert outcome.prediction_id is not None
        client.label({outcome.prediction_id: [39.5]})

    found = explain(here, outcome.prediction_id)
    assert (found.product, found.version) == ("bikes", "1")
    assert found.predictions == pytest.approx(outcome.predictions)
    assert found.rows == (ROW,)
    assert found.labels == (39.5,)
    assert found.answered == pytest.approx(outcome.sent, abs=5)


def test_a_client_mistake_is_the_clients_failure(
    here: Settings, runtime: LocalRuntime, copied: Callable[[str], Path]
) -> None:
    """An unknown column is a 4xx whose sentence names it; an unknown product likewise."""
    runtime.start("bikes", runtime.build("bikes", "1", "key", copied("bikes-1")))
    runtime.switch("bikes", Route("1"))

    with GatewayClient(here.gateway_url, "bikes") as client, GatewayClient(here.gateway_url, "trams") as other:
        wrong, nobody = client.ask([{**ROW, "colour": "red"}]), other.ask([ROW])

    assert 400 <= wrong.status < 500
    assert "colour" in (wrong.problem or "")
    assert nobody.status == 404
    assert "trams" in (nobody.problem or "")
