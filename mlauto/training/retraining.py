"""When to retrain, from the losses of the batches whose labels have come.

Pure functions of numbers, so that a backtest and the live loop can ask the same code. Histories count batches.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlauto.errors import TrainingError

if TYPE_CHECKING:
    from mlauto.product_training import Policy  # where a backtest's fits are made there is no pydantic

__all__ = ["Evidence", "Scored", "afforded", "due"]

LEAST_BATCHES = 8  # to estimate the spread of rows from batches that have one row each


class Scored(Protocol):
    """What is known of a batch that a model was asked about before it was fitted on it."""

    @property
    def number(self) -> int:
        """Its place in the stream."""

    @property
    def rows(self) -> int:
        """Its rows with labels; 0 when none has come."""

    @property
    def loss(self) -> float:
        """Their mean loss."""

    @property
    def error(self) -> float:
        """The standard error of that mean; NaN for one row, which cannot tell."""

    @property
    def model(self) -> object:
        """Which model that tells of; none, where it tells too little."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a decision is made from: `scores` of the batches that models answered, oldest first.

    `live` is the model that answers now. `fresh` batches came since the newest training, by which the rows that can be
    trained on have `grown` (1.3: by 30 %), and `trainings` were made after the first model. The live one is `spoiled`
    when its fits were made on batches that are left out by now, and no training was tried since.
    """

    scores: Sequence[Scored]
    live: object
    fresh: int
    grown: float
    trainings: int
    spoiled: bool = False


def due(policy: "Policy", evidence: Evidence) -> tuple[bool, str]:
    """Whether to retrain now that the labels of a batch have come, and why (not); the same inputs, the same answer.

    Raises `TrainingError` for losses that are not finite and for batches out of order.
    """
    fresh, known = evidence.fresh, _known(evidence.scores)
    batches = "1 new batch" if fresh == 1 else f"{fresh} new batches"
    if policy.every_batches is not None and fresh >= policy.every_batches:
        return True, batches
    if not fresh:
        return False, "no new labelled batch since the last training"
    why = _alarm(policy, known, evidence.live, since=_last(known) - fresh)
    if not why and policy.false_alarms is not None and evidence.spoiled:
        why = "the live model has learned from a batch that is strange by itself"
    if not why and policy.growth is not None and evidence.grown >= policy.growth:
        why = f"history has grown by {evidence.grown - 1:.0%}"
    if not why:
        return False, f"{batches}: {_waits(policy)}"
    return afforded(policy, evidence, why)


def afforded(policy: "Policy", evidence: Evidence, why: str) -> tuple[bool, str]:
    """Whether a training that there is a reason for is within the policy's budget, and the reason, or that it is not.

    Where the policy trains for every so many batches anyway, there is no budget.
    """
    if policy.every_batches is not None:
        return True, why
    allowed = math.floor(policy.credit + policy.share * sum(batch.rows > 0 for batch in evidence.scores) + 1e-9)
    if evidence.trainings >= allowed:
        return False, f"{why}; but the {allowed} trainings that the policy allows so far are spent"
    return True, why


def _waits(policy: "Policy") -> str:
    if policy.false_alarms is not None:
        return "the live model is not proven worse than at its start or before it"
    if policy.every_batches is not None:
        return f"the policy retrains after {policy.every_batches}"
    return "the policy waits for live quality to suffer" if policy.on_degraded else "the policy never retrains"


def _last(known: Sequence[Scored]) -> int:
    return known[-1].number if known else -1


def _known(scores: Sequence[Scored]) -> list[Scored]:
    """The batches that have labels, once every number is found to be usable."""
    last = -math.inf
    for batch in scores:
        if batch.number <= last:
            raise TrainingError(f"batch {batch.number} follows batch {last:g}: give each batch once, oldest first")
        last = batch.number
        if batch.rows < 0 or (batch.rows and not 0 <= batch.loss < math.inf):
            raise TrainingError(
                f"batch {batch.number}: a mean loss of {batch.loss} over {batch.rows} rows: score it again without the "
                "rows that have no usable label"
            )
        if batch.rows > 1 and not 0 <= batch.error < math.inf:
            raise TrainingError(
                f"batch {batch.number}: the standard error of its loss is {batch.error}: score it again"
            )
    return [batch for batch in scores if batch.rows]


def _alarm(policy: "Policy", known: Sequence[Scored], live: object, *, since: int) -> str:
    """How much the champion lost after batch `since`, against its own start or the batches before it; '' for no proof.

    A model that was bad from its start would else be its own excuse. Both share the chance of a false alarm.
    """
    ours = [batch for batch in known if batch.model == live]
    if policy.false_alarms is None or not ours:
        return ""
    first = known.index(ours[0])
    start, before = ours[: policy.reference], known[max(0, first - policy.lookback) : first]
    against: list[tuple[Sequence[Scored], Sequence[Scored], str]] = [(start, ours[policy.reference :], "at its start")]
    if before:
        count = f"{len(before)} batches" if len(before) > 1 else "batch"
        against.append((before, ours, f"in the {count} before it"))
    chance = policy.false_alarms / len(against)
    found = (_lost(policy, than, later, where=where, chance=chance, since=since) for than, later, where in against)
    return next((why for why in found if why), "")


def _lost(
    policy: "Policy", than: Sequence[Scored], later: Sequence[Scored], *, where: str, chance: float, since: int
) -> str:
    """How much more was lost in `later` batches than in others; '' when that may be chance, or is little.

    Every end of the record is tried at every batch: the chance of a false alarm is divided among all of those looks.
    Rows count as independent.
    """
    both = [*than, *later]
    variance = _row_variance(both)
    if not later or variance is None:
        return ""
    rows = np.array([batch.rows for batch in later], dtype=np.float64)[::-1]
    losses = np.array([batch.loss for batch in later])[::-1]
    numbers = np.array([batch.number for batch in later])[::-1]
    first_rows = sum(batch.rows for batch in than)
    first = sum(batch.rows * batch.loss for batch in than) / first_rows
    total = np.cumsum(rows)
    worse = np.cumsum(rows * losses) / total - first
    looks = len(later)
    # the chances of look n's n ends sum to chance / (n * (n + 1)), and those of all looks to the chance
    sigmas = math.sqrt(2 * math.log(looks * looks * (looks + 1) / chance))
    by_luck = sigmas * np.sqrt(variance * (1 / total + 1 / first_rows))
    cost = worse * total / np.median([batch.rows for batch in both])
    proven = (worse > by_luck) & (cost > policy.excess * first) & (numbers > since)
    if not proven.any():
        return ""
    count = int(np.flatnonzero(proven)[np.argmax(worse[proven])]) + 1
    batches = "batch" if count == 1 else f"{count} batches"
    return f"the live model lost {first + worse[count - 1]:.4g} a row in its newest {batches}, {first:.4g} {where}"


def _row_variance(ours: Sequence[Scored]) -> float | None:
    """The variance of one row's loss; None when nothing tells it."""
    wide = [batch for batch in ours if batch.rows > 1]
    if wide:
        return sum((batch.rows * batch.error) ** 2 for batch in wide) / sum(batch.rows for batch in wide)
    if len(ours) < LEAST_BATCHES:
        return None
    return float(np.var([batch.loss for batch in ours], ddof=1))
