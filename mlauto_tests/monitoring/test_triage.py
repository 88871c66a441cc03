"""What is done about a verdict: every row of the table, and the order of the rows."""

from dataclasses import replace
from typing import Any

import pytest

from mlauto.monitoring.triage import Context, pause, triage
from mlauto.records import Action, Cause, CheckOutcome, Status, Verdict

NOW = 10_000.0
QUIET = Context(now=NOW, new_data=True, new_code=False, attempts=0, max_attempts=3, cooldown=60.0)
FRESH = {"rolled_out": NOW - 30, "fallback": "2"}


def verdict(status: Status, *failed: str) -> Verdict:
    names = ("performance", "service_level", "data_available", "drift")
    checks = tuple(CheckOutcome(name=name, passed=name not in failed, summary=name) for name in names)
    return Verdict(status=status, action=Action.NONE, cause="what was seen", checks=checks)


SLOW = verdict(Status.DEGRADED, "service_level")
BAD = verdict(Status.DEGRADED, "performance")
BOTH = verdict(Status.DEGRADED, "performance", "service_level")


@pytest.mark.parametrize(
    ("seen", "context", "action", "cause"),
    [
        # nothing is wrong
        (verdict(Status.HEALTHY), {}, Action.NONE, "what was seen"),
        (verdict(Status.HEALTHY, "drift"), {}, Action.NONE, "what was seen"),
        # no data, or metrics unreachable: alert, never a retraining
        (verdict(Status.UNKNOWN, "data_available"), {}, Action.ALERT, "what was seen"),
        (verdict(Status.UNKNOWN), {}, Action.NONE, "what was seen"),
        (verdict(Status.ERROR, "data_available"), {}, Action.ALERT, "could not measure"),
        (verdict(Status.ERROR), {"new_data": True, "new_code": True}, Action.ALERT, "could not measure"),
        # a serving fault right after a rollout: roll back
        (SLOW, FRESH, Action.ROLL_BACK, "version 2 is good"),
        (BOTH, FRESH, Action.ROLL_BACK, "right after the rollout"),
        (SLOW, {**FRESH, "rolled_out": NOW - 601}, Action.ALERT, "does not cure"),
        (SLOW, {**FRESH, "rolled_out": NOW - 601, "fresh_for": 700.0}, Action.ROLL_BACK, "version 2"),
        (SLOW, {**FRESH, "fallback": None}, Action.ALERT, "does not cure"),
        (SLOW, {"fallback": "2"}, Action.ALERT, "does not cure"),
        (SLOW, {**FRESH, "delivering": True}, Action.COOL_DOWN, "under way"),
        # quality worse than the champion's own reference: retrain
        (BAD, {}, Action.RETRAIN, "attempt 1 of 3, on new data"),
        (BAD, {"new_data": False, "new_code": True}, Action.RETRAIN, "on new code"),
        (BAD, {"new_code": True, "attempts": 2}, Action.RETRAIN, "attempt 3 of 3, on new data and code"),
        (BAD, FRESH, Action.RETRAIN, "attempt 1"),
        (BOTH, {}, Action.RETRAIN, "attempt 1"),
        # upstream data is broken or absent, so that there is nothing to train on
        (BAD, {"new_data": False}, Action.WAIT_FOR_DATA, "nothing new"),
        (BAD, {"new_data": False, "last_retraining": NOW - 1}, Action.WAIT_FOR_DATA, "nothing new"),
        # back off
        (BAD, {"last_retraining": NOW - 20}, Action.COOL_DOWN, "due in 40 s"),
        (BAD, {"last_retraining": NOW - 60}, Action.RETRAIN, "attempt 1"),
        (BAD, {"delivering": True}, Action.COOL_DOWN, "under way"),
        (BAD, {"delivering": True, "attempts": 3}, Action.COOL_DOWN, "under way"),
        # retrained, and still bad
        (BAD, {"attempts": 3}, Action.ESCALATE, "3 retrainings did not help"),
        (BAD, {"attempts": 4, "new_data": False}, Action.ESCALATE, "people are needed"),
        (BAD, {"attempts": 3, "better": "1"}, Action.ROLL_BACK, "version 1 did better"),
        (BOTH, {"attempts": 3}, Action.ESCALATE, "people"),
        # the product's policy
        (BAD, {"on_degraded": False}, Action.ALERT, "policy"),
        (SLOW, {"on_degraded": False, **FRESH}, Action.ROLL_BACK, "version 2"),
    ],
)
def test_the_table(seen: Verdict, context: dict[str, Any], action: Action, cause: str) -> None:
    """Each row: what was seen, what else is known, what is done, and the reason that people read."""
    decided = triage(seen, replace(QUIET, **context))

    assert decided.action is action
    assert cause in decided.cause
    assert "what was seen" in decided.cause
    assert (decided.status, decided.checks) == (seen.status, seen.checks)


@pytest.mark.parametrize("status", [Status.HEALTHY, Status.UNKNOWN, Status.ERROR])
@pytest.mark.parametrize("failed", [(), ("performance",), ("service_level",), ("performance", "data_available")])
def test_only_measured_loss_ever_acts(status: Status, failed: tuple[str, ...]) -> None:
    """Without a degraded verdict nothing is trained, nothing rolled back, whatever else is known."""
    context = replace(QUIET, new_code=True, rolled_out=NOW, fallback="2", better="1")

    assert triage(verdict(status, *failed), context).action in {Action.NONE, Action.ALERT}


def test_an_incident_ends_in_a_bounded_number_of_steps() -> None:
    """Always bad, always new data: three retrainings a minute apart, one rollback to the better one, then people."""
    actions, attempts, last, better, now = [], 0, None, "1", NOW
    for _ in range(40):
        context = replace(QUIET, now=now, attempts=attempts, last_retraining=last, better=better)
        action = triage(BAD, context).action
        actions.append(action)
        if action is Action.RETRAIN:
            attempts, last = attempts + 1, now
        if action is Action.ROLL_BACK:
            better = None
        now += 10

    assert actions.count(Action.RETRAIN) == 3
    assert actions.count(Action.ROLL_BACK) == 1
    assert set(actions[20:]) == {Action.ESCALATE}


BROKEN = {"broken": "upstream data is broken: temp is missing"}
STALE = verdict(Status.UNKNOWN, "data_available")


@pytest.mark.parametrize(
    ("seen", "context", "action", "kind"),
    [
        (verdict(Status.HEALTHY, "drift"), {"moved": "inputs moved: temp"}, Action.NONE, Cause.NONE),
        (BAD, {}, Action.RETRAIN, Cause.QUALITY),
        (BAD, {"moved": "inputs moved: temp"}, Action.RETRAIN, Cause.COVARIATE_DRIFT),
        (BAD, {"moved": ""}, Action.RETRAIN, Cause.CONCEPT_DRIFT),
        (BAD, {"moved": "", "delivering": True}, Action.COOL_DOWN, Cause.CONCEPT_DRIFT),
        (BAD, {"attempts": 3}, Action.ESCALATE, Cause.STILL_BAD),
        (BAD, {"attempts": 3, "better": "1"}, Action.ROLL_BACK, Cause.STILL_BAD),
        (BAD, {"on_degraded": False, "moved": ""}, Action.ALERT, Cause.CONCEPT_DRIFT),
        # upstream data is broken: whether quality suffers, does not yet, or is not known
        (BAD, {**BROKEN, "moved": "inputs moved: temp"}, Action.ALERT, Cause.UPSTREAM_DATA),
        (BAD, {**BROKEN, "new_code": True, "attempts": 3}, Action.ALERT, Cause.UPSTREAM_DATA),
        (BAD, {**BROKEN, "delivering": True}, Action.COOL_DOWN, Cause.UPSTREAM_DATA),
        (verdict(Status.HEALTHY, "drift"), BROKEN, Action.ALERT, Cause.UPSTREAM_DATA),
        (verdict(Status.UNKNOWN), BROKEN, Action.ALERT, Cause.UPSTREAM_DATA),
        (BAD, {"quarantined": "batch 7 is in quarantine", "new_data": False}, Action.ALERT, Cause.UPSTREAM_DATA),
        (BAD, {"quarantined": "batch 7 is in quarantine"}, Action.RETRAIN, Cause.QUALITY),
        # the service
        (SLOW, {**FRESH, **BROKEN}, Action.ROLL_BACK, Cause.SERVING_FAULT),
        (SLOW, {}, Action.ALERT, Cause.SERVING_FAULT),
        (SLOW, {"delivering": True}, Action.COOL_DOWN, Cause.SERVING_FAULT),
        (BOTH, BROKEN, Action.ALERT, Cause.UPSTREAM_DATA),
        # no verdict
        (STALE, {"labels": "labels have stopped"}, Action.ALERT, Cause.LABEL_FEED),
        (STALE, {}, Action.ALERT, Cause.NO_DATA),
        (verdict(Status.UNKNOWN), {}, Action.NONE, Cause.NONE),
        (verdict(Status.ERROR), BROKEN, Action.ALERT, Cause.UNMEASURABLE),
    ],
)
def test_the_cause_that_is_found(seen: Verdict, context: dict[str, Any], action: Action, kind: Cause) -> None:
    """Each cause of the design's table, beside what is done about it."""
    decided = triage(seen, replace(QUIET, **context))

    assert (decided.action, decided.kind) == (action, kind)
    assert "what was seen" in decided.cause


def test_pauses_double_and_are_bounded() -> None:
    """From the product's own to a day; one that is longer than a day stays as it is."""
    assert [pause(60.0, attempts) for attempts in (0, 1, 2, 3, 4)] == [60.0, 60.0, 120.0, 240.0, 480.0]
    assert pause(60.0, 1000) == 86_400.0
    assert pause(100_000.0, 5) == 100_000.0
    assert pause(0.0, 9) == 0.0


def test_the_next_attempt_is_told() -> None:
    """While the pause lasts, and only then."""
    waits = triage(BAD, replace(QUIET, attempts=2, last_retraining=NOW - 20))

    assert (waits.action, waits.due) == (Action.COOL_DOWN, NOW + 100)
    assert triage(BAD, QUIET).due is None
