"""The lines about proofs of quality that `mlauto status` shows."""

from mlauto.commands.incident_lines import span
from mlauto.measured import Detection, LiveMetrics

__all__ = ["quality_lines"]

SHOWN = 3  # segments, those that are proven worse, the worst first


def quality_lines(metrics: LiveMetrics) -> list[tuple[str, str]]:
    """How near a loss is to its proof, segments in which one is proven, and an estimate where labels tell nothing."""
    lines = []
    if (found := metrics.detection) is not None and (found.rows or found.alarmed):
        more = ""
        if not found.alarmed and metrics.worse is not None and metrics.worse.alarmed:
            more = "; a smaller loss is, which nobody acts on"
        lines.append(("proof", _proof(found, metrics.measured) + more))
    worse = [one for one in metrics.segments if one.detection.alarmed]
    for one in worse[:SHOWN]:
        quality = f"{one.quality.metric} {one.quality.value:.4g}, {one.reference.value:.4g} when trained"
        lines.append(("segment", f"{one.segment}: {quality}, proven worse; shown, and not acted upon"))
    if len(worse) > SHOWN:
        lines.append(("segment", f"and {len(worse) - SHOWN} more, see the metadata of live_metrics"))
    if metrics.quality is None and (guess := metrics.estimate) is not None:
        score = guess.quality
        told = f"{score.metric} {score.value:.4g} [{score.low:.4g}, {score.high:.4g}] by {guess.method}"
        lines.append(("estimate", f"{told} without labels, on {score.rows:,} rows"))
    return lines


def _proof(found: Detection, now: float) -> str:
    since = span(max(0.0, now - (found.alarmed_at or found.since)))
    if found.alarmed:
        return f"a loss beyond the limit is proven since {since}"
    evidence = f"e-value {found.e_value:.3g} of {found.threshold:g}, {found.rows:,} rows in {since}"
    return f"no loss beyond the limit is proven ({evidence})"
