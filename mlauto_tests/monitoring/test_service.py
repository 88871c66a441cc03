"""The service level from samples of counters: resets, births, windows, bounds that hold, and samples that are none."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.metrics import least_p99, quantile
from mlauto.monitoring.service import (
    BUCKETS,
    IN_FLIGHT,
    LIMIT,
    REQUESTS,
    Series,
    ServiceLevel,
    increase,
    p99_rank,
    service_level,
)
from mlauto.serving.metrics import BUCKETS as EDGES

NOW = 10_000.0


def times(seconds: float = 600.0, every: float = 15.0) -> list[float]:
    """Of scrapes, the newest just now."""
    return [NOW - every * number for number in range(int(seconds / every), -1, -1)]


def series(name: str, values: Sequence[float], at: Sequence[float], **labels: str) -> Series:
    return Series(name=name, labels={"product": "p", **labels}, samples=list(zip(at, values, strict=True)))


def quiet(at: Sequence[float], **labels: str) -> list[Series]:
    """A gateway that is watched, and that nobody asks."""
    return [series(IN_FLIGHT, [0.0] * len(at), at, **labels), series(LIMIT, [512.0] * len(at), at, **labels)]


def traffic(at: Sequence[float], per: float, code: str = "200", version: str = "3", **labels: str) -> Series:
    """So many requests between two scrapes."""
    return series(REQUESTS, [per * n for n in range(len(at))], at, version=version, code=code, **labels)


def histogram(at: Sequence[float], seconds: Sequence[float], version: str = "3") -> list[Series]:
    """All of those requests between the first two scrapes."""
    return [
        series(BUCKETS, [0.0, *[float(sum(s <= bound for s in seconds))] * (len(at) - 1)], at, version=version, le=le)
        for bound, le in [*((bound, str(bound)) for bound in EDGES), (math.inf, "+Inf")]
    ]


def level(*found: Series, recent: float = 300.0, now: float = NOW) -> ServiceLevel:
    return service_level(found, version="3", now=now, recent=recent)


def test_requests_and_errors_of_the_window_are_exact() -> None:
    """Twenty intervals of ten requests and one failure: 4xx are the client's, other versions are others."""
    at = times()
    found = level(
        *quiet(at),
        traffic(at, 10),
        traffic(at, 1, "503"),
        traffic(at, 7, "422", version=""),
        traffic(at, 50, version="2"),
        traffic(at, 50, "500", version="2"),
    )

    assert (found.requests, found.errors) == (220, 20)
    assert found.until - found.since == 300.0


def test_a_failure_without_a_version_is_the_products() -> None:
    """When nobody was there to answer, users failed all the same; Prometheus drops the empty label."""
    at = times()
    found = level(*quiet(at), traffic(at, 10), replace(traffic(at, 1, "503"), labels={"product": "p", "code": "503"}))

    assert (found.requests, found.errors) == (220, 20)


@pytest.mark.parametrize(
    ("values", "born", "expected"),
    [
        ([5, 6, 9], False, 4),
        ([5, 6, 9], True, 9),  # it came up while the gateway was being watched: at 0
        ([5, 9, 2, 3], False, 7),  # a restart: 4 before it, 3 after
        ([9, 0, 0], False, 0),
        ([7], False, 0),
        ([7], True, 7),
        ([], True, 0),
    ],
)
def test_increases_survive_restarts_and_births(values: list[float], born: bool, expected: float) -> None:
    """What fell began anew."""
    assert increase(list(enumerate(values)), -1, born=born) == expected


def test_an_increase_begins_at_the_last_sample_before_the_window() -> None:
    """Not at the first one within it, or a whole interval would be lost."""
    samples = [(0.0, 10.0), (15.0, 20.0), (30.0, 40.0)]

    assert increase(samples, 20.0, born=False) == 20
    assert increase(samples, 15.0, born=False) == 20
    assert increase(samples, 0.0, born=False) == 30
    assert increase(samples, 30.0, born=True) == 0


@pytest.mark.parametrize("seed", range(20))
def test_any_restarts_at_any_time_lose_only_what_no_scrape_saw(seed: int) -> None:
    """Random traffic and restarts: the increase is never more than the truth, and exact without restarts."""
    random = np.random.default_rng(seed)
    at, counter, truth, seen = times(), 0, 0, []
    for number in range(len(at)):
        new = int(random.integers(0, 30)) if number else 0
        if seed % 2 and random.random() < 0.2:
            counter = 0
        counter, truth = counter + new, truth + new
        seen.append(float(counter))
    found = increase(list(zip(at, seen, strict=True)), at[0], born=False)

    assert found <= truth
    assert seed % 2 or found == truth


def test_a_new_versions_first_failures_count() -> None:
    """Its series begin within the window with the failures already in them: PromQL's increase() would see none."""
    at = times()
    found = level(*quiet(at), series(REQUESTS, [57.0] * 5, at[-5:], version="3", code="500"))

    assert (found.requests, found.errors) == (57, 57)


def test_a_series_that_is_as_old_as_the_samples_is_not_new() -> None:
    """Prometheus began to watch a gateway that has counted for days: those are not this window's."""
    at = times(120)
    found = level(*quiet(at), series(REQUESTS, [1e6 + n for n in range(len(at))], at, version="3", code="200"))

    assert found.requests == len(at) - 1


def test_gateways_are_summed_and_births_are_judged_by_their_own() -> None:
    """Another gateway's earlier samples say nothing about one that has just come into view."""
    at = times()
    late = at[-4:]
    found = level(
        *quiet(at, instance="a"),
        traffic(at, 10, instance="a"),
        *quiet(late, instance="b"),
        series(REQUESTS, [9000, 9001, 9002, 9003], late, version="3", code="200", instance="b"),
    )

    assert found.requests == 203


def test_a_quiet_window_reaches_back() -> None:
    """Until it holds a hundred requests, twelve times as far at most."""
    at = times(3600)

    assert level(*quiet(at), traffic(at, 1)).requests == 160  # 20 in 5 minutes, 40, 80, then enough
    assert level(*quiet(at), traffic(at, 0.1)).since == at[0]
    assert level(*quiet(at), traffic(at, 10)).since == NOW - 300


def test_the_window_holds_a_few_scrapes() -> None:
    """Where they are rarer than the window is long."""
    at = times(3600, every=200.0)
    found = level(*quiet(at), traffic(at, 1000))

    assert found.requests == 4000


def test_nobody_asked() -> None:
    """A gateway that is watched and idle: no requests, no latency, which is no fault."""
    found = level(*quiet(times()))

    assert (found.requests, found.errors, found.p99_ms, found.p99_low_ms) == (0, 0, None, None)
    assert found.saturation == 0.0


def test_saturation_is_the_fullest_that_was_seen() -> None:
    """In parts of the limit, within the window."""
    at = times()
    busy = [500.0, *[1.0] * (len(at) - 3), 128.0, 2.0]  # the first is before the window
    found = level(series(IN_FLIGHT, busy, at), series(LIMIT, [512.0] * len(at), at))

    assert found.saturation == 0.25


@pytest.mark.parametrize("n", [0, 10, 300, 2000, 12_000])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_from_buckets_is_below_the_exact_one(n: int, seed: int) -> None:
    """And in its bucket; the quantiles are in the buckets of the exact ones, too."""
    random = np.random.default_rng(seed)
    seconds = sorted(random.lognormal(-3, 1.2, n).tolist())
    at = times()
    found = level(*quiet(at), *histogram(at, seconds), recent=900.0)

    exact = least_p99(seconds)
    if exact is None:
        assert found.p99_low_ms is None
    else:
        lower = max((edge for edge in (0.0, *EDGES) if edge < exact), default=0.0)
        assert found.p99_low_ms == pytest.approx(1000 * lower)
        assert found.p99_low_ms < 1000 * exact
    for share, said in ((0.5, found.p50_ms), (0.99, found.p99_ms)):
        true = quantile(seconds, share)
        if true is None:
            assert said is None
        else:
            upper = next((edge for edge in EDGES if edge >= true), math.inf)
            lower = max((edge for edge in (0.0, *EDGES) if edge < true), default=0.0)
            assert said is not None
            assert 1000 * lower <= said <= 1000 * upper + 1e-6


def test_all_beyond_an_objective_that_is_an_edge_is_beyond_it() -> None:
    """A bucket holds what is above its lower edge, so the bound is above it, too."""
    at = times()
    slow = level(*quiet(at), *histogram(at, [0.06] * 500), recent=900.0)
    met = level(*quiet(at), *histogram(at, [0.05] * 500), recent=900.0)

    assert slow.p99_low_ms is not None
    assert slow.p99_low_ms > 50.0
    assert met.p99_low_ms is not None
    assert met.p99_low_ms < 50.0


def test_the_bound_errs_as_rarely_as_it_says() -> None:
    """Over 4,000 samples of 700: the true quantile is below the bound in 2.5 % at most."""
    random = np.random.default_rng(1)
    rank = p99_rank(700)
    assert rank is not None
    above = np.sort(random.random((4000, 700)), axis=1)[:, rank] > 0.99

    assert above.mean() <= 0.03


def test_samples_from_the_future_are_none() -> None:
    """Clocks that differ: how old they are cannot be told."""
    at = times()

    assert level(*quiet(at), now=NOW - 4).requests == 0
    with pytest.raises(MeasurementError, match="7 s ahead of this machine's clock"):
        level(*quiet(at), now=NOW - 7)


def broken(change: Any) -> list[Series]:
    at = times()
    return [change(one) for one in (*quiet(at), traffic(at, 10), *histogram(at, [0.01] * 50))]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("name", [REQUESTS, BUCKETS, IN_FLIGHT, LIMIT])
def test_what_is_no_count_is_no_measurement(name: str, value: float) -> None:
    """One such sample anywhere."""
    found = broken(lambda one: replace(one, samples=[*one.samples[:-1], (NOW, value)]) if one.name == name else one)

    with pytest.raises(MeasurementError, match=f"{name} has a sample that is no count"):
        level(*found)


def test_other_broken_samples() -> None:
    """Out of order, a bound that is no number, a histogram without its end: each is named."""
    with pytest.raises(MeasurementError, match="not in order of time"):
        level(*broken(lambda one: replace(one, samples=one.samples[::-1])))
    with pytest.raises(MeasurementError, match="le='much', which is no number"):
        level(*broken(lambda one: replace(one, labels={**one.labels, "le": "much"}) if one.name == BUCKETS else one))
    with pytest.raises(MeasurementError, match=r"no bucket \+Inf"):
        level(*(one for one in broken(lambda one: one) if one.labels.get("le") != "+Inf"))


def test_nothing_is_not_nobody() -> None:
    """No series at all, or one sample: unknown, where an idle gateway is not."""
    with pytest.raises(MeasurementError, match="no sample of mlauto_requests_in_flight"):
        level()
    with pytest.raises(MeasurementError, match="no sample of mlauto_requests_in_flight"):
        level(traffic(times(), 10))
    with pytest.raises(MeasurementError, match="one sample only"):
        level(*quiet([NOW]), traffic([NOW], 10))


@pytest.mark.parametrize(("every", "age", "stale"), [(15, 59, False), (15, 61, True), (1, 4, False), (1, 6, True)])
def test_old_samples_are_stale(every: float, age: float, stale: bool) -> None:
    """After four intervals, and five seconds at least."""
    at = times(every=every)
    if not stale:
        assert level(*quiet(at), traffic(at, 50), now=NOW + age).requests > 100
        return
    with pytest.raises(MeasurementError, match=f"newest sample is {age} s old, and there is one every {every} s"):
        level(*quiet(at), traffic(at, 50), now=NOW + age)
