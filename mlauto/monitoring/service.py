"""The service level of one version from samples of the gateway's counters, whoever took them: a pure computation.

Increases are taken between samples, not by Prometheus' `increase()`, which scales them up to the window's edges and
never counts a series' first value: the first errors of a new version would be invisible. A counter that fell began
anew, as after a restart; one that came up while its target was being watched began at 0.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from mlauto.errors import MeasurementError

__all__ = ["FEWEST_REQUESTS", "LONGEST", "NAMES", "Series", "ServiceLevel", "increase", "p99_rank", "service_level"]

REQUESTS, BUCKETS = "mlauto_requests_total", "mlauto_request_seconds_bucket"
IN_FLIGHT, LIMIT = "mlauto_requests_in_flight", "mlauto_requests_in_flight_limit"
NAMES = (REQUESTS, BUCKETS, IN_FLIGHT, LIMIT)
OWN_LABELS = frozenset({"__name__", "product", "version", "code", "le"})  # what is left says which gateway it was
FEWEST_REQUESTS = 100  # a quiet product's window reaches back until it holds that many, up to LONGEST times as long
LONGEST = 12
FEWEST_INTERVALS = 4  # of scrapes in a window: a difference over fewer says little
STALE_INTERVALS, STALE_SECONDS = 4, 5.0  # the newest sample may be older than neither; a busy machine scrapes late


@dataclass(frozen=True, kw_only=True)
class Series:
    """One time series: its name, its labels, and its samples (seconds since the epoch, value), oldest first."""

    name: str
    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]

    @property
    def target(self) -> frozenset[tuple[str, str]]:
        """Which gateway it was taken from."""
        return frozenset(item for item in self.labels.items() if item[0] not in OWN_LABELS)


@dataclass(frozen=True, kw_only=True)
class ServiceLevel:
    """What users saw of a version from `since` to `until`; the client's own mistakes (4xx) are no requests of it.

    `saturation` is the largest share of the gateway's limit of requests in flight that any sample saw.
    """

    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    p99_low_ms: float | None
    saturation: float | None
    since: float
    until: float


def service_level(series: Sequence[Series], *, version: str, now: float, recent: float) -> ServiceLevel:
    """The level of `version` over the last `recent` seconds, or four scrapes where those take longer.

    A window with fewer than 100 requests reaches back until it holds as many, as far as there are samples, 12 times as
    far at most. `series` are those of one product. Raises `MeasurementError` when they are empty, stale, too few, or no
    numbers that a counter may have: then nothing is known, and nothing is well.
    """
    _check(series)
    watched = {one.target: one.samples for one in series if one.name == IN_FLIGHT and one.samples}
    if not watched:
        raise MeasurementError(f"there is no sample of {IN_FLIGHT}: is the gateway scraped?")
    newest = max(watched.values(), key=lambda samples: samples[-1][0])
    times = [time for time, _ in newest]
    if len(times) < 2:
        raise MeasurementError("there is one sample only, and no difference yet")
    interval = median(later - earlier for earlier, later in pairwise(times))
    if times[-1] - now > STALE_SECONDS:
        raise MeasurementError(f"the newest sample is {times[-1] - now:.0f} s ahead of this machine's clock")
    if now - times[-1] > max(STALE_INTERVALS * interval, STALE_SECONDS):
        raise MeasurementError(
            f"the newest sample is {now - times[-1]:.0f} s old, and there is one every {interval:g} s"
        )
    ours = [one for one in series if one.labels.get("version", "") in {version, ""}]
    first, length = times[0], max(recent, FEWEST_INTERVALS * interval)
    while True:
        since = max(first, now - length)
        found = _level(ours, watched, since, times[-1])
        if found.requests >= FEWEST_REQUESTS or since == first or length >= LONGEST * recent:
            return found
        length *= 2


def increase(samples: Sequence[tuple[float, float]], since: float, *, born: bool) -> float:
    """How far a counter went up after `since`, resets included; `born`: it began within the samples, at 0."""
    values = [value for time, value in samples if time > since]
    before = [value for time, value in samples if time <= since]
    if not values:
        return 0.0
    last = before[-1] if before else 0.0 if born else values[0]
    total = 0.0
    for value in values:
        total += value - last if value >= last else value
        last = value
    return total


def p99_rank(n: int) -> int | None:
    """Which of `n` sorted values is the lower 97.5 % confidence bound of their 99 % quantile; None when none is.

    So many times may exceed the true quantile by chance as a binomial variable (n, 0.01) reaches with 97.5 %.
    """
    if n > 10_000:  # normal there, and 0.99**n has no float in the end
        return n - math.ceil(0.01 * n + 1.96 * math.sqrt(0.0099 * n)) - 1
    exceeding, chance = 0, 0.99**n
    total = chance
    while total < 0.975:
        chance *= (n - exceeding) / (exceeding + 1) * (0.01 / 0.99)
        exceeding += 1
        total += chance
    return n - exceeding - 1 if exceeding < n else None


def _check(series: Iterable[Series]) -> None:
    for one in series:
        if not all(math.isfinite(value) and value >= 0 for _, value in one.samples):
            raise MeasurementError(f"{one.name} has a sample that is no count")
        if any(not earlier[0] < later[0] for earlier, later in pairwise(one.samples)):
            raise MeasurementError(f"the samples of {one.name} are not in order of time")


def _level(
    series: Sequence[Series],
    watched: Mapping[frozenset[tuple[str, str]], Sequence[tuple[float, float]]],
    since: float,
    until: float,
) -> ServiceLevel:
    answered = errors = 0.0
    buckets: defaultdict[float, float] = defaultdict(float)
    busy: defaultdict[float, float] = defaultdict(float)
    limits: defaultdict[float, float] = defaultdict(float)
    for one in series:
        witness = watched.get(one.target)
        born = witness is not None and bool(one.samples) and witness[0][0] < one.samples[0][0]
        if one.name == REQUESTS:
            code, counted = one.labels.get("code", ""), increase(one.samples, since, born=born)
            answered += counted if code == "200" else 0.0
            errors += counted if code.startswith("5") else 0.0
        elif one.name == BUCKETS and one.labels.get("version"):
            buckets[_bound(one.labels.get("le", ""))] += increase(one.samples, since, born=born)
        elif one.name in (IN_FLIGHT, LIMIT):
            into = busy if one.name == IN_FLIGHT else limits
            for time, value in one.samples:
                into[time] += value if time > since else 0.0
    shares = [busy[time] / limit for time, limit in limits.items() if limit > 0]
    return ServiceLevel(
        requests=round(answered + errors),
        errors=round(errors),
        saturation=max(shares, default=None),
        since=since,
        until=until,
        **_latency(buckets),
    )


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MeasurementError(f"{BUCKETS} has le={text[:40]!r}, which is no number") from None


def _latency(cumulative: Mapping[float, float]) -> dict[str, float | None]:
    """Quantiles of cumulative counts by upper bounds in seconds, interpolated; the low one is a bucket's lower edge."""
    bounds = sorted(cumulative)
    if bounds and bounds[-1] != math.inf:
        raise MeasurementError(f"{BUCKETS} has no bucket +Inf")
    counts: list[float] = []
    for bound in bounds:  # a series that is a scrape behind must not make a bucket negative
        counts.append(max(round(cumulative[bound]), counts[-1] if counts else 0))
    n = int(counts[-1]) if counts else 0
    rank = p99_rank(n)
    low = None if rank is None else _edges(bounds, counts, rank + 1)[0]
    return {
        "p50_ms": _quantile(bounds, counts, 0.5),
        "p99_ms": _quantile(bounds, counts, 0.99),
        # all in a bucket is above its lower edge: on an objective that is an edge, that decides
        "p99_low_ms": math.nextafter(1000 * low, math.inf) if low else low,
    }


def _edges(bounds: Sequence[float], counts: Sequence[float], rank: float) -> tuple[float, float, int]:
    """The edges in seconds of the bucket that holds the value of that rank (from 1), and its place."""
    place = next(place for place, count in enumerate(counts) if count >= rank)
    return (bounds[place - 1] if place else 0.0), bounds[place], place


def _quantile(bounds: Sequence[float], counts: Sequence[float], level: float) -> float | None:
    if not counts or not counts[-1]:
        return None
    rank = level * counts[-1]
    low, high, place = _edges(bounds, counts, rank)
    if high == math.inf:
        return 1000 * low
    before = counts[place - 1] if place else 0
    return 1000 * (low + (high - low) * (rank - before) / (counts[place] - before))
