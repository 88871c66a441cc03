"""PSI, KS, Wasserstein and JS, from the counts, for people who expect them. Nothing alarms on them.

PSI and JS are over ten groups of about equal reference counts, as their rules of thumb suppose.
"""

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.drift.counts import LevelCounts, NumberCounts
from mlauto.monitoring.drift.profile import Levels, Numbers

__all__ = ["level_distances", "number_distances"]

GROUPS = 10
LEAST = 1e-4  # the share that PSI takes an empty group for: its logarithm has none

Floats = NDArray[np.float64]


def number_distances(reference: Numbers, counts: NumberCounts) -> dict[str, float]:
    """psi, ks (difference of the distribution functions), wasserstein (in sd of the reference), js (in nats)."""
    filled = counts.bins.sum()
    if not filled:
        return {}
    then = np.asarray(reference.counts) / reference.filled
    now = counts.bins / filled
    before = np.cumsum(then) - then
    starts = np.unique(np.minimum((before * GROUPS + 1e-9).astype(int), GROUPS - 1), return_index=True)[1]
    grouped = np.add.reduceat(then, starts), np.add.reduceat(now, starts)
    apart = np.abs(np.cumsum(now - then))[:-1]
    widths = np.diff(np.asarray(reference.edges))
    return {
        "psi": _psi(*grouped),
        "ks": float(apart.max(initial=0.0)),
        "wasserstein": float((apart[:-1] * widths).sum() / reference.sd) if reference.sd > 0 else 0.0,
        "js": _js(*grouped),
    }


def level_distances(reference: Levels, counts: LevelCounts) -> dict[str, float]:
    """Psi and js over the common levels, the rare ones, and those never seen."""
    filled = counts.levels.sum() + counts.rare + counts.unseen
    if not filled or not reference.filled:
        return {}
    then = np.array([*reference.counts.values(), reference.rare, 0]) / reference.filled
    now = np.array([*counts.levels, counts.rare, counts.unseen]) / filled
    there = (then > 0) | (now > 0)
    return {"psi": _psi(then[there], now[there]), "js": _js(then[there], now[there])}


def _psi(then: Floats, now: Floats) -> float:
    then, now = np.maximum(then, LEAST), np.maximum(now, LEAST)
    return float(((now - then) * np.log(now / then)).sum())


def _js(then: Floats, now: Floats) -> float:
    middle = (then + now) / 2
    total = 0.0
    for shares in (then, now):
        some = shares > 0
        total += float((shares[some] * np.log(shares[some] / middle[some])).sum()) / 2
    return total
