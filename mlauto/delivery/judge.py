"""Whether users' traffic has proven a candidate faulty. Pure. Absence of proof lets a rollout go on.

A rollout is looked at every few seconds, so that each rule asks for more than the usual 95 %: errors by an exact
binomial test at 0.1 %, quality by a test that holds at all looks at once, latency by a confidence bound beyond both the
product's own limit and the champion's figure.
"""

import math
from dataclasses import dataclass

from mlauto.proof import THRESHOLD, RolloutEvidence

__all__ = ["Limits", "fault", "loss"]

ALPHA = 0.001
USUAL = 1.96  # standard errors on either side in the evidence's 95 % interval
TIGHTEST = 100.0  # rows after which bounds for all looks are tightest


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The product's service level: 99th percentile in milliseconds, share of requests that may fail."""

    p99_ms: float = 250.0
    error_rate: float = 0.001


def fault(evidence: RolloutEvidence, limits: Limits) -> str | None:
    """What a candidate that runs beside its champion is proven to do wrong, as a sentence; None while nothing is."""
    return _errors(evidence, limits) or _slowness(evidence, limits) or loss(evidence)


def loss(evidence: RolloutEvidence) -> str | None:
    """That the candidate predicts worse than the champion, as a sentence; None while that is not proven.

    Proven on rows that both predicted, by the sequential test, or else on rows of each one's own.
    """
    if evidence.proof is not None and evidence.proof.worse:
        return evidence.proof.told
    value, low = evidence.difference, evidence.difference_low
    if evidence.paired or value is None or low is None:
        return None
    rows = min(evidence.labelled.get(version, 0) for version in (evidence.candidate, evidence.champion))
    wider = _deviations(rows) / USUAL
    if value - (value - low) * wider <= evidence.allowed:
        return None
    return (
        f"its {evidence.metric} is worse than that of version {evidence.champion} by {value:.4g}"
        f" ({value - (value - low) * wider:.4g} at least, {evidence.allowed:.4g} allowed, on rows of each)"
    )


def _deviations(rows: int) -> float:
    """Standard errors within which a mean is at all looks at once, on either side with probability 1 % of an error.

    Robbins' normal mixture (1970), asymptotically for any mean (Waudby-Smith et al. 2024).
    """
    if rows < 1:
        return math.inf
    whole = rows + TIGHTEST
    return math.sqrt(whole / rows * (math.log(whole / TIGHTEST) + 2 * math.log(THRESHOLD)))


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
