"""The dashboard of how users are served."""

from mlauto.export.panels import Query
from mlauto.export.shown import Board, Shown, of, rate

__all__ = ["LIVE"]

EACH = "{{product}} {{version}}"
ANSWERED = 'version!=""'
REQUESTS = (
    Shown(
        title="Requests per second, by product",
        unit="reqps",
        told="All answers, errors included.",
        queries=(Query(rate("mlauto_requests_total")),),
    ),
    Shown(
        title="Share of requests that fail (5xx), by product",
        unit="percentunit",
        told="Over five minutes, and what the product promises.",
        queries=(
            Query(of("mlauto:error_ratio:rate5m")),
            Query(of("mlauto:slo_error_rate"), "{{product}} promised"),
        ),
    ),
    Shown(
        title="Latency p50 and p99, by version",
        unit="s",
        told="Over five minutes; the slowest hundredth must stay below what is promised.",
        queries=(
            Query(of("mlauto:request_seconds:p50"), f"{EACH} p50"),
            Query(of("mlauto:request_seconds:p99"), f"{EACH} p99"),
            Query(of("mlauto:slo_p99_seconds"), "{{product}} promised"),
        ),
    ),
    Shown(
        title="Share of requests slower than promised",
        unit="percentunit",
        told="One in a hundred may be.",
        queries=(
            Query(of("mlauto:slow_ratio:rate5m"), "{{product}} 5 min"),
            Query(of("mlauto:slow_ratio:rate1h"), "{{product}} 1 h"),
        ),
    ),
    Shown(
        title="Predicted rows per second, by version",
        unit="short",
        told="A request may have many rows.",
        queries=(Query(rate("mlauto_predicted_rows_total", by="product, version"), EACH),),
    ),
    Shown(
        title="Retries, copies and log failures per second",
        unit="short",
        told="Retries and failures should be 0; copies are sent during a rollout.",
        queries=(
            Query(rate("mlauto_retries_total"), "{{product}} retries"),
            Query(rate("mlauto_shadow_requests_total"), "{{product}} copies"),
            Query(rate("mlauto_log_failures_total"), "{{product}} not logged"),
        ),
    ),
)
VERSIONS = (
    Shown(
        title="Share of requests, by version (canary and champion)",
        unit="percentunit",
        told="Who answers.",
        queries=(
            Query(
                f"{rate('mlauto_requests_total', ANSWERED, 'product, version')}"
                f" / on (product) group_left () {rate('mlauto_requests_total', ANSWERED)}",
                EACH,
            ),
        ),
    ),
    Shown(
        title="Ready versions; the champion counts twice",
        unit="short",
        told="0 is a version that does not answer.",
        queries=(Query(f"{of('mlauto_version_ready')} + {of('mlauto_version_champion')}", EACH),),
    ),
)
LIVE = Board(uid="mlauto-live", title="mlauto: live models", rows={"Requests": REQUESTS, "Versions": VERSIONS})
