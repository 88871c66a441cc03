"""Whether the mean loss of a version is beyond its limit, tested so that one may look at any time for years. Pure.

A Shiryaev-Roberts e-detector (Shin, Ramdas and Rinaldo 2023) over betting e-processes (Waudby-Smith and Ramdas 2024;
Podkopaev and Ramdas 2022) for losses in [0, 1]. Null hypothesis: their mean is at most the limit. Each block of two
rows multiplies what was won by 1 + bet * (mean loss - limit), for eight bets side by side, after a little was staked
anew; so what is won since *any* row counts, and good years before a loss hide nothing. What is staked within a year is
at most 1, whatever the labels' rate, the looks and the number of versions (`budget.py`): by Doob's inequality the sum
reaches 100 with probability 1 % a year at most.

Blocks, and a power of each factor. Rows that err alike (a rainy day is mispredicted all day) are no fresh evidence. A
factor to a power below 1 still has a mean of 1 at most, and with the power 1 / inflation (`dependence.py`) the sum of
blocks that are alike grows as if they were independent. The power in force is an earlier one, from rows before a good
part of the newest, so that the loss which is to be found does not take itself for dependence, and so that it is known
before the rows that it is applied to.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlauto.monitoring.quality.dependence import Scale, gathered, inflation

__all__ = ["ALPHA", "BLOCK", "Detector", "Terms", "added", "e_value", "fresh", "restarted"]

Floats = NDArray[np.float64]
ALPHA = 0.01  # of a false alarm within a year
BLOCK = 2  # rows: hardly slower than single ones, and five are, where a large loss is to be found in some dozens
BETS = 0.9 * 0.62 ** np.arange(8)  # of the largest that cannot lose all: for losses of a few percent to any size
UNKNOWN = 2.0  # the inflation of the very first rows: too few to be a long run of what is alike
GROWTH = 1.25  # the power is renewed whenever there are so many times as many blocks
CHUNK = 50  # blocks that are multiplied at once, without leaving the range of floats
LARGEST = 1e12


@dataclass(frozen=True, kw_only=True)
class Detector:
    """What is remembered: `won` by each bet, the open block, how alike rows are, and when an alarm came.

    `power` is in force until there are `renewal` blocks, then `upcoming`; `sound` are the scales of the last renewal.
    """

    since: float
    rows: int = 0
    looks: int = 0
    blocks: int = 0
    open_rows: int = 0
    open_loss: float = 0.0
    won: tuple[float, ...] = (0.0,) * len(BETS)
    power: float = 1 / UNKNOWN
    upcoming: float = 1 / UNKNOWN
    renewal: int = 20
    scales: tuple[Scale, ...] = ()
    sound: tuple[Scale, ...] = ()
    alarmed_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Of one look at time `now`: the mean that is allowed (above 0), the stake for each row, what an alarm needs.

    `unit`: the loss that counts as 1, so that a limit that changes with it does not make rows look alike.
    """

    limit: float
    stake: float
    threshold: float
    now: float
    unit: float = 1.0


def e_value(detector: Detector) -> float:
    """What the mixture of all bets has won; an alarm comes when it reaches the threshold."""
    return sum(detector.won) / len(BETS)


def added(detector: Detector, losses: Floats, terms: Terms) -> Detector:
    """The detector after one look at more rows' losses, in [0, 1] and in the order of time.

    How rows are divided among looks makes no difference. An alarm stays until `restarted`.
    """
    if not len(losses):
        return detector
    lead = np.zeros(detector.open_rows)  # the open block's rows, of which only the sum is known
    lead[:1] = detector.open_loss
    every = np.concatenate([lead, losses])
    cut = len(every) - len(every) % BLOCK
    grown = replace(
        detector,
        rows=detector.rows + len(losses),
        looks=detector.looks + 1,
        open_rows=len(every) - cut,
        open_loss=float(every[cut:].sum()),
    )
    means = every[:cut].reshape(-1, BLOCK).mean(axis=1)
    while len(means):
        taken = means[: min(CHUNK, grown.renewal - grown.blocks)]
        means = means[len(taken) :]
        grown = _renewed(_bet(grown, taken, terms))
    return grown


def fresh(now: float, stake: float, before: Detector | None = None) -> Detector:
    """A detector with that on each bet; a version errs about as alike as the one before it, if there is one."""
    scales = before.sound if before is not None else ()
    power = _power(scales)
    won = (stake,) * len(BETS)
    return Detector(since=now, won=won, power=power, upcoming=power, scales=scales, sound=scales)


def restarted(detector: Detector, now: float) -> Detector:
    """The detector with nothing won and no alarm; how alike its rows were before the loss is not forgotten."""
    power = _power(detector.sound)
    return replace(
        detector,
        since=now,
        rows=0,
        looks=0,
        won=(0.0,) * len(BETS),
        power=power,
        upcoming=power,
        scales=detector.sound,
        alarmed_at=None,
    )


def _bet(detector: Detector, means: Floats, terms: Terms) -> Detector:
    """Stake and multiply, block after block; all of them at once, by logarithms."""
    gains = np.log1p(BETS / terms.limit * (means[:, None] - terms.limit)) * detector.power
    sums = np.cumsum(gains, axis=0)
    staked = BLOCK * terms.stake * np.cumsum(np.exp(gains - sums), axis=0)  # before the block's own factor
    won = np.minimum(np.exp(sums) * (np.asarray(detector.won) + staked), LARGEST)
    sound = detector.alarmed_at is None  # a loss that is proven is no dependence
    alarmed = sound and bool((won.mean(axis=1) >= terms.threshold).any())
    return replace(
        detector,
        won=tuple(won[-1].tolist()),
        blocks=detector.blocks + len(means),
        scales=gathered(detector.scales, means * terms.unit) if sound else detector.scales,
        alarmed_at=terms.now if alarmed else detector.alarmed_at,
    )


def _renewed(detector: Detector) -> Detector:
    if detector.blocks < detector.renewal:
        return detector
    sound = detector.alarmed_at is None
    return replace(
        detector,
        power=detector.upcoming,
        upcoming=_power(detector.scales) if sound else detector.upcoming,
        sound=detector.scales if sound else detector.sound,
        renewal=math.ceil(detector.renewal * GROWTH),
    )


def _power(scales: tuple[Scale, ...]) -> float:
    return 1 / (inflation(scales) or UNKNOWN)
