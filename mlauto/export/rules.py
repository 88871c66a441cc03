"""Recording rules: each product's limits from its YAML as series, and the figures that alerts and dashboards share.

Limits are series by product, so that one alert holds for every product; they are the only part that names products.
"""

from collections.abc import Iterable
from typing import Any

from mlauto.export.text import yaml_text
from mlauto.product import ModelProduct
from mlauto.serving.metrics import BUCKETS

__all__ = ["BURNS", "LIMITS", "WINDOWS", "limits_of", "rules_yml"]

WINDOWS = ("5m", "30m", "1h", "6h", "3d")
# Beyer et al., The Site Reliability Workbook (2018), ch. 5: times the budget's rate, over a long and a short window.
BURNS = {"fast": (14.4, "1h", "5m"), "slow": (6.0, "6h", "30m"), "drip": (1.0, "3d", "6h")}
SLOW_BUDGET = 0.01  # p99: that share of the requests may be slower
STALE_TICKS = 10  # missed looks of the live sensor, after which the control plane counts as gone
LEAST_STALE = 300.0
NEARLY_ALL = 0.9  # a rate of errors that no multiple of a generous objective may excuse
LIMITS = (
    "mlauto:slo_error_rate",
    "mlauto:slo_p99_seconds",
    "mlauto:stale_after_seconds",
    "mlauto:error_limit",
    "mlauto:slow_limit",
)


def limits_of(product: ModelProduct) -> list[dict[str, Any]]:
    """What the YAML promises, as rules that record constants."""
    slo, labels = product.monitoring.slo, {"product": product.name}
    stale = max(LEAST_STALE, STALE_TICKS * product.monitoring.every)
    found = [
        _constant("mlauto:slo_error_rate", slo.error_rate, labels),
        _constant("mlauto:slo_p99_seconds", slo.p99_ms / 1000, labels),
        _constant("mlauto:stale_after_seconds", stale, labels),
    ]
    for burn, (factor, _, _) in BURNS.items():
        limit = min(factor * slo.error_rate, max(slo.error_rate, NEARLY_ALL))
        found.append(_constant("mlauto:error_limit", limit, {**labels, "burn": burn}))
        found.append(_constant("mlauto:slow_limit", factor * SLOW_BUDGET, {**labels, "burn": burn}))
    return found


def rules_yml(products: Iterable[ModelProduct]) -> str:
    """The file `rules.yml`."""
    ordered = sorted(products, key=lambda product: product.name)
    groups = [{"name": f"limits of {one.name}", "rules": limits_of(one)} for one in ordered]
    groups += [
        {"name": f"latency of {one.name}", "rules": [_slow(one, window) for window in WINDOWS]} for one in ordered
    ]
    groups += [{"name": "requests", "rules": _requests()}]
    return yaml_text({"groups": groups}, "Limits of the products' YAML, and what alerts and dashboards have in common.")


def _constant(name: str, value: float, labels: dict[str, str]) -> dict[str, Any]:
    return {"record": name, "expr": f"vector({value:.12g})", "labels": labels}


def _slow(product: ModelProduct, window: str) -> dict[str, Any]:
    """The share of a product's requests that are slower than promised, by the nearest bucket that is not stricter."""
    seconds = product.monitoring.slo.p99_ms / 1000
    bound = next((bucket for bucket in BUCKETS if bucket >= seconds), BUCKETS[-1])
    chosen = f'product="{product.name}"'
    within = f'sum by (product) (rate(mlauto_request_seconds_bucket{{{chosen}, le="{bound}"}}[{window}]))'
    every = f"sum by (product) (rate(mlauto_request_seconds_count{{{chosen}}}[{window}]))"
    return {
        "record": f"mlauto:slow_ratio:rate{window}",
        "expr": f"1 - {within}\n  / {every}",
        "labels": {"product": product.name},
    }


def _requests() -> list[dict[str, Any]]:
    """For every product: shares of requests that fail, and the latency of each version."""
    rules: list[dict[str, Any]] = []
    for window in WINDOWS:
        failed = f'sum by (product) (rate(mlauto_requests_total{{product!="", code=~"5.."}}[{window}]))'
        every = f'sum by (product) (rate(mlauto_requests_total{{product!=""}}[{window}]))'
        # a product without any failure has no such series: that is a share of 0, not an unknown one
        share = f"({failed} or 0 * {every})\n  / {every}"
        rules.append({"record": f"mlauto:error_ratio:rate{window}", "expr": share})
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        buckets = "sum by (product, version, le) (rate(mlauto_request_seconds_bucket[5m]))"
        rules.append({"record": f"mlauto:request_seconds:{name}", "expr": f"histogram_quantile({quantile}, {buckets})"})
    return rules
