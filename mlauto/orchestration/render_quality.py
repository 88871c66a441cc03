"""What is proven of the live version's quality, and what is estimated, as Dagster metadata."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from mlauto.measured import Detection, LiveMetrics

__all__ = ["quality"]

Table = Callable[[Sequence[str], Sequence[Sequence[object]]], dg.MetadataValue[Any]]
HEADERS = ("test", "now", "reference", "limit", "e-value", "needed", "proven")


def quality(metrics: LiveMetrics, table: Table) -> Mapping[str, dg.MetadataValue[Any]]:
    """The sequential tests of the whole and of its segments, and the estimate without labels; what there is of them."""
    now = f"{metrics.quality.value:.4g}" if metrics.quality is not None else ""
    rows = []
    for name, found in (("a loss beyond the tolerance", metrics.detection), ("any loss", metrics.worse)):
        if found is not None:
            rows.append((name, now, "", *_evidence(found)))
    for one in metrics.segments:
        values = (f"{one.quality.value:.4g}", f"{one.reference.value:.4g}")
        rows.append((one.segment, *values, *_evidence(one.detection)))
    shown = {"proofs": table(HEADERS, rows)} if rows else {}
    if (guess := metrics.estimate) is not None:
        score = guess.quality
        shown["estimated_without_labels"] = dg.MetadataValue.text(
            f"{score.metric} {score.value:.4g} +- {guess.error:.2g} by {guess.method} on {score.rows} rows;"
            " it cannot see that the truth about the same rows has changed"
        )
    return shown


def _evidence(found: Detection) -> tuple[str, str, str, str]:
    proven = "yes" if found.alarmed else "no"
    return f"{found.limit:.4g}", f"{found.e_value:.3g}", f"{found.threshold:g}", proven
