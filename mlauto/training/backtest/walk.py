"""What a way of deciding would have done with a history, batch by batch: test-then-train, with labels that may be late.

Pure: what models lose comes from `Models`, what is decided from `Decide`, what the live check would say from `Check`.
Batch `t` is predicted by the model that is live; then the labels of batch `t - delay` arrive, and with them that batch
may be trained on. A new model answers from the next batch on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mlauto.errors import TrainingError
from mlauto.records import Status
from mlauto.training.backtest.learned import Learned, learned
from mlauto.training.backtest.models import Fit, Model, Models, Trial
from mlauto.training.deciding import Check, Choice, Decide, Labelled, Losses, Situation, labelled, sampled, too_near
from mlauto.training.evaluate import COMPARABLE_ROWS, compare
from mlauto.training.weighting import Member, leapt, renewed_shares, shared, shortest, with_shares

__all__ = ["Outcome", "Step", "simulate"]

REGRET_BATCHES = 5
REGRET_SIGMAS = 2.0
# absolute for the rate, else relative to the replaced model's mean loss, which for rmse is that of the squares
REGRET_LEAST = {"error_rate": 0.005, "mae": 0.02, "rmse": 0.04, "log_loss": 0.02}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One predicted batch: its mean loss, the model that answered, and what was decided after it ('' when nothing)."""

    number: int
    rows: int
    loss: float
    model: int
    status: str = ""
    trained: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What it came to. Figures are over all predicted batches; `trainings` and `seconds` leave out the first model.

    `loss` is the prequential one, over rows; `blocked` trainings failed or were not let to follow the champion;
    `renewals` are models made without a training; `degraded` counts batches after which the live check found the
    quality bad; `regretted` counts promotions after which the new model was worse than the replaced one over the next
    five batches.
    """

    loss: float
    trainings: int
    seconds: float
    blocked: int = 0
    rollbacks: int = 0
    degraded: int = 0
    renewals: int = 0
    promotions: int = 0
    regretted: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class _Fitted:
    """A model that went live; `line` is the first of those that average the same fits."""

    model: Model
    fit: Fit
    trial: Trial | None
    line: int


@dataclass
class _Run:
    models: Models
    metric: str
    check: Check | None
    rows: Sequence[int]
    initial: int
    fits: list[_Fitted] = field(default_factory=list)
    live: int = 0
    newest: int = 0  # batches that the newest model was to be fitted on, whether or not that worked
    seconds: float = 0.0
    trainings: int = 0
    renewals: int = 0
    blocked: int = 0
    rollbacks: int = 0
    promotions: list[tuple[int, int, int]] = field(default_factory=list)
    answered: list[tuple[int, Losses]] = field(default_factory=list)
    last: dict[int, float] = field(default_factory=dict)
    strange: set[int] = field(default_factory=set)

    def train(self, batches: int, choice: Choice, first: int) -> str:
        """Fit, and let it answer from batch `first` on unless its trial says no; then why not."""
        self.newest = batches
        learned = self.learned(batches, choice.members)
        members = shared(choice.members, learned.losses)
        if choice.leaps:
            shares = leapt([one.share for one in members], learned.losses, shortest(members))
            members = with_shares(members, shares)
        known = tuple(learned.tried) if choice.belief else ()
        model = Model(
            batches=batches, members=members, tried=known, belief=choice.belief, strange=tuple(sorted(self.strange))
        )
        return self.follow(model, len(self.fits), first)

    def renew(self, batches: int, choice: Choice, first: int) -> None:
        """Average the live model's fits anew; it stays where there is nothing to average, or too little to try it on.

        As in `train` the new one answers from batch `first` on unless its trial says no.
        """
        live = self.fits[self.live]
        if not live.fit.parts or sum(self.rows[live.model.batches : batches]) < COMPARABLE_ROWS:
            return
        learned = self.learned(batches, choice.members, renewed=choice.reliance < 1)
        asked = tuple(one.share for one in shared(choice.members, learned.losses))
        kept = live.model.kept or tuple(one.share for one in live.model.members)
        shares = renewed_shares(kept, asked, learned.shown, choice.reliance)
        model = replace(
            live.model,
            members=with_shares(choice.members, shares),
            tried=tuple(learned.tried) if choice.belief else (),
            belief=choice.belief,
            learned=batches,
            kept=kept,
            asked=asked,
        )
        self.renewals += not self.follow(model, live.line, first)

    def follow(self, model: Model, line: int, first: int) -> str:
        """Let a model follow the live one; why it may not."""
        champion = self.fits[self.live] if self.fits else None
        try:
            fit = self.models.fit(model)
            trial = None if self.check is None else self.models.trial(model, champion.model if champion else None)
        except TrainingError as error:
            if champion is None:
                raise
            return str(error)
        if model.learned is None:
            self.seconds += fit.seconds + (trial.seconds if trial else 0.0)
        if champion is not None and trial is not None and not trial.passed:
            return trial.summary
        self.fits.append(_Fitted(model, fit, trial, line))
        if champion is not None:
            self.promotions.append((self.live, len(self.fits) - 1, first))
        self.live = len(self.fits) - 1
        return ""

    def learned(self, batches: int, members: tuple[Member, ...], *, renewed: bool = False) -> Learned:
        """The members' losses in the labelled batches, and how the correction did, as in the model that answered then.

        So they are judged as far ahead as they have to see: further where labels are late. How `renewed` shares did
        only where somebody wants to know.
        """
        answers = enumerate(self.answered[: batches - self.initial], start=self.initial)
        fits = ((number, self.fits[index]) for number, (index, _) in answers)
        found = learned(
            ((number, one.model, one.fit) for number, one in fits), members, self.rows, self.metric, renewed=renewed
        )
        self.strange.update(found.strange)
        return found

    def losses(self, index: int, batch: int) -> Losses:
        one = self.fits[index]
        return one.fit.later[batch - one.model.batches]

    def situation(self, due: int, initial: int, scored: Sequence[Labelled]) -> Situation:
        trial, verdict = self.fits[self.live].trial, None
        answering, came = self.answered[due - initial]
        self.last[answering] = float(came.mean())
        if self.check is not None and trial is not None:
            known = self.answered[: due - initial + 1]
            ours = [losses for index, losses in known if index == self.live]
            verdict = self.check(self.live, np.concatenate([*ours, np.empty(0)]), trial.reference)
        return Situation(
            newest=due,
            scores=tuple(scored),
            live=self.fits[self.live].line,
            version=self.live,
            fresh=due + 1 - self.newest,
            grown=sum(self.rows[: due + 1]) / sum(self.rows[: self.newest]),
            trainings=self.trainings,
            spoiled=self.spoiled(),
            verdict=verdict,
            last=dict(self.last),
        )

    def spoiled(self) -> bool:
        """Whether the live model's fits are the newest training's, and were made on batches that are strange."""
        model = self.fits[self.live].model
        return self.newest == model.batches and any(
            batch < model.batches for batch in self.strange.difference(model.strange)
        )

    def scored(self, due: int, delay: int) -> Labelled:
        """The batch by the model that is live when its labels come, as in the live loop; nobody's if `too_near`."""
        live, losses = self.fits[self.live], self.losses(self.live, due)
        line = live.line if due >= live.model.batches + too_near(delay) else ""
        return labelled(due, losses[sampled(len(losses))], line)

    def act(self, choice: Choice, due: int, number: int) -> str:
        """Do what was chosen; the reason, with what became of it."""
        if choice.back_to is not None:
            self.live = choice.back_to
            self.rollbacks += 1
            return choice.reason
        if choice.renew:
            self.renew(due + 1, choice, number + 1)
        if not choice.train:
            return choice.reason
        self.trainings += 1
        problem = self.train(due + 1, choice, number + 1)
        self.blocked += bool(problem)
        return f"{choice.reason}; the champion stays: {problem}" if problem else choice.reason

    def regretted(self, batches: int) -> int:
        return sum(self._is_regretted(*promotion, batches) for promotion in self.promotions)

    def _is_regretted(self, old: int, new: int, first: int, batches: int) -> bool:
        following = range(first, min(first + REGRET_BATCHES, batches))
        if not following:
            return False  # promoted after the last batch
        before, after = (np.concatenate([self.losses(one, batch) for batch in following]) for one in (old, new))
        found = compare(after, before, REGRET_SIGMAS)
        least = REGRET_LEAST[self.metric] * (1.0 if self.metric == "error_rate" else float(before.mean()))
        return found.worse and found.difference > least


def simulate(
    models: Models,
    decide: Decide,
    *,
    metric: str,
    batches: int,
    initial: int,
    delay: int,
    members: tuple[Member, ...],
    check: Check | None = None,
    on_batch: Callable[[], None] | None = None,
) -> Outcome:
    """Go through `batches` batches of which the first `initial` make the first model, on the histories of `members`.

    Without a `check` there are no verdicts and no trials: every model that could be fitted goes live. Raises
    `TrainingError` when the first model cannot be fitted.
    """
    run, steps, scored = _Run(models, metric, check, models.rows, initial), [], list[Labelled]()
    run.train(initial, Choice(train=True, reason="first model", members=members, belief=0.0), initial)
    run.seconds = 0.0
    for number in range(initial, batches):
        live = run.live
        losses = run.losses(live, number)
        run.answered.append((live, losses))
        due, status, reason, trained = number - delay, "", "", False
        if due >= initial:
            scored.append(run.scored(due, delay))
            situation = run.situation(due, initial, scored)
            choice = decide(situation)
            reason, trained = run.act(choice, due, number), choice.train
            status = str(situation.verdict.status) if situation.verdict else ""
        mean = float(losses.mean())
        steps.append(
            Step(number=number, rows=len(losses), loss=mean, model=live, status=status, trained=trained, reason=reason)
        )
        if on_batch is not None:
            on_batch()
    return Outcome(
        loss=float(np.concatenate([losses for _, losses in run.answered]).mean()),
        trainings=run.trainings,
        seconds=run.seconds,
        blocked=run.blocked,
        rollbacks=run.rollbacks,
        renewals=run.renewals,
        degraded=sum(step.status == Status.DEGRADED for step in steps),
        promotions=len(run.promotions),
        regretted=run.regretted(batches),
        steps=tuple(steps),
    )
