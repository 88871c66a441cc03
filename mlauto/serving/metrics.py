"""Counters kept by hand and rendered as Prometheus text when somebody asks: cheaper on the hot path than a client."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

__all__ = ["BUCKETS", "FAMILIES", "Family", "Metrics", "heading", "sample"]

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
Key = tuple[str, ...]


class Family(NamedTuple):
    """What Prometheus is told of a metric: counter, gauge or histogram; its labels; what it says."""

    kind: str
    labels: Key
    help: str


VERSIONED = ("product", "version")
FAMILIES = {  # all that this process counts or knows by itself
    "mlauto_requests_total": Family("counter", (*VERSIONED, "code"), "Answered requests, by HTTP status."),
    "mlauto_predicted_rows_total": Family("counter", VERSIONED, "Rows in the requests that were predicted."),
    "mlauto_retries_total": Family("counter", VERSIONED, "Requests that another version or process had to answer."),
    "mlauto_shadow_requests_total": Family("counter", (*VERSIONED, "outcome"), "Copies of requests to a candidate."),
    "mlauto_labels_total": Family("counter", ("product",), "Labels that came in over HTTP."),
    "mlauto_log_failures_total": Family("counter", ("product",), "Predictions that could not be logged."),
    "mlauto_request_seconds": Family("histogram", VERSIONED, "Time from a predicted request's arrival to its reply."),
    "mlauto_version_ready": Family("gauge", VERSIONED, "1 when the version can answer."),
    "mlauto_version_champion": Family("gauge", VERSIONED, "1 when the version answers users."),
    "mlauto_version_starts": Family("gauge", VERSIONED, "How often the version's process was started."),
    "mlauto_gateway_pid": Family("gauge", (), "The process that leads."),
    "mlauto_gateway_workers": Family("gauge", (), "Processes that answer users."),
}
SUMMED = ("requests", "rows", "retries", "labels", "shadows", "log_failures", "_seconds")


class Metrics:
    """What happened since the process started, by product and version."""

    def __init__(self) -> None:
        self.requests: dict[Key, int] = defaultdict(int)
        self.rows: dict[Key, int] = defaultdict(int)
        self.retries: dict[Key, int] = defaultdict(int)
        self.labels: dict[Key, int] = defaultdict(int)
        self.shadows: dict[Key, int] = defaultdict(int)
        self.log_failures: dict[Key, int] = defaultdict(int)
        self._buckets: dict[Key, list[int]] = defaultdict(lambda: [0] * (len(BUCKETS) + 1))
        self._seconds: dict[Key, float] = defaultdict(float)

    def answered(self, product: str, version: str, *, seconds: float, rows: int) -> None:
        """A prediction was made."""
        self.requests[product, version, "200"] += 1
        self.rows[product, version] += rows
        self._buckets[product, version][bisect_left(BUCKETS, seconds)] += 1
        self._seconds[product, version] += seconds

    def refused(self, product: str, version: str, code: int) -> None:
        """A request was answered with an error; `product` is empty for one that does not exist."""
        self.requests[product, version, str(code)] += 1

    def forget(self, product: str, version: str) -> None:
        """Drop a stopped version's series, so that they do not grow with history."""
        for series in (self.requests, self.rows, self.retries, self.shadows, self._buckets, self._seconds):
            for key in [key for key in series if key[:2] == (product, version)]:
                del series[key]

    def add(self, other: "Metrics") -> None:
        """Count what another process counted as well."""
        for name in SUMMED:
            series = getattr(self, name)
            for key, value in getattr(other, name).items():
                series[key] += value
        for key, counts in other._buckets.items():
            self._buckets[key] = [ours + theirs for ours, theirs in zip(self._buckets[key], counts, strict=True)]

    def dumped(self) -> bytes:
        """All of it, for `loaded`."""
        return msgspec.msgpack.encode([self._buckets, *(getattr(self, name) for name in SUMMED)])

    @classmethod
    def loaded(cls, content: bytes) -> "Metrics":
        """What a process of the same code has dumped."""
        found = cls()
        buckets, *summed = msgspec.msgpack.decode(content, type=list[dict[Key, list[int] | int | float]])
        found._buckets.update(buckets)  # type: ignore[arg-type]  # the dump says which is which
        for name, values in zip(SUMMED, summed, strict=True):
            getattr(found, name).update(values)
        return found

    def render(self, gauges: Mapping[str, Mapping[Key, float]], more: Iterable[str] = ()) -> bytes:
        """Prometheus text format 0.0.4: these counters; gauges: name -> values of its labels -> value; further lines.

        Raises `KeyError` for a gauge that is not in `FAMILIES`.
        """
        lines: list[str] = []
        series: dict[str, Mapping[Key, float]] = {
            "mlauto_requests_total": self.requests,
            "mlauto_predicted_rows_total": self.rows,
            "mlauto_retries_total": self.retries,
            "mlauto_shadow_requests_total": self.shadows,
            "mlauto_labels_total": self.labels,
            "mlauto_log_failures_total": self.log_failures,
        }
        for name, values in (*series.items(), *gauges.items()):
            family = FAMILIES[name]
            lines += heading(name, family.kind, family.help)
            lines += _samples(name, family.labels, values.items())
        family = FAMILIES["mlauto_request_seconds"]
        lines += [*heading("mlauto_request_seconds", family.kind, family.help), *self._histogram(family.labels)]
        return "\n".join([*lines, *more, ""]).encode()

    def _histogram(self, labels: Key) -> Iterator[str]:
        name = "mlauto_request_seconds"
        for key, counts in self._buckets.items():
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                yield from _samples(f"{name}_bucket", (*labels, "le"), [((*key, bound), total)])
            yield from _samples(f"{name}_sum", labels, [(key, self._seconds[key])])
            yield from _samples(f"{name}_count", labels, [(key, total)])


def heading(name: str, kind: str, told: str) -> list[str]:
    """What stands before a metric's samples."""
    said = told.replace("\\", r"\\").replace("\n", r"\n")
    return [*([f"# HELP {name} {said}"] if told else []), f"# TYPE {name} {kind}"]


def sample(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    """One line; the labels' values are escaped."""
    pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{pairs}}} {value!r}" if pairs else f"{name} {value!r}"


def _samples(name: str, labels: Key, values: Iterable[tuple[Key, float]]) -> Iterator[str]:
    return (sample(name, zip(labels, key, strict=True), value) for key, value in values)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
