"""The live loop's own decisions, for a backtest: its judge, its triage and its policy, fed with replayed batches.

What depends on the wall clock is left out: cooldown, service levels, the watch over a rollout while it bakes.
"""

import yaml
from pydantic import ValidationError

from mlauto.errors import ProductError
from mlauto.measured import Detection, LiveMetrics
from mlauto.monitoring.incidents import Incident, advance
from mlauto.monitoring.judge import Limits, is_full, judge, proven
from mlauto.monitoring.quality.memory import Watched
from mlauto.monitoring.quality.watching import Standard, advanced, begun
from mlauto.monitoring.scores import better, mean_score
from mlauto.monitoring.triage import Context, triage
from mlauto.product import ModelProduct
from mlauto.product_training import Policy, Training
from mlauto.records import Action, Score, Status, Verdict
from mlauto.training.correcting import first_belief
from mlauto.training.deciding import Choice, Losses, Situation
from mlauto.training.policy import on_new_data
from mlauto.training.weighting import first_reliance, members_of

__all__ = ["NAMED", "LiveCheck", "LivePolicy", "read_policy"]

NAMED = ("never", "economy", "quality", "every_batch")


def read_policy(text: str) -> Policy:
    """A policy by its name, or by its knobs as a YAML mapping. Raises `ProductError` saying what there is."""
    if text in NAMED:
        return Training.model_validate({"retrain": text}).policy
    try:
        knobs = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ProductError(f"--policy {text!r} is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(knobs, dict):
        raise ProductError(
            f"--policy {text!r} is unknown: use {', '.join(NAMED)}, or knobs like '{{every_batches: 4}}'"
        )
    try:
        return Policy.model_validate(knobs)
    except ValidationError as error:
        first = error.errors()[0]
        raise ProductError(f"--policy {text!r}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


class LiveCheck:
    """The live check's verdict on a model's newest labelled rows. It remembers their starts and detectors."""

    def __init__(self, product: ModelProduct) -> None:
        self.product = product
        self.limits = Limits.of(product)
        self.starts: dict[int, Score] = {}
        self.watched: dict[int, tuple[Watched, int]] = {}
        self.newest: Watched | None = None

    def __call__(self, model: int, losses: Losses, trained: Score) -> Verdict:
        """The verdict, without an action yet; `losses` are all that the model's answers have shown, oldest first."""
        window = self.product.monitoring.window
        newest = losses[-window:]
        live = mean_score(self.product.metric, newest) if len(newest) > 1 else None
        if live is not None and is_full(len(newest), window):
            self.starts.setdefault(model, live)
        reference = proven(trained, self.starts.get(model))
        detection = self._tested(model, losses, reference, live)
        metrics = LiveMetrics(
            version=str(model),
            measured=0.0,
            requests=0,
            errors=0,
            p50_ms=None,
            p99_ms=None,
            labelled=len(newest),
            quality=live,
            newest=0.0,
            detection=detection,
        )
        return judge(metrics, reference, self.limits, 0.0)

    def _tested(self, model: int, losses: Losses, reference: Score, live: Score | None) -> Detection | None:
        """What the live detector would have proven by now, of losses that are looked at as they become known."""
        before, seen = self.watched.get(model) or (begun(reference.metric, 0.0, before=self.newest), 0)
        standard = Standard(reference=reference, tolerance=self.limits.tolerance)
        found = advanced(standard, before, losses[seen:], live, 0.0)
        if found is None:
            return None
        self.newest = found[0]
        self.watched[model] = (self.newest, len(losses))
        return found[1].beyond


class LivePolicy:
    """What the live loop would do after each batch; one for each run, since it knows of the incident that is open.

    Labels come `delay` batches late.
    """

    def __init__(self, product: ModelProduct, delay: int = 0) -> None:
        self.product = product
        self.policy = product.training.policy
        self.members = members_of(product.training)
        self.belief = first_belief(delay) if product.training.corrected else 0.0
        self.reliance = first_reliance(delay)
        self.incident: Incident | None = None
        self.attempts = 0

    def __call__(self, situation: Situation, /) -> Choice:
        """New batches first, as the policy counts them; then what triage says of a bad verdict."""
        train, reason = on_new_data(self.policy, "batch", situation)
        allowed, refusal = on_new_data(self.policy, "incident", situation)
        verdict = self._triaged(situation, delivering=train, refused="" if allowed else refusal)
        self._record(situation, verdict)
        if train:
            return self._training(reason)
        if verdict.action is Action.RETRAIN:
            self.attempts += 1
            return self._training(verdict.cause)
        if verdict.action is Action.ROLL_BACK and self.incident is not None:
            return Choice(train=False, reason=verdict.cause, back_to=int(self.incident.version or 0))
        bad = verdict.status is Status.DEGRADED
        return Choice(
            train=False,
            reason=f"{verdict.action}: {verdict.cause}" if bad else reason,
            renew=self.policy.renew and situation.fresh > 0,
            members=self.members,
            belief=self.belief,
            reliance=self.reliance,
        )

    def _training(self, reason: str) -> Choice:
        leaps = self.product.training.leaps
        return Choice(train=True, reason=reason, members=self.members, belief=self.belief, leaps=leaps)

    def _triaged(self, situation: Situation, *, delivering: bool, refused: str) -> Verdict:
        if situation.verdict is None:
            raise ValueError("the live loop decides by its check's verdicts: simulate with a check")
        context = Context(
            now=float(situation.newest),
            new_data=situation.fresh > 0,
            new_code=False,
            attempts=self.attempts - (self.incident.helped if self.incident else 0),
            max_attempts=self.product.monitoring.max_attempts,
            cooldown=0.0,
            delivering=delivering,
            on_degraded=self.policy.on_degraded,
            better=self._better(situation),
            refused=refused,
        )
        return triage(situation.verdict, context)

    def _record(self, situation: Situation, verdict: Verdict) -> None:
        """Open, update or close the incident, as the live loop does."""
        if self.incident is None and verdict.status is not Status.DEGRADED:
            return
        after = advance(
            self.incident,
            verdict,
            version=str(situation.version),
            attempts=self.attempts,
            now=float(situation.newest),
            needed=self.product.monitoring.healthy_windows,
        )
        self.incident = after if after.closed is None else None
        self.attempts = self.attempts if self.incident else 0

    def _better(self, situation: Situation) -> str | None:
        """The model that was live when the incident began, if its last labelled batch was better than this one's."""
        before = self.incident.version if self.incident and self.attempts else None
        if before is None or before == str(situation.version):
            return None
        old, new = situation.last.get(int(before)), situation.last.get(situation.version)
        if old is None or new is None:
            return None
        return before if better(self.product.metric, old, new) else None
