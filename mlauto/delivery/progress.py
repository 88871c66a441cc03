"""A rollout as a state machine: how far a candidate has come on its way to all users, and what may happen next. Pure.

    shadow ──> canary 5 % ──> canary 25 % ──> baking ──> promoted
       └───────────┴──────────────┴─> aborted    └─> rolled_back       any but the last four ─> superseded

In `shadow` and `canary` the champion stays in production; with `baking` the candidate takes its place and has it as
warm fallback. Whoever carries a stage out records it first, and that it is `settled` afterwards.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from mlauto.delivery.judge import Limits, fault
from mlauto.proof import Proof, RolloutEvidence

__all__ = ["Plan", "Rollout", "Stage", "aborted", "begun", "ended", "following"]


class Stage(StrEnum):
    """Where a rollout is; the first three are under way or watched, the others are ends."""

    SHADOW = "shadow"
    CANARY = "canary"
    BAKING = "baking"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages' lengths in seconds (0: left out), and the percentages of requests that a canary answers in turn.

    In a `hurry` (the champion is known to be bad) a candidate goes to all users as soon as nothing speaks against it.
    """

    shadow: float = 0.0
    canary: tuple[float, ...] = ()
    step: float = 0.0
    bake: float = 0.0
    hurry: bool = False


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """One candidate's way. `sequence` counts the stages of all of a product's rollouts, so that each has a name.

    `champion` is what was in production when it began; `began` and `since` (of the stage) are seconds since the epoch;
    `why` says what led to the stage, on which `evidence`; `shadowed`: copies of requests are sent for comparison.
    `earlier`: how many of the product's rollouts before it ended in which stage.
    """

    version: str
    image: str
    champion: str | None
    began: float
    since: float
    stage: Stage
    why: str
    sequence: int = 1
    percent: float = 0.0
    settled: bool = False
    shadowed: bool = False
    evidence: RolloutEvidence | None = None
    earlier: dict[str, int] = field(default_factory=dict)

    @property
    def ends(self) -> dict[str, int]:
        """How many of the product's rollouts ended in which stage, with this one if it has ended."""
        open_still = self.under_way or self.stage is Stage.BAKING
        return self.earlier if open_still else _one_more(self.earlier, self.stage)

    @property
    def under_way(self) -> bool:
        """True while the candidate runs beside the champion."""
        return self.stage in {Stage.SHADOW, Stage.CANARY}

    def outcome(self, proof: Proof | None) -> str:
        """What the comparison on the same rows came to, or that it goes on."""
        if self.stage is Stage.ROLLED_BACK:
            return "rolled back" if proof is not None and proof.worse else "rolled back for another reason"
        if self.stage is Stage.PROMOTED:
            return "proven not worse" if proof is not None and proof.not_worse else "ended without proof"
        return f"given up, {self.stage}" if self.stage in {Stage.ABORTED, Stage.SUPERSEDED} else "watched"

    @property
    def told(self) -> str:
        """The stage as an event on `production`."""
        share = f" of {self.percent:g} %" if self.stage is Stage.CANARY else ""
        return f"version {self.version} {self.stage}{share}: {self.why}"


def begun(
    version: str, image: str, champion: str | None, plan: Plan, *, now: float, before: Rollout | None = None
) -> Rollout:
    """The first stage of a new rollout; `before` is the product's last one, whatever became of it."""
    instead = f", instead of version {before.version}" if before is not None and before.under_way else ""
    start = Rollout(
        version=version,
        image=image,
        champion=champion,
        began=now,
        since=now,
        stage=Stage.SHADOW,
        why="",
        sequence=before.sequence if before else 0,
        shadowed=plan.shadow > 0,
        earlier=_ends_before(before),
    )
    if champion is None:
        return _at(start, Stage.BAKING, now, "")
    if plan.hurry:
        return _at(start, Stage.BAKING, now, f"champion {champion} is degraded: no time for a canary{instead}")
    if plan.shadow > 0:
        return _at(start, Stage.SHADOW, now, f"verified, gets copies of requests for {plan.shadow:g} s{instead}")
    first = _onwards(start, plan, now, f"verified{instead}", None)
    return first if first.under_way else replace(first, why=instead.removeprefix(", "))


def following(rollout: Rollout, plan: Plan, evidence: RolloutEvidence | None, limits: Limits, *, now: float) -> Rollout:
    """The next stage if it is due, else the same rollout.

    A candidate that proved faulty is aborted at once; otherwise each stage lasts its time. `evidence` is what users'
    traffic has shown since the rollout began, None where that cannot be measured now: then nothing moves on.
    """
    if not rollout.under_way or evidence is None:
        return rollout
    found = fault(evidence, limits)
    if found is not None:
        return aborted(rollout, found, now=now, evidence=evidence)
    length = plan.shadow if rollout.stage is Stage.SHADOW else plan.step
    if plan.hurry:
        why = f"champion {rollout.champion} is degraded"
        return replace(_at(rollout, Stage.BAKING, now, why), evidence=evidence)
    if now - rollout.since < length:
        return rollout
    return _onwards(rollout, plan, now, f"nothing against it in {now - rollout.since:.0f} s", evidence)


def aborted(rollout: Rollout, why: str, *, now: float, evidence: RolloutEvidence | None = None) -> Rollout:
    """The candidate is given up, and will be rejected."""
    return replace(_at(rollout, Stage.ABORTED, now, why), evidence=evidence)


def ended(rollout: Rollout, stage: Stage, why: str, *, now: float) -> Rollout:
    """The rollout's end, which leaves nothing to be carried out."""
    return replace(_at(rollout, stage, now, why), settled=True)


def _onwards(rollout: Rollout, plan: Plan, now: float, why: str, evidence: RolloutEvidence | None) -> Rollout:
    """The next larger share of the requests, or all of them."""
    larger = [percent for percent in plan.canary if percent > rollout.percent]
    if larger:
        at = replace(_at(rollout, Stage.CANARY, now, why), percent=larger[0])
    else:
        at = _at(rollout, Stage.BAKING, now, why)
    return replace(at, evidence=evidence)


def _ends_before(before: Rollout | None) -> dict[str, int]:
    """The ends so far once `before` gives way: under way it is superseded, baking it has got where it should."""
    if before is None:
        return {}
    if before.under_way:
        return _one_more(before.earlier, Stage.SUPERSEDED)
    return before.ends if before.stage is not Stage.BAKING else _one_more(before.earlier, Stage.PROMOTED)


def _one_more(ends: dict[str, int], stage: Stage) -> dict[str, int]:
    return {**ends, stage.value: ends.get(stage.value, 0) + 1}


def _at(rollout: Rollout, stage: Stage, now: float, why: str) -> Rollout:
    return replace(
        rollout,
        stage=stage,
        since=now,
        why=why,
        percent=0.0,
        sequence=rollout.sequence + 1,
        settled=False,
        evidence=None,
    )
