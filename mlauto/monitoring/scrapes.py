"""The gateway's own `/metrics`, kept over the last looks: what there is to difference where no Prometheus is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mlauto.errors import MeasurementError
from mlauto.monitoring.service import LONGEST, NAMES, Series

__all__ = ["Scrape", "kept", "scraped", "series_of"]

LEAST_GAP, GAP_SHARE = 15.0, 0.1  # seconds between two that are kept, and the share of their age
SAMPLE = re.compile(r'(?P<name>[a-zA-Z_:]\w*)(?:\{(?P<labels>(?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})? (?P<value>\S+)')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPED = re.compile(r"\\(.)")
PROCESS = "mlauto_gateway_pid"


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """The samples of one product at one time: metric -> version, code or upper bound, value; `pid` is who said so."""

    at: float
    pid: float
    samples: tuple[tuple[str, str, str, float], ...]


def scraped(text: str, product: str, *, at: float) -> Scrape:
    """What `/metrics` says about a product. Raises `MeasurementError` when it is no such text, or names no gateway."""
    found: list[tuple[str, str, str, float]] = []
    pid: float | None = None
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.fullmatch(line)
        if match is None:
            raise MeasurementError(f"the gateway's /metrics has a line that is no sample: {line[:80]!r}")
        name, value = match["name"], _number(match["value"])
        if name == PROCESS:
            pid = value
        if name in NAMES:
            labels = {key: ESCAPED.sub(_plain, word) for key, word in LABEL.findall(match["labels"] or "")}
            if labels.get("product", product) == product:
                found.append((name, labels.get("version", ""), labels.get("code") or labels.get("le", ""), value))
    if pid is None:
        raise MeasurementError(f"the gateway's /metrics has no {PROCESS}: is it an older gateway? Restart it")
    return Scrape(at=at, pid=pid, samples=tuple(found))


def kept(earlier: Sequence[Scrape], newest: Scrape, recent: float) -> tuple[Scrape, ...]:
    """What is to be remembered: the older, the sparser, so that an hour is some fifty; none from before a long gap.

    A baseline from before a gap of twice `recent` seconds would count what is long past as if it were now.
    """
    found: list[Scrape] = []
    for scrape in earlier:
        age = newest.at - scrape.at
        if age <= 0 or age > LONGEST * recent:
            continue
        if not found or scrape.at - found[-1].at >= max(LEAST_GAP, GAP_SHARE * age):
            found.append(scrape)
    found.append(newest)
    for place in range(len(found) - 1, 0, -1):
        if found[place].at - found[place - 1].at > 2 * recent:
            return tuple(found[place:])
    return tuple(found)


def series_of(scrapes: Sequence[Scrape]) -> list[Series]:
    """The scrapes as series; where another process answers, its counters began at 0."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    pid: float | None = None
    for scrape in scrapes:
        if pid is not None and scrape.pid != pid:
            for (name, *_), samples in found.items():
                if name.endswith(("_total", "_bucket")) and samples[-1][1] > 0:
                    samples.append(((samples[-1][0] + scrape.at) / 2, 0.0))
        pid = scrape.pid
        for name, version, kind, value in scrape.samples:
            found.setdefault((name, version, kind), []).append((scrape.at, value))
    return [
        Series(name=name, labels={"version": version, "code": kind, "le": kind}, samples=samples)
        for (name, version, kind), samples in found.items()
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise MeasurementError(f"the gateway's /metrics has a value that is no number: {text[:40]!r}") from None


def _plain(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
