"""The stages of a rollout: every transition, and what holds it back."""

from dataclasses import replace
from typing import Any

import pytest

from mlauto.delivery.judge import Limits
from mlauto.delivery.progress import Plan, Rollout, Stage, aborted, begun, ended, following
from mlauto_tests.delivery.conftest import NOW, make_evidence
from mlauto_tests.test_proof import PROOF

PLAN = Plan(shadow=10.0, canary=(5.0, 25.0), step=20.0, bake=60.0)
LIMITS = Limits(p99_ms=50.0, error_rate=0.001)
FAULTY = {"requests": {"2": 10, "1": 100}, "errors": {"2": 5}}


def start(plan: Plan = PLAN, champion: str | None = "1", before: Rollout | None = None) -> Rollout:
    return begun("2", "digest", champion, plan, now=NOW, before=before)


def after(rollout: Rollout, seconds: float, plan: Plan = PLAN, **values: Any) -> Rollout:
    return following(rollout, plan, make_evidence(**values), LIMITS, now=NOW + seconds)


def test_the_whole_way() -> None:
    """Copies, a growing share, then everybody; each stage has its number, its time and its reason."""
    rollout = start()
    stages = [rollout]
    for seconds in (10.0, 30.0, 50.0):
        assert after(rollout, seconds - 0.1) is rollout
        rollout = after(rollout, seconds)
        stages.append(rollout)

    assert [(r.stage, r.percent, r.sequence, r.since - NOW) for r in stages] == [
        (Stage.SHADOW, 0.0, 1, 0.0),
        (Stage.CANARY, 5.0, 2, 10.0),
        (Stage.CANARY, 25.0, 3, 30.0),
        (Stage.BAKING, 0.0, 4, 50.0),
    ]
    assert [r.under_way for r in stages] == [True, True, True, False]
    assert stages[2].told == "version 2 canary of 25 %: nothing against it in 20 s"
    assert stages[2].evidence == make_evidence()
    assert not any(r.settled for r in stages)
    assert after(rollout, 1000.0) is rollout


@pytest.mark.parametrize(
    ("plan", "stage", "percent"),
    [
        (replace(PLAN, shadow=0.0), Stage.CANARY, 5.0),
        (replace(PLAN, canary=()), Stage.SHADOW, 0.0),
        (replace(PLAN, shadow=0.0, canary=()), Stage.BAKING, 0.0),
        (replace(PLAN, hurry=True), Stage.BAKING, 0.0),
    ],
)
def test_stages_may_be_left_out(plan: Plan, stage: Stage, percent: float) -> None:
    """By the product's YAML, or because the champion is known to be bad."""
    rollout = start(plan)

    assert (rollout.stage, rollout.percent, rollout.shadowed) == (stage, percent, plan.shadow > 0)


def test_the_first_version_of_all_needs_no_canary() -> None:
    """There is nobody to compare it with, and nobody else to answer."""
    assert start(champion=None).stage is Stage.BAKING


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_a_faulty_candidate_is_aborted_at_once(seconds: float) -> None:
    """Whether its time is over or not, in a hurry or not."""
    for plan in (PLAN, replace(PLAN, hurry=True)):
        found = after(start(), seconds, plan, **FAULTY)
        assert found.stage is Stage.ABORTED
        assert found.why.startswith("it failed 5 of 10 requests")
        assert not found.under_way


def test_without_a_measurement_nothing_moves() -> None:
    """The log cannot be read: that is no proof of anything."""
    rollout = start()
    assert following(rollout, PLAN, None, LIMITS, now=NOW + 1000) is rollout


def test_a_hurry_ends_the_waiting() -> None:
    """The champion became bad meanwhile: the candidate, of which nothing bad is known, replaces it."""
    found = after(start(), 1.0, replace(PLAN, hurry=True))

    assert (found.stage, found.why) == (Stage.BAKING, "champion 1 is degraded")


def test_numbers_go_on_from_rollout_to_rollout() -> None:
    """So that no two stages of a product have one name; what is superseded is said."""
    first = start()
    second = begun("3", "other", "1", PLAN, now=NOW + 5, before=first)

    assert second.sequence == first.sequence + 1
    assert second.why.endswith("instead of version 2")


def test_ends() -> None:
    """An abort has still to be carried out; the other ends leave nothing to do."""
    rollout = start()
    given_up = aborted(rollout, "no good", now=NOW + 1)
    closed = ended(rollout, Stage.SUPERSEDED, "a rollback", now=NOW + 1)

    assert (given_up.stage, given_up.settled, given_up.under_way) == (Stage.ABORTED, False, False)
    assert (closed.stage, closed.settled, closed.under_way) == (Stage.SUPERSEDED, True, False)


@pytest.mark.parametrize(
    ("stage", "proven", "told"),
    [
        (Stage.SHADOW, None, "watched"),
        (Stage.BAKING, "worse", "watched"),
        (Stage.ROLLED_BACK, "worse", "rolled back"),
        (Stage.ROLLED_BACK, "better", "rolled back for another reason"),
        (Stage.ROLLED_BACK, None, "rolled back for another reason"),
        (Stage.PROMOTED, "better", "proven not worse"),
        (Stage.PROMOTED, None, "ended without proof"),
        (Stage.ABORTED, "worse", "given up, aborted"),
        (Stage.SUPERSEDED, None, "given up, superseded"),
    ],
)
def test_what_a_comparison_came_to(stage: Stage, proven: str | None, told: str) -> None:
    """By the stage and by what is proven: a rollback for another reason is not laid to the watch."""
    proof = {"worse": PROOF, "better": replace(PROOF, difference=-0.5), None: None}[proven]

    assert replace(start(), stage=stage).outcome(proof) == told


def test_the_ends_of_all_rollouts_are_counted_once_each() -> None:
    """What gives way under way is superseded, what gives way while it is watched has got where it should."""
    first = begun("1", "i", None, Plan(), now=0.0)
    assert first.ends == {}
    second = begun("2", "i", "1", Plan(shadow=5.0), now=1.0, before=replace(first, stage=Stage.PROMOTED))
    assert second.ends == {"promoted": 1}
    assert aborted(second, "slow", now=2.0).ends == {"promoted": 1, "aborted": 1}
    third = begun("3", "i", "1", Plan(shadow=5.0), now=3.0, before=second)
    assert third.ends == {"promoted": 1, "superseded": 1}
    baking = replace(third, stage=Stage.BAKING)
    assert baking.ends == {"promoted": 1, "superseded": 1}
    assert ended(baking, Stage.ROLLED_BACK, "worse", now=4.0).ends == {"promoted": 1, "superseded": 1, "rolled_back": 1}
    assert begun("4", "i", "3", Plan(shadow=5.0), now=5.0, before=baking).ends == {"promoted": 2, "superseded": 1}
