"""The gateway's own counters between two looks: parsed, remembered, and exact over its restarts."""

import msgspec
import pytest

from mlauto.errors import MeasurementError
from mlauto.monitoring.scrapes import Scrape, kept, scraped, series_of
from mlauto.monitoring.service import ServiceLevel, service_level
from mlauto.serving.metrics import Metrics

RECENT = 300.0


def text(metrics: Metrics, *, pid: int = 7, product: str = "p") -> str:
    """What the gateway's own code says."""
    gauges = {
        "mlauto_gateway_pid": {(): float(pid)},
        "mlauto_requests_in_flight": {(product,): 3.0},
        "mlauto_requests_in_flight_limit": {(): 512.0},
    }
    return metrics.render(gauges).decode()


def counted(answers: int, failures: int = 0, version: str = "3", product: str = "p", ms: float = 8.0) -> Metrics:
    metrics = Metrics()
    for _ in range(answers):
        metrics.answered(product, version, seconds=ms / 1000, rows=1)
    for _ in range(failures):
        metrics.refused(product, version, 503)
    return metrics


def look(at: float, answers: int, failures: int = 0, *, pid: int = 7, version: str = "3") -> Scrape:
    return scraped(text(counted(answers, failures, version), pid=pid), "p", at=at)


def level(*scrapes: Scrape, version: str = "3") -> ServiceLevel:
    return service_level(series_of(scrapes), version=version, now=scrapes[-1].at, recent=RECENT)


def test_two_looks_make_a_difference() -> None:
    """What was counted before the first one is long past."""
    found = level(look(0, 5000, 40), look(60, 5300, 42))

    assert (found.requests, found.errors, found.saturation) == (302, 2, 3 / 512)
    assert found.p99_low_ms == pytest.approx(7.5)  # the bucket's lower edge; all took 8 ms
    assert found.p50_ms is not None
    assert 7.5 < found.p50_ms < 10


def test_a_new_process_counts_from_nothing() -> None:
    """Even when it has passed where the old one was, as a fall of the counter alone would not show."""
    assert level(look(0, 100), look(60, 150, pid=8)).requests == 150
    assert level(look(0, 100), look(60, 50, pid=8)).requests == 50
    assert level(look(0, 100), look(60, 150)).requests == 50
    assert level(look(0, 100, 9), look(60, 150, pid=8), look(120, 151, 1, pid=8)).errors == 1


def test_a_version_that_is_new_counts_from_nothing() -> None:
    """Its predecessor's counts are not its own."""
    both = counted(10)
    both.add(counted(200, version="4"))
    found = level(look(0, 10), scraped(text(both), "p", at=60), version="4")

    assert found.requests == 200


def test_only_the_product_is_kept_and_labels_are_read_as_they_were_written() -> None:
    """Others' counters, and metrics that nobody asks about, are left out."""
    odd = 'a"b\\c\nd,x="1"}'
    metrics = counted(3)
    metrics.add(counted(5, product=odd))
    found = scraped(text(metrics, product=odd), odd, at=1.0)

    assert {(name, kind): value for name, _, kind, value in found.samples}[("mlauto_requests_total", "200")] == 5
    assert {name for name, *_ in found.samples} == {
        "mlauto_requests_total",
        "mlauto_request_seconds_bucket",
        "mlauto_requests_in_flight",
        "mlauto_requests_in_flight_limit",
    }
    assert {version for _, version, *_ in found.samples} == {"", "3"}


def test_a_scrape_survives_being_written_down() -> None:
    """JSON and back gives an equal record."""
    found = (look(0, 5), look(60, 9, 1))

    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[Scrape, ...]) == found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<html>hello</html>", "a line that is no sample: '<html>hello</html>'"),
        ("", "no mlauto_gateway_pid"),
        ("up 1", "no mlauto_gateway_pid"),
        ("mlauto_gateway_pid many", "no number: 'many'"),
        ('mlauto_gateway_pid 7\nmlauto_requests_total{product="p" 5', "a line that is no sample"),
    ],
)
def test_what_is_no_gateways_text_is_named(content: str, problem: str) -> None:
    """Whoever else answers there."""
    with pytest.raises(MeasurementError, match=problem):
        scraped(content, "p", at=0.0)


@pytest.mark.parametrize("every", [1, 5, 60, 150])
def test_what_is_remembered_is_bounded(every: int) -> None:
    """However often it is looked: some fifty scrapes, the newest among them, and one from before the window."""
    remembered: tuple[Scrape, ...] = ()
    for at in range(0, 8000, every):
        remembered = kept(remembered, look(at, at), RECENT)
        newest = remembered[-1].at
        assert newest == at
        assert len(remembered) <= 60
        assert at < 2 * RECENT or any(RECENT <= newest - one.at <= 1.2 * RECENT + every for one in remembered)
    assert newest - remembered[0].at > 6 * RECENT
    assert level(*remembered).requests == pytest.approx(max(RECENT, 4 * every), abs=1.2 * max(every, 35))


def test_after_a_long_gap_all_begins_anew() -> None:
    """The control plane was down for hours: what happened meanwhile is not what happens now."""
    before = kept((look(0, 10),), look(60, 20), RECENT)

    assert [one.at for one in kept(before, look(700, 90), RECENT)] == [700]
    assert [one.at for one in kept(before, look(600, 90), RECENT)] == [0, 60, 600]
    assert [one.at for one in kept(before, look(30, 90), RECENT)] == [0, 30]  # the clock was set back
