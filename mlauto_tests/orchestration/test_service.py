"""Which source the live metrics' service level has, and what becomes of a verdict when that source fails."""

import time
from dataclasses import replace

import pytest

from mlauto.errors import DeliveryError
from mlauto.measured import LiveMetrics
from mlauto.monitoring.prometheus import Prometheus
from mlauto.orchestration.live import Retrainings, observe, with_action
from mlauto.orchestration.service import with_service_level
from mlauto.records import Action, Status
from mlauto_tests.monitoring.test_prometheus import matrix, played, samples, says
from mlauto_tests.monitoring.test_scrapes import counted, text
from mlauto_tests.orchestration.conftest import World

TRUTH = [float(number % 24) for number in range(40)]
BAD = [y + 9.0 for y in TRUTH]


@pytest.fixture
def served(released: World) -> World:
    """With labelled requests in the log: quality is well."""
    released.serve(TRUTH, TRUTH)
    return released


def with_prometheus(world: World, address: str) -> World:
    world.platform = replace(world.platform, prometheus=Prometheus(address))
    return world


def seen(world: World) -> LiveMetrics:
    return observe(world.platform, world.product).metrics


def test_without_a_gateway_to_ask_the_log_says(served: World) -> None:
    """The figures of the newest requests."""
    metrics = seen(served)

    assert (metrics.service, metrics.requests, metrics.p50_ms) == ("log", 40, 5.0)
    assert metrics.service_problem is None


def test_from_the_second_look_on_the_gateways_counters_say(served: World) -> None:
    """The first one has nothing to compare with: what they count began long ago."""
    name = served.product.name
    served.runtime.counted = text(counted(1000, 500, version="1", product=name), product=name)
    first = seen(served)
    served.runtime.counted = text(counted(1200, 503, version="1", product=name), product=name)
    time.sleep(0.01)
    second = seen(served)

    assert (first.service, first.requests) == ("log", 40)
    assert (second.service, second.requests, second.errors) == ("gateway", 203, 3)
    assert second.p99_low_ms == pytest.approx(7.5)


@pytest.mark.parametrize("broken", ["<html>", DeliveryError("http://x/metrics: 500 no")])
def test_counters_that_cannot_be_read_are_unknown(served: World, broken: str | DeliveryError) -> None:
    """The gateway answers, but not this."""
    if isinstance(broken, str):
        served.runtime.counted = broken
    else:
        served.runtime.unmetered = broken
    found = observe(served.platform, served.product)

    assert found.verdict.status is Status.UNKNOWN
    assert found.metrics.service == "gateway"
    assert found.metrics.requests == 0
    assert found.verdict.cause == found.metrics.service_problem


def test_prometheus_says_where_one_is_set(served: World) -> None:
    """Its samples count, and not the log's nor the gateway's own."""
    served.runtime.counted = "<html>"
    now, labels = time.time(), {"__name__": "mlauto_requests_total", "product": served.product.name, "version": "1"}
    watched = {"__name__": "mlauto_requests_in_flight", "product": served.product.name}
    answer = matrix(
        (watched, samples([0] * 41, newest=now)),
        ({**labels, "code": "200"}, samples([9 * n for n in range(41)], newest=now)),
        ({**labels, "code": "500"}, samples(list(range(41)), newest=now)),
    )
    with played(says(answer)) as (address, _):
        found = observe(with_prometheus(served, address).platform, served.product)

    assert (found.metrics.service, found.metrics.errors) == ("prometheus", 20)
    assert found.verdict.status is Status.DEGRADED
    assert "20 of 200 requests failed" in found.verdict.cause


WATCHED = {"__name__": "mlauto_requests_in_flight", "product": "tides"}
FAULTS = {
    "down": None,
    "error": says("no", 500),
    "html": says("<html>"),
    "empty": says(matrix()),
    "stale": says(matrix((WATCHED, samples([0] * 9, newest=time.time() - 600)))),
    "of another time": says(matrix((WATCHED, samples([0] * 9, newest=time.time() + 6000)))),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("said", [TRUTH, BAD])
def test_prometheus_failing_is_unknown_alerts_and_never_retrains(
    released: World, fault: str, said: list[float]
) -> None:
    """Whatever the quality is; with a well Prometheus the same bad quality retrains."""
    released.serve(TRUTH, said)
    released.gather()
    play = FAULTS[fault]
    with played(play or says("")) as (there, _):
        address = "http://127.0.0.1:9" if play is None else there
        world = with_prometheus(released, address)
        observed = observe(world.platform, world.product)
    verdict = with_action(world.platform, world.product, observed, Retrainings(), delivering=False)

    assert verdict.status is Status.UNKNOWN
    assert verdict.action is Action.ALERT
    assert verdict.cause.startswith(f"Prometheus at {address}: ")
    assert ("meanwhile mae" in verdict.cause) == (said is BAD)
    assert {check.name for check in verdict.checks if not check.passed} >= {"service_level", "data_available"}
    assert observed.metrics.requests == 0

    world.platform = replace(world.platform, prometheus=None)
    healed = observe(world.platform, world.product)
    acted = with_action(world.platform, world.product, healed, Retrainings(), delivering=False)
    assert acted.action is (Action.RETRAIN if said is BAD else Action.NONE)


def test_a_tick_with_prometheus_down_asks_for_nothing(released: World) -> None:
    """The sensor reports failing checks, and requests no run."""
    released.serve(TRUTH, BAD)
    released.gather()
    result = with_prometheus(released, "http://127.0.0.1:9").tick("live")

    checks = {one.check_name: one.passed for one in result.asset_events if hasattr(one, "check_name")}
    assert checks["service_level"] is False
    assert checks["data_available"] is False
    assert result.run_requests == []


def test_what_could_not_be_measured_at_all_is_left_alone(served: World) -> None:
    """Before a release, and when the log is unreadable: that has its own cause."""
    nothing = replace(seen(served), version=None)
    broken = replace(seen(served), problem="the log cannot be read")

    assert with_service_level(served.platform, served.product, nothing) is nothing
    assert with_service_level(served.platform, served.product, broken) is broken
