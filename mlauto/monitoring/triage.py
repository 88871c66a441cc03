"""What to do about a verdict. Pure: everything that decides is passed in. Not every failing check wants a new model."""

from dataclasses import dataclass, replace

from mlauto.monitoring.judge import failed_checks
from mlauto.records import Action, Status, Verdict

__all__ = ["Context", "triage"]


@dataclass(frozen=True, kw_only=True)
class Context:
    """What triage knows beside the verdict; times are seconds since the epoch, None for never.

    `new_data`, `new_code`: accepted batches, or a verified commit, that the live version was not trained on.
    `rolled_out`: when the live version went to production; `fresh_for`: so long after that a service fault is laid to
    the rollout. `fallback`: a good version to go back to. `attempts`: retrainings in this incident. `better`: a version
    that did better than the live one does, if known. `delivering`: a retraining or a rollout is under way. `refused`:
    why the product's policy does not want to train on new data now, if so.
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


def triage(verdict: Verdict, context: Context) -> Verdict:
    """The verdict with its action and the cause found; only a *measured* loss of quality ever asks for a retraining."""
    action, cause = _decide(verdict, context)
    return replace(verdict, action=action, cause=cause)


def _decide(verdict: Verdict, context: Context) -> tuple[Action, str]:
    failed = failed_checks(verdict)
    if verdict.status is Status.HEALTHY:
        return Action.NONE, verdict.cause
    if verdict.status is Status.ERROR:
        return Action.ALERT, f"could not measure: {verdict.cause}"
    if verdict.status is Status.UNKNOWN:
        # labels are still on their way after every rollout: that is nobody's alarm
        return (Action.ALERT if "data_available" in failed else Action.NONE), verdict.cause
    if context.delivering:
        return Action.COOL_DOWN, f"a delivery is under way: {verdict.cause}"
    if "service_level" in failed and (decision := _service_fault(verdict.cause, context, failed)):
        return decision
    return _quality_fault(verdict.cause, context)


def _service_fault(cause: str, context: Context, failed: frozenset[str]) -> tuple[Action, str] | None:
    """The action on missed service levels; None when quality is bad too and a rollout is not to blame."""
    fresh = context.rolled_out is not None and context.now - context.rolled_out <= context.fresh_for
    if fresh and context.fallback is not None:
        return Action.ROLL_BACK, f"service fault right after the rollout, version {context.fallback} is good: {cause}"
    if "performance" in failed:
        return None
    return Action.ALERT, f"service fault that a new model does not cure: {cause}"


def _quality_fault(cause: str, context: Context) -> tuple[Action, str]:
    if not context.on_degraded:
        return Action.ALERT, f"the product's policy is not to retrain on this: {cause}"
    if context.attempts >= context.max_attempts:
        tried = f"{context.attempts} retrainings did not help"
        if context.better is not None:
            return Action.ROLL_BACK, f"{tried}, version {context.better} did better: {cause}"
        return Action.ESCALATE, f"{tried}, people are needed: {cause}"
    if not (context.new_data or context.new_code):
        return Action.WAIT_FOR_DATA, f"nothing new to train on: {cause}"
    if context.refused and not context.new_code:
        return Action.COOL_DOWN, f"{context.refused}: {cause}"
    if context.last_retraining is not None:
        left = context.last_retraining + context.cooldown - context.now
        if left > 0:
            return Action.COOL_DOWN, f"the next retraining is due in {left:.0f} s: {cause}"
    what = " and ".join(name for name, new in (("data", context.new_data), ("code", context.new_code)) if new)
    return Action.RETRAIN, f"attempt {context.attempts + 1} of {context.max_attempts}, on new {what}: {cause}"
