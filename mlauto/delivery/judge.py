"""Whether users' traffic has proven a candidate faulty. Pure. Absence of proof lets a rollout go on.

A rollout is looked at every few seconds, so that each rule asks for more than the usual 95 %: errors by an exact
binomial test at 0.1 %, quality by a difference of three standard errors, latency by a confidence bound beyond both the
product's own limit and the champion's figure.
"""

from dataclasses import dataclass

from mlauto.records import RolloutEvidence

__all__ = ["Limits", "fault", "loss"]

ALPHA = 0.001
WIDER = 3.0 / 1.96  # from the evidence's 95 % interval to three standard errors


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The product's service level: 99th percentile in milliseconds, share of requests that may fail."""

    p99_ms: float = 250.0
    error_rate: float = 0.001


def fault(evidence: RolloutEvidence, limits: Limits) -> str | None:
    """What a candidate that runs beside its champion is proven to do wrong, as a sentence; None while nothing is."""
    return _errors(evidence, limits) or _slowness(evidence, limits) or loss(evidence)


def loss(evidence: RolloutEvidence) -> str | None:
    """That the candidate predicts worse than the champion, as a sentence; None while that is not proven."""
    value, low = evidence.difference, evidence.difference_low
    if value is None or low is None or value - (value - low) * WIDER <= 0:
        return None
    rows = f"{evidence.paired} rows that both predicted" if evidence.paired else "rows of each"
    return (
        f"its {evidence.metric} is worse than that of version {evidence.champion} by {value:.4g}"
        f" (95 % interval {low:.4g} to {evidence.difference_high or value:.4g}, {rows})"
    )


def _errors(evidence: RolloutEvidence, limits: Limits) -> str | None:
    candidate, champion = evidence.candidate, evidence.champion
    asked = evidence.requests.get(champion, 0)
    usual = max(limits.error_rate, evidence.errors.get(champion, 0) / asked if asked else 0.0)
    for what, failed, tried in (
        ("requests", evidence.errors.get(candidate, 0), evidence.requests.get(candidate, 0)),
        ("copied requests", evidence.shadow_errors, evidence.shadows),
    ):
        if failed and _chance(failed, tried, usual) < ALPHA:
            return f"it failed {failed} of {tried} {what} (usual: {usual:.2%})"
    return None


def _chance(failed: int, tried: int, rate: float) -> float:
    """The probability of so many failures or more at that rate."""
    from scipy.stats import binom

    return float(binom.sf(failed - 1, tried, rate))


def _slowness(evidence: RolloutEvidence, limits: Limits) -> str | None:
    low = evidence.p99_low_ms.get(evidence.candidate)
    usual = evidence.p99_ms.get(evidence.champion)
    if low is None or low <= max(limits.p99_ms, usual or 0.0):
        return None
    beside = f", version {evidence.champion} has {usual:.0f} ms" if usual is not None else ""
    return f"its p99 is above {low:.0f} ms (limit {limits.p99_ms:g} ms{beside})"
