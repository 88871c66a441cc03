"""Where the service level comes from: Prometheus where one is set, else the gateway's own counters, else the log."""

from dataclasses import replace

from mlauto.errors import DeliveryError, MeasurementError
from mlauto.measured import LiveMetrics
from mlauto.monitoring.scrapes import Scrape, kept, scraped, series_of
from mlauto.monitoring.service import ServiceLevel, service_level
from mlauto.orchestration.platform import Platform
from mlauto.product import ModelProduct

__all__ = ["RECENT_SECONDS", "with_service_level"]

RECENT_SECONDS = 300.0
RECORD = "service_samples"


def with_service_level(platform: Platform, product: ModelProduct, metrics: LiveMetrics) -> LiveMetrics:
    """The metrics, which have the log's service level, with that of the better source.

    Where it cannot be had, `service_problem` says why and the figures are nothing: the log's would hide that users'
    requests are no longer seen as they were asked to be.
    """
    if metrics.version is None or metrics.problem is not None:
        return metrics
    source = "gateway" if platform.prometheus is None else "prometheus"
    try:
        found = _level(platform, product, metrics.version, metrics.measured)
    except (MeasurementError, DeliveryError) as error:
        nothing = ServiceLevel(
            requests=0, errors=0, p50_ms=None, p99_ms=None, p99_low_ms=None, saturation=None, since=0.0, until=0.0
        )
        return replace(_filled(metrics, source, nothing), service_problem=str(error))
    return metrics if found is None else _filled(metrics, source, found)


def _level(platform: Platform, product: ModelProduct, version: str, now: float) -> ServiceLevel | None:
    """None while there is nothing to difference, and without a gateway: then the log knows best."""
    if platform.prometheus is not None:
        return platform.prometheus.level(product.name, version, now=now, recent=RECENT_SECONDS)
    text = platform.runtime.metrics()
    if text is None:
        return None
    earlier = platform.store.read_record(product.name, RECORD, tuple[Scrape, ...]) or ()
    scrapes = kept(earlier, scraped(text, product.name, at=now), RECENT_SECONDS)
    platform.store.write_record(product.name, RECORD, scrapes)
    if len(scrapes) < 2:
        return None
    return service_level(series_of(scrapes), version=version, now=now, recent=RECENT_SECONDS)


def _filled(metrics: LiveMetrics, source: str, found: ServiceLevel) -> LiveMetrics:
    return replace(
        metrics,
        service=source,
        requests=found.requests,
        errors=found.errors,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        p99_low_ms=found.p99_low_ms,
        saturation=found.saturation,
    )
