"""What to do about a verdict. Pure: everything that decides is passed in. Not every failing check wants a new model."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from mlauto.monitoring.judge import failed_checks
from mlauto.records import Action, Cause, Status, Verdict

__all__ = ["Context", "pause", "triage"]

LONGEST_PAUSE = 86_400.0  # a day: whatever doubles must stay within what people wait for


@dataclass(frozen=True, kw_only=True)
class Context:
    """What triage knows beside the verdict; times are seconds since the epoch, None for never.

    `new_data`, `new_code`: accepted batches, or a verified commit, that the live version was not trained on.
    `rolled_out`: when the live version went to production; `fresh_for`: so long after that a service fault is laid to
    the rollout. `fallback`: a good version to go back to. `attempts`: retrainings in this incident that did not help.
    `better`: a version that did better than the live one does, if known. `delivering`: a retraining or a rollout is
    under way. `refused`: why the product's policy does not want to train on new data now, if so. `broken`: in what way
    the inputs are broken, `quarantined`: why the newest batch was not accepted, `labels`: why the labels are not to be
    trusted, each "" where that is not so. `moved`: how the inputs drifted, "" for not at all, None where unknown.
    """

    now: float
    new_data: bool
    new_code: bool
    attempts: int
    max_attempts: int
    cooldown: float
    delivering: bool = False
    on_degraded: bool = True
    last_retraining: float | None = None
    rolled_out: float | None = None
    fresh_for: float = 600.0
    fallback: str | None = None
    better: str | None = None
    refused: str = ""
    broken: str = ""
    quarantined: str = ""
    labels: str = ""
    moved: str | None = None


class _Found(NamedTuple):
    """An action, the cause found, the words, and when the next retraining may begin."""

    action: Action
    kind: Cause
    cause: str
    due: float | None = None


def triage(verdict: Verdict, context: Context) -> Verdict:
    """The verdict with its action and the cause found; only a *measured* loss of quality ever asks for a retraining."""
    found = _decide(verdict, context)
    return replace(verdict, action=found.action, kind=found.kind, cause=found.cause, due=found.due)


def pause(cooldown: float, attempts: int) -> float:
    """Seconds between a retraining and the next one after `attempts` in vain: it doubles, up to a day."""
    doubled = cooldown * 2.0 ** min(max(attempts, 1) - 1, 64)
    return max(cooldown, min(LONGEST_PAUSE, doubled))


def _decide(verdict: Verdict, context: Context) -> _Found:
    failed = failed_checks(verdict)
    if verdict.status is Status.ERROR:
        return _Found(Action.ALERT, Cause.UNMEASURABLE, f"could not measure: {verdict.cause}")
    if verdict.status is Status.DEGRADED:
        return _degraded(verdict.cause, context, failed)
    if context.broken:  # whether or not quality has suffered yet, or is known to
        return _Found(Action.ALERT, Cause.UPSTREAM_DATA, f"{context.broken}: {verdict.cause}")
    if verdict.status is Status.HEALTHY:
        return _Found(Action.NONE, Cause.NONE, verdict.cause)
    if "data_available" in failed:
        return _Found(Action.ALERT, Cause.LABEL_FEED if context.labels else Cause.NO_DATA, verdict.cause)
    # labels are still on their way after every rollout: that is nobody's alarm
    return _Found(Action.NONE, Cause.NONE, verdict.cause)


def _degraded(cause: str, context: Context, failed: frozenset[str]) -> _Found:
    if context.delivering:
        kind = _loss(context) if "performance" in failed else Cause.SERVING_FAULT
        return _Found(Action.COOL_DOWN, kind, f"a delivery is under way: {cause}")
    if "service_level" in failed and (found := _service_fault(cause, context, failed)):
        return found
    if context.broken:
        words = f"{context.broken}, which a new model does not cure: {cause}"
        return _Found(Action.ALERT, Cause.UPSTREAM_DATA, words)
    return _quality_fault(cause, context)


def _loss(context: Context) -> Cause:
    """What a loss of quality is, by whether the inputs moved."""
    if context.broken:
        return Cause.UPSTREAM_DATA
    if context.moved is None:
        return Cause.QUALITY
    return Cause.COVARIATE_DRIFT if context.moved else Cause.CONCEPT_DRIFT


def _service_fault(cause: str, context: Context, failed: frozenset[str]) -> _Found | None:
    """The action on missed service levels; None when quality is bad too and a rollout is not to blame."""
    fresh = context.rolled_out is not None and context.now - context.rolled_out <= context.fresh_for
    if fresh and context.fallback is not None:
        words = f"service fault right after the rollout, version {context.fallback} is good: {cause}"
        return _Found(Action.ROLL_BACK, Cause.SERVING_FAULT, words)
    if "performance" in failed:
        return None
    return _Found(Action.ALERT, Cause.SERVING_FAULT, f"service fault that a new model does not cure: {cause}")


def _quality_fault(cause: str, context: Context) -> _Found:
    kind = _loss(context)
    if context.moved:
        cause = f"{cause}; {context.moved}"
    if not context.on_degraded:
        return _Found(Action.ALERT, kind, f"the product's policy is not to retrain on this: {cause}")
    if context.attempts >= context.max_attempts:
        tried = f"{context.attempts} retrainings did not help"
        if context.better is not None:
            words = f"{tried}, version {context.better} did better: {cause}"
            return _Found(Action.ROLL_BACK, Cause.STILL_BAD, words)
        return _Found(Action.ESCALATE, Cause.STILL_BAD, f"{tried}, people are needed: {cause}")
    if not (context.new_data or context.new_code):
        return _nothing_new(cause, context, kind)
    if context.refused and not context.new_code:
        return _Found(Action.COOL_DOWN, kind, f"{context.refused}: {cause}")
    if context.last_retraining is not None:
        due = context.last_retraining + pause(context.cooldown, context.attempts)
        if due > context.now:
            words = f"the next retraining is due in {due - context.now:.0f} s: {cause}"
            return _Found(Action.COOL_DOWN, kind, words, due)
    what = " and ".join(name for name, new in (("data", context.new_data), ("code", context.new_code)) if new)
    words = f"attempt {context.attempts + 1} of {context.max_attempts}, on new {what}: {cause}"
    return _Found(Action.RETRAIN, kind, words)


def _nothing_new(cause: str, context: Context, kind: Cause) -> _Found:
    if context.quarantined:
        return _Found(Action.ALERT, Cause.UPSTREAM_DATA, f"{context.quarantined}, and nothing else is new: {cause}")
    return _Found(Action.WAIT_FOR_DATA, kind, f"nothing new to train on: {cause}")
